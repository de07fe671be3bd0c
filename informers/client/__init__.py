"""Talking to the API server: request builders, transport, authentication, the typed client."""
