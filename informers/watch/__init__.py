"""Following a resource: a pure machine for lists and watches, and the reflector that drives it."""
