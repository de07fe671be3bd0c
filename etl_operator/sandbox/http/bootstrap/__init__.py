"""Objects that the server itself creates and keeps: namespaces, roles, APIServices, its own Service."""
