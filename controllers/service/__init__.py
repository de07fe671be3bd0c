"""EtlSource, EtlTransform and EtlSink: one reconciler that keeps a service registered."""
