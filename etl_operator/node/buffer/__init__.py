"""The durable buffer on NATS JetStream: a `data.buffer.Buffer`.

Loaded only where it is configured: it needs the extra ``nats``.
"""
