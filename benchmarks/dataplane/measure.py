"""One run of a measured program, and what a whole benchmark consists of."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.dataplane import load
from benchmarks.dataplane.load import OTLP, ROUTER, Order
from benchmarks.dataplane.programs import Missing, Running, collector, forwarding_collector, router
from benchmarks.dataplane.wire import FILTER, TRANSFORM
from benchmarks.processes import MeasurementError, Program, cpus

SIZES = (100, 1000)
"""Records of a batch."""
RECORDS: Mapping[int, int] = {100: 200_000, 1000: 800_000}
QUICK = 4
"""Divides the records of a quick run."""
LINE, TRANSFORMED, FILTERED, COLLECTOR = "router", "router, transform", "router, filter", "collector"
WORKERS = (1, 2)
CONNECTIONS = 16
"""Of the source where workers share the load: the kernel gives each connection to one of them."""
LATENCY_SECONDS = 8
_DEADLINE = 120.0

Start = Callable[[Path, Sequence[int], int], AbstractContextManager[Running]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One run: microseconds of CPU for a record, records of a second of time, milliseconds to an answer."""

    cpu_us: float
    rate: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0


def measure(
    start: Start,
    protocol: str,
    size: int,
    count: int,
    *,
    connections: int = 1,
    rate: float = 0.0,
    shared: bool = False,
) -> Figure:
    """One run.

    :param count: records.
    :param rate: records of a second; 0 for as many as are answered.
    :param shared: load and program share all CPUs, instead of having one each.
    :raises MeasurementError: a program failed.
    """
    measured_cpu, load_cpu = cpus()
    places = ([measured_cpu, load_cpu],) * 2 if shared else ([measured_cpu], [load_cpu])
    with tempfile.TemporaryDirectory(prefix="bench-data-") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        command = [sys.executable, "-m", "benchmarks.dataplane.load"]
        sender = Program(command, places[1], directory / "load.log")
        stack.callback(sender.stop)
        port = int(sender.expect("ports", _DEADLINE)["port"])
        running = stack.enter_context(start(directory, places[0], port))
        batches = count // size // connections
        warm = max(batches // 10, 5)
        order = Order(running.target, protocol, size, warm, batches, connections, rate / size)
        sender.ask(load.line(order))
        try:
            sender.expect("ready", _DEADLINE)
            before = running.cpu_seconds()
            sender.ask("")
            done = sender.expect("done", _DEADLINE)
        except MeasurementError as error:
            raise MeasurementError(f"{error}; {running.complaint()}") from error
        spent = running.cpu_seconds() - before
        records, seconds = float(done["records"]), float(done["seconds"])
        return Figure(spent / records * 1e6, records / seconds, float(done["p50"]), float(done["p99"]))


def programs(only: Sequence[str]) -> tuple[dict[str, tuple[Start, str]], str]:
    """What can be measured, with its protocol, and why the collector cannot."""
    found: dict[str, tuple[Start, str]] = {
        LINE: (router, ROUTER),
        TRANSFORMED: (partial(router, transforms=[TRANSFORM]), ROUTER),
        FILTERED: (partial(router, transforms=[FILTER]), ROUTER),
    }
    if only:
        found = {name: how for name, how in found.items() if name in only}
        if COLLECTOR not in only:
            return found, "not asked for"
    try:
        program = collector()
    except Missing as reason:
        return found, str(reason)
    found[COLLECTOR] = (partial(forwarding_collector, program), OTLP)
    return found, ""
