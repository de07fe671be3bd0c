"""The controllers of the API server: definitions, garbage collection, namespaces, expiry of events."""
