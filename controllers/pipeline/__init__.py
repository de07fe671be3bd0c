"""EtlPipeline: from a linear spec to the router's graph, and its reconciler."""
