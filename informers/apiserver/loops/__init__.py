"""What the server does by itself, a moment after a write: definitions, garbage, namespaces, old events."""
