"""EtlRouterCluster: builders of its children, the decisions about its pods, and its reconciler."""
