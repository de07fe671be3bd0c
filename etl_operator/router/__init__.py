"""The client side of the router's gRPC API.

``errors`` (one model), ``methods`` (the calls as data), ``channels`` (connections), ``client`` (one node),
``heartbeat`` (one stream), ``cluster`` (finding the leader), ``link`` and ``registry`` (leases kept alive).
What is sent, and what each answer means, is written down in ``docs/router.md``.
"""
