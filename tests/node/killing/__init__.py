"""Nodes, workers, sources, transforms and sinks that are killed while records flow; real processes."""
