"""When a deleted object may go: without a router, with its namespace, or when the operator itself ends."""
