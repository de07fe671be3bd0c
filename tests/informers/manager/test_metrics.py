"""Metrics as a scraper sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from informers.client.transport import HttpRequest, HttpResponse, HttpStream
from informers.errors import TransportError
from informers.metrics import MeasuredTransport, Metrics
from informers.testing.clock import VirtualClock, run_virtual


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Everything a scraper would read."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_gauges_counters_and_removal() -> None:
    metrics = Metrics(process=False)
    gauge = metrics.gauge("size", "A size.", ("kind",))
    counter = metrics.counter("things_total", "Things.", ("kind",))
    gauge.set(3, "a")
    gauge.set(4, "a")
    counter.inc("a")
    counter.inc("a", amount=2.5)
    counter.inc("b")
    assert samples(metrics) == {
        ("size", (("kind", "a"),)): 4,
        ("things_total", (("kind", "a"),)): 3.5,
        ("things_total", (("kind", "b"),)): 1,
    }
    gauge.remove("a")
    counter.remove("a")
    counter.remove("never there")
    assert samples(metrics) == {("things_total", (("kind", "b"),)): 1}


def test_what_was_only_noted_is_counted_before_the_scrape() -> None:
    metrics = Metrics(process=False)
    counter, noted = metrics.counter("things_total", "Things."), 3

    def count() -> None:
        nonlocal noted
        counter.inc(amount=noted)
        noted = 0

    metrics.before_scrape(count)
    assert samples(metrics) == samples(metrics) == {("things_total", ()): 3}


def test_what_somebody_else_counts_is_read_at_the_scrape() -> None:
    metrics = Metrics(process=False)
    counter = metrics.counter("things_total", "Things.", ("kind",))
    counted = 0
    counter.read_from(lambda: counted, "theirs")
    counter.inc("ours")
    counted = 7
    assert samples(metrics) == {
        ("things_total", (("kind", "ours"),)): 1,
        ("things_total", (("kind", "theirs"),)): 7,
    }
    with pytest.raises(ValueError, match="has labels"):
        counter.read_from(lambda: counted)
    counter.remove("theirs")
    assert samples(metrics) == {("things_total", (("kind", "ours"),)): 1}


def test_a_counter_without_labels_shows_zero() -> None:
    metrics = Metrics(process=False)
    metrics.counter("things_total", "Things.")
    assert samples(metrics) == {("things_total", ()): 0}


@given(
    st.lists(
        st.lists(st.sampled_from([0.5, 1.0, 10.0]) | st.floats(min_value=0, max_value=20, allow_nan=False))
    )
)
def test_histograms_count_every_value_in_the_bucket_of_its_size(given_: list[list[float]]) -> None:
    metrics = Metrics(process=False)
    histogram = metrics.histogram("h_seconds", "Seconds.", ("k",), buckets=(0.5, 1, 10))
    histogram.observe(0, "other")
    values = [value for some in given_ for value in some]
    for some in given_:
        if len(some) == 1:
            histogram.observe(some[0], "x")
        else:
            histogram.cell("x").observe_all(some)
    seen = samples(metrics)
    for bound, name in ((0.5, "0.5"), (1, "1.0"), (10, "10.0"), (float("inf"), "+Inf")):
        expected = sum(value <= bound for value in values)
        assert seen.get(("h_seconds_bucket", (("k", "x"), ("le", name))), 0) == expected
    assert seen.get(("h_seconds_count", (("k", "x"),)), 0) == len(values)
    assert seen.get(("h_seconds_sum", (("k", "x"),)), 0) == pytest.approx(sum(values))
    histogram.remove("x")
    assert ("h_seconds_count", (("k", "x"),)) not in samples(metrics)


def test_one_name_is_one_metric() -> None:
    metrics = Metrics(process=False)
    assert metrics.counter("a_total", "A.", ("k",)) is metrics.counter("a_total", "A.", ("k",))
    with pytest.raises(ValueError, match="a_total exists already"):
        metrics.counter("a_total", "A.", ("other",))
    with pytest.raises(ValueError, match="a_total exists already"):
        metrics.gauge("a_total", "A.", ("k",))


def test_the_wrong_number_of_labels_is_refused() -> None:
    metrics = Metrics(process=False)
    with pytest.raises(ValueError, match="has labels"):
        metrics.counter("a_total", "A.", ("k",)).inc()
    with pytest.raises(ValueError, match="has labels"):
        metrics.gauge("b", "B.").set(1, "x")
    with pytest.raises(ValueError, match="has labels"):
        metrics.histogram("c", "C.", ("k",)).observe(1, "x", "y")
    assert samples(metrics) == {}


def test_sampled_gauges_are_read_at_the_scrape_from_every_source() -> None:
    metrics = Metrics(process=False)
    value = 1.0
    metrics.sampled("now", "Now.", ("k",), lambda: [(("a",), value)])
    metrics.sampled("now", "Now.", ("k",), lambda: [(("b",), value * 10)])
    value = 2.0
    assert samples(metrics) == {("now", (("k", "a"),)): 2, ("now", (("k", "b"),)): 20}


def test_the_process_shows_itself_and_formats_are_negotiated() -> None:
    metrics = Metrics()
    assert b"process_cpu_seconds_total" in metrics.render()
    assert b"python_info" in metrics.render()
    body, content_type = metrics.expose("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    assert metrics.expose("")[1].startswith("text/plain")


def test_label_values_are_escaped() -> None:
    metrics = Metrics(process=False)
    nasty = 'a"b\\c\nd'
    metrics.gauge("g", "G.", ("k",)).set(1, nasty)
    assert samples(metrics) == {("g", (("k", nasty),)): 1}


@dataclass
class FlakyTransport:
    """Answers with a status after half a second, or not at all."""

    status: int = 200
    dead: bool = False
    breaking: bool = False
    host: str = "api.example:6443"
    headers: Mapping[str, str] = field(default_factory=dict)

    async def request(self, request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0.5)
        if self.dead:
            raise TransportError("refused")
        return HttpResponse(self.status, b"{}")

    @asynccontextmanager
    async def stream(self, request: HttpRequest) -> AsyncIterator[HttpStream]:
        if self.dead:
            raise TransportError("refused")
        yield self

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b"x"
        if self.breaking:
            raise TransportError("reset")

    async def read(self) -> bytes:
        return b""

    async def close(self) -> None: ...


def test_requests_are_counted_by_code_and_timed() -> None:
    async def main() -> Metrics:
        metrics = Metrics(process=False)
        inner = FlakyTransport()
        transport = MeasuredTransport(inner, metrics, VirtualClock())
        await transport.request(HttpRequest("GET", "/a"))
        inner.status = 409
        await transport.request(HttpRequest("PATCH", "/a"))
        inner.dead = True
        with pytest.raises(TransportError):
            await transport.request(HttpRequest("PATCH", "/a"))
        await transport.close()
        return metrics

    seen = samples(run_virtual(main()))
    host = ("host", "api.example:6443")
    assert seen["rest_client_requests_total", (("code", "200"), host, ("method", "GET"))] == 1
    assert seen["rest_client_requests_total", (("code", "409"), host, ("method", "PATCH"))] == 1
    assert seen["rest_client_requests_total", (("code", "<error>"), host, ("method", "PATCH"))] == 1
    bucket = "rest_client_request_duration_seconds_bucket"
    assert seen[bucket, (host, ("le", "0.25"), ("verb", "GET"))] == 0
    assert seen[bucket, (host, ("le", "0.5"), ("verb", "GET"))] == 1


def test_streams_count_once_whether_or_not_they_break_later() -> None:
    async def main() -> Metrics:
        metrics = Metrics(process=False)
        inner = FlakyTransport(breaking=True)
        transport = MeasuredTransport(inner, metrics, VirtualClock())
        request = HttpRequest("GET", "/watch")
        with pytest.raises(TransportError, match="reset"):
            async with transport.stream(request) as stream:
                assert [chunk async for chunk in stream.chunks()] == [b"x"]
        inner.dead = True
        with pytest.raises(TransportError, match="refused"):
            async with transport.stream(request):
                raise AssertionError("it never opened")
        return metrics

    seen = samples(run_virtual(main()))
    total = "rest_client_requests_total"
    counts = {labels[0][1]: value for (name, labels), value in seen.items() if name == total}
    assert counts == {"200": 1, "<error>": 1}
