"""Prometheus metrics of a service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from etl_operator.probes import Page, Route


class ServiceMetrics:
    """The metrics of one service; docs/services.md lists them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.records = Counter(
            "etl_service_records", "Records by result.", ["result"], registry=self.registry
        )
        self.batch_seconds = Histogram(
            "etl_service_batch_seconds",
            "Seconds until a batch was answered.",
            buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30),
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "etl_service_in_flight_records", "Records that are not answered yet.", registry=self.registry
        )

    @contextmanager
    def flying(self, records: int) -> Iterator[None]:
        """Counts these records as in flight while the context is open."""
        self.in_flight.inc(records)
        try:
            yield
        finally:
            self.in_flight.dec(records)

    def routes(self) -> Mapping[str, Route]:
        """``/metrics`` in the Prometheus text format."""

        def page() -> Page:
            kind = "text/plain; version=0.0.4; charset=utf-8"
            return Page(HTTPStatus.OK, kind, generate_latest(self.registry))

        return {"/metrics": page}


class SourceMetrics(ServiceMetrics):
    """The metrics of a source: also those of its stream to a router."""

    def __init__(self) -> None:
        super().__init__()
        self.connected = Gauge(
            "etl_service_connected", "1 while a stream to a router is open.", registry=self.registry
        )
        self.paused = Gauge(
            "etl_service_paused", "1 while the router asks the source to pause.", registry=self.registry
        )
        self.streams = Counter("etl_service_streams", "Streams opened to routers.", registry=self.registry)
