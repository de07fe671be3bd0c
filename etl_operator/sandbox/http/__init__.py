"""The HTTP front of the embedded API server: TLS, who may do what, and the shapes clients ask for."""
