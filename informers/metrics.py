"""Metrics: own cells on the hot path, the Prometheus client library at the exit.

Counting is one dictionary access, or none with a cell. ``prometheus_client`` comes in when someone scrapes:
a collector turns the cells into its families, and its encoders write them. Names and labels of the runtime's
own series are the ones people have dashboards for.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import accumulate
from typing import TypeVar

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from informers.client.transport import HttpRequest, HttpResponse, HttpStream, Transport
from informers.clock import Clock
from informers.errors import TransportError

Labels = tuple[str, ...]
Samples = Iterable[tuple[Labels, float]]

SECONDS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9),
    *(1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0),
    *(10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0),
)
"""Bucket bounds of a reconcile's duration, in seconds; the default of every histogram."""

QUEUE_SECONDS = tuple(10.0**exponent for exponent in range(-8, 4))
"""Bucket bounds of times in and around a work queue, in seconds."""

REQUEST_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Bucket bounds of a request to the API server, in seconds."""


class _Series:
    """What every kind of metric has: a name, help for people, label names."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self.name = name
        self.documentation = documentation
        self.labels = tuple(labels)

    def _check(self, values: Labels) -> None:
        # Asked only when a label set is new, so that the hot path does not pay for it.
        if len(values) != len(self.labels):
            raise ValueError(f"metric {self.name} has labels {self.labels}, got {values}")


class CounterCell:
    """One series of a counter, without the look-up. After a removal it counts unseen."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Add ``amount``, one by default."""
        self.value += amount


class HistogramCell:
    """One series of a histogram, without the look-up. After a removal it counts unseen."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Observations by bucket, the one without a bound last."""
        self.total = 0.0
        """Their sum."""

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def observe_all(self, values: list[float]) -> None:
        """Count many; for no more than it takes to sort them. They are in order afterwards."""
        values.sort()
        counts, below = self.counts, 0
        for index, bound in enumerate(self._bounds):
            if below == len(values):
                break
            up_to = bisect_right(values, bound, below)
            counts[index] += up_to - below
            below = up_to
        counts[-1] += len(values) - below
        self.total += sum(values)


class Counter(_Series):
    """Only goes up. By convention its name ends in ``_total``."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        super().__init__(name, documentation, labels)
        self._cells: dict[Labels, CounterCell] = {}
        self._readers: dict[Labels, Callable[[], float]] = {}

    def inc(self, *labels: str, amount: float = 1.0) -> None:
        """Add ``amount``, one by default."""
        try:
            self._cells[labels].value += amount
        except KeyError:
            self.cell(*labels).value += amount

    def cell(self, *labels: str) -> CounterCell:
        """The series of these labels; shows zero from now on, so that a rate has something to start from."""
        if labels not in self._cells:
            self._check(labels)
            self._cells[labels] = CounterCell()
        return self._cells[labels]

    def read_from(self, reader: Callable[[], float], *labels: str) -> None:
        """A series that someone else counts, read when someone scrapes."""
        self._check(labels)
        self._readers[labels] = reader

    def remove(self, *labels: str) -> None:
        """Drop a series; an unknown one is no error."""
        self._cells.pop(labels, None)
        self._readers.pop(labels, None)

    def keep(self, wanted: Callable[[Labels], bool]) -> None:
        """Drop every series whose labels are not wanted, such as those of objects that are gone."""
        for labels in [labels for labels in (*self._cells, *self._readers) if not wanted(labels)]:
            self.remove(*labels)

    def family(self) -> Metric:
        """The cells as the Prometheus client library has them."""
        family = CounterMetricFamily(self.name, self.documentation, labels=self.labels)
        values = {labels: cell.value for labels, cell in self._cells.items()}
        values |= {labels: reader() for labels, reader in self._readers.items()}
        for labels in sorted(values):
            family.add_metric(labels, values[labels])
        return family


class Gauge(_Series):
    """Goes up and down."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        super().__init__(name, documentation, labels)
        self._cells: dict[Labels, float] = {}

    def set(self, value: float, *labels: str) -> None:
        """Set the series to ``value``."""
        if labels not in self._cells:
            self._check(labels)
        self._cells[labels] = value

    def remove(self, *labels: str) -> None:
        """Drop a series; an unknown one is no error."""
        self._cells.pop(labels, None)

    def family(self) -> Metric:
        """The cells as the Prometheus client library has them."""
        family = GaugeMetricFamily(self.name, self.documentation, labels=self.labels)
        for labels, value in sorted(self._cells.items()):
            family.add_metric(labels, value)
        return family


class Histogram(_Series):
    """Counts observations by size.

    :param buckets: upper bounds, ascending; an infinite one is added.
    """

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], buckets: Sequence[float] = SECONDS
    ) -> None:
        super().__init__(name, documentation, labels)
        self.buckets = tuple(buckets)
        self._names = (*(repr(float(bucket)) for bucket in self.buckets), "+Inf")
        self._cells: dict[Labels, HistogramCell] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Count one observation."""
        try:
            self._cells[labels].observe(value)
        except KeyError:
            self.cell(*labels).observe(value)

    def cell(self, *labels: str) -> HistogramCell:
        """The series of these labels, visible from now on."""
        if labels not in self._cells:
            self._check(labels)
            self._cells[labels] = HistogramCell(self.buckets)
        return self._cells[labels]

    def remove(self, *labels: str) -> None:
        """Drop a series; an unknown one is no error."""
        self._cells.pop(labels, None)

    def family(self) -> Metric:
        """The cells as the Prometheus client library has them."""
        family = HistogramMetricFamily(self.name, self.documentation, labels=self.labels)
        for labels in sorted(self._cells):
            cell = self._cells[labels]
            buckets = list(zip(self._names, map(float, accumulate(cell.counts)), strict=True))
            family.add_metric(labels, buckets=buckets, sum_value=cell.total)
        return family


class Sampled(_Series):
    """A gauge whose values are read when someone scrapes, and cost nothing before."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        super().__init__(name, documentation, labels)
        self._readers: list[Callable[[], Samples]] = []

    def read_from(self, reader: Callable[[], Samples]) -> None:
        """Add a source of samples."""
        self._readers.append(reader)

    def family(self) -> Metric:
        """The values of this moment."""
        family = GaugeMetricFamily(self.name, self.documentation, labels=self.labels)
        for reader in self._readers:
            for labels, value in reader():
                family.add_metric(labels, value)
        return family


_AnySeries = Counter | Gauge | Histogram | Sampled
_S = TypeVar("_S", Counter, Gauge, Histogram, Sampled)


class Metrics(Collector):
    """Every series of one process. Asking twice for a name gives the same metric.

    :param process: add the ``process_*`` and ``python_info`` series of this process.
    """

    def __init__(self, *, process: bool = True) -> None:
        self._series: dict[str, _AnySeries] = {}
        self._preparations: list[Callable[[], None]] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)
        if process:
            ProcessCollector(registry=self._registry)
            PlatformCollector(registry=self._registry)

    def counter(self, name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
        """A counter. Without labels it shows zero from the start."""
        counter = self._add(Counter(name, documentation, labels))
        if not labels:
            counter.cell()
        return counter

    def gauge(self, name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
        """A gauge."""
        return self._add(Gauge(name, documentation, labels))

    def histogram(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = SECONDS,
    ) -> Histogram:
        """A histogram; buckets are upper bounds, ascending."""
        return self._add(Histogram(name, documentation, labels, buckets))

    def sampled(
        self, name: str, documentation: str, labels: Sequence[str], reader: Callable[[], Samples]
    ) -> None:
        """A gauge read at scrape time. Readers may share a name; each brings label sets of its own."""
        self._add(Sampled(name, documentation, labels)).read_from(reader)

    def before_scrape(self, prepare: Callable[[], None]) -> None:
        """Call something before every scrape, such as counting what was only noted."""
        self._preparations.append(prepare)

    def _add(self, series: _S) -> _S:
        known = self._series.setdefault(series.name, series)
        if type(known) is not type(series) or known.labels != series.labels:
            raise ValueError(f"metric {series.name} exists already, with other labels or another type")
        return known

    def collect(self) -> Iterable[Metric]:
        """Called by the registry at every scrape."""
        for prepare in self._preparations:
            prepare()
        for series in list(self._series.values()):
            yield series.family()

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not call :meth:`collect`."""
        return ()

    def render(self) -> bytes:
        """Everything in the Prometheus text format."""
        return self.expose("")[0]

    def expose(self, accept: str) -> tuple[bytes, str]:
        """Everything, in the format an ``Accept`` header asks for, and its content type."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type


class MeasuredTransport:
    """A transport that counts requests and times them.

    :param transport: the one that does the work; its attribute ``host``, where it has one, is a label.
    """

    def __init__(self, transport: Transport, metrics: Metrics, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._host = str(getattr(transport, "host", ""))
        self._requests = metrics.counter(
            "rest_client_requests_total",
            "Requests to the API server, by status code; <error> when there was no answer.",
            ("code", "method", "host"),
        )
        self._seconds = metrics.histogram(
            "rest_client_request_duration_seconds",
            "Seconds until a request was answered; for a stream, until it started.",
            ("verb", "host"),
            REQUEST_SECONDS,
        )

    async def request(self, request: HttpRequest) -> HttpResponse:
        """Send and read the whole answer."""
        began = self._clock.monotonic()
        try:
            response = await self._transport.request(request)
        except TransportError:
            self._requests.inc("<error>", request.method, self._host)
            raise
        self._answered(request, response.status, began)
        return response

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpStream]:
        """Send and hand out the body as a stream."""
        return self._measured_stream(request)

    @asynccontextmanager
    async def _measured_stream(self, request: HttpRequest) -> AsyncIterator[HttpStream]:
        began = self._clock.monotonic()
        opened = False
        try:
            async with self._transport.stream(request) as stream:
                opened = True
                self._answered(request, stream.status, began)
                yield stream
        except TransportError:
            # A stream that breaks later was answered all the same.
            if not opened:
                self._requests.inc("<error>", request.method, self._host)
            raise

    async def close(self) -> None:
        """Close pooled connections."""
        await self._transport.close()

    def _answered(self, request: HttpRequest, status: int, began: float) -> None:
        self._requests.inc(str(status), request.method, self._host)
        self._seconds.observe(self._clock.monotonic() - began, request.method, self._host)
