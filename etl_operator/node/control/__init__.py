"""The control side of a router node: its gRPC services, the replicated state and the registry of services."""
