"""What is asked: from a method, a path and a query to a verb, a kind and its checked parameters."""
