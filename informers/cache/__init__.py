"""What has been watched: compact views, indexes, read-your-writes, and the informer that joins them."""
