"""The router node, ``etl-router``: one process for Raft, RouterAdmin and the registry, others for records.

It stands in for a router in the sandbox and in tests, and is the product's second container image.
"""
