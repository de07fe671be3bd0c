"""Reading: lists and their pages, watches, and the selectors of both."""
