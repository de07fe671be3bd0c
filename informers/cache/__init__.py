"""What has been watched: a store of views, indexes, read-your-writes, and the informer that joins them."""
