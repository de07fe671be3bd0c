"""What every reconciler is given: clients, caches, settings, metrics."""
