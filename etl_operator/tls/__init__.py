"""TLS for routers, services and the operator: from files that are replaced while the process runs, and checks
of certificates. Depends on nothing but the standard library and gRPC.
"""
