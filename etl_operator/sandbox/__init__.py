"""The embedded control plane: API server front, control loops, process node, name proxy, and the demo."""
