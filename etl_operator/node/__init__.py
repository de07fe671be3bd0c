"""The reference router node: Raft, RouterAdmin and ServiceRegistry in one process, ``etl-router``.

It stands in for a router in the sandbox and in tests, and is the product's second container image.
"""
