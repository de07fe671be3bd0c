"""What ``kubectl get`` shows: columns and cells of the built-in kinds, printer columns of others. Pure."""
