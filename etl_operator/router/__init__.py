"""The client side of the router's gRPC API.

``errors`` (one model), ``methods`` (the calls as data), ``channels`` (connections), ``client`` (one node),
``heartbeat`` (one stream), ``cluster`` (finding the leader), ``link`` and ``registry`` (leases kept alive).
What is sent, and what each answer means, is written down in ``docs/router.md``.
"""

import os

# gRPC's core writes to standard error in a format of its own, a line for every connection that ends. What
# matters of it comes back as errors of calls. Must be set before grpc is imported for the first time.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
