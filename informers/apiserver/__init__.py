"""The embedded API server: pure rules on plain dictionaries, no sockets."""
