"""Testing controllers without a cluster: a simulated API server, virtual time, faults by rule and by seed.

:mod:`informers.testing.simulation` puts them together; start there.
"""
