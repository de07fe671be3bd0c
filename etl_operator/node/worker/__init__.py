"""The worker process: it owns the public gRPC port and the records, and forwards everything else.

The control process starts it, sends it pipelines and services, and asks it for counters and progress. It
imports neither the consensus engine nor the control side.
"""
