"""Peers' own test suites against the embedded API server: what their users rely on, as they wrote it down.

The parts that need an API server and nothing else run as they are, at pinned versions, and the number of
tests that pass is held. Every number is what a bare real kube-apiserver (``--cluster real``) passes too.
"""
