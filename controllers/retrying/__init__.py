"""How long things take: pauses between retries, trouble that lasts, and what router errors mean to people.

Everything here is measured on this process's monotonic clock, from the moment it first saw the reason. The
API server's timestamps come from another clock, and only tell what came first.
"""
