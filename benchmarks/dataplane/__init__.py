"""The router's data plane beside an OpenTelemetry Collector: ``python -m benchmarks.dataplane``."""
