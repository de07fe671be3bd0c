"""Requests: from a method, a path and a query to a verb, a resource and validated options."""
