"""Objects as caches hold them: a small header, the rest as the bytes it came in, and typed parts of it."""
