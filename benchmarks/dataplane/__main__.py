"""``python -m benchmarks.dataplane``: CPU of the router for each record, beside an OpenTelemetry Collector.

Load, sink and transform are one process on one CPU, the measured program is another on the other CPU. The
figure is the CPU time of the measured process by its records; of several runs, in turns, the best counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.dataplane.programs import (
    COLLECTOR_VERSION,
    Missing,
    Running,
    collector,
    forwarding_collector,
    python,
    router,
)
from benchmarks.peers.interpreter import version_of
from benchmarks.processes import ROOT, MeasurementError, cpus, pinned

SIZES = (100, 1000)
"""Records of a batch."""
RECORDS = {100: 100_000, 1000: 400_000}
QUICK = 4
"""Divides the records of a quick run."""
LINE, TRANSFORM, COLLECTOR = "router", "router, transform", "collector"
TARGETS = {(LINE, 100): 0.6, (LINE, 1000): 1.1}
"""Times the collector's records of a second of CPU."""
RATES = {(TRANSFORM, 100): 120_000.0, (TRANSFORM, 1000): 400_000.0}
"""Records of a second of CPU."""

Start = Callable[[Path, int, int], AbstractContextManager[Running]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One run: microseconds of CPU for a record, and records of a second of time."""

    cpu_us: float
    rate: float


class _Load:
    """The process of `load`."""

    def __init__(self, cpu: int, log: Path) -> None:
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.dataplane.load"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                cwd=ROOT,
                preexec_fn=pinned(cpu),
            )
        self._log = log

    def ask(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def expect(self, phase: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        said: dict[str, Any] = json.loads(line) if line else {}
        if said.get("phase") != phase:
            raise MeasurementError(f"no {phase!r} from the load: {self._log.read_text()[-2000:]}")
        return said

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def measure(start: Start, protocol: str, size: int, count: int) -> Figure:
    """One run.

    :raises MeasurementError: a program failed.
    """
    measured_cpu, load_cpu = cpus()
    with tempfile.TemporaryDirectory(prefix="bench-data-") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        load = _Load(load_cpu, directory / "load.log")
        stack.callback(load.stop)
        port = int(load.expect("ports")["port"])
        running = stack.enter_context(start(directory, measured_cpu, port))
        batches = count // size
        order = {
            "target": running.target,
            "protocol": protocol,
            "warm": max(batches // 10, 20),
            "batches": batches,
            "size": size,
        }
        load.ask(json.dumps(order))
        try:
            load.expect("ready")
            before = running.cpu_seconds()
            load.ask("")
            seconds = load.expect("done")["seconds"]
        except MeasurementError as error:
            raise MeasurementError(f"{error}; {running.complaint()}") from error
        spent = running.cpu_seconds() - before
        records = batches * size
        return Figure(spent / records * 1e6, records / seconds)


def programs(only: list[str]) -> tuple[dict[str, tuple[Start, str]], str]:
    """What can be measured, with its protocol, and why the collector cannot."""
    found: dict[str, tuple[Start, str]] = {
        LINE: (lambda directory, cpu, port: router(directory, cpu, port, transform=False), "router"),
        TRANSFORM: (lambda directory, cpu, port: router(directory, cpu, port, transform=True), "router"),
    }
    if only and COLLECTOR not in only:
        return found, "not asked for"
    try:
        program = collector()
    except Missing as reason:
        return found, str(reason)
    found[COLLECTOR] = (
        lambda directory, cpu, port: forwarding_collector(program, directory, cpu, port),
        "otlp",
    )
    return found, ""


def run(quick: bool, repetitions: int, only: list[str]) -> tuple[dict[tuple[str, int], Figure], str]:
    """All of them in turns; the best of each, and why there is no collector."""
    found, missing = programs(only)
    best: dict[tuple[str, int], Figure] = {}
    for repetition in range(1 if quick else repetitions):
        for size in SIZES:
            for name, (start, protocol) in found.items():
                if only and name not in only:
                    continue
                _tell(f"[{repetition + 1}] {name}, {size} records a batch")
                figure = measure(start, protocol, size, RECORDS[size] // (QUICK if quick else 1))
                known = best.get((name, size))
                if known is None or figure.cpu_us < known.cpu_us:
                    best[name, size] = figure
    return best, missing


def table(best: dict[tuple[str, int], Figure], missing: str) -> str:
    """Figures, ratios to the collector and targets as Markdown."""
    lines = [
        "| program | records a batch | CPU per record, µs | records per second of CPU | of the collector "
        "| must be | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (name, size), figure in sorted(best.items(), key=lambda item: (item[0][1], item[0][0])):
        rate, peer = 1e6 / figure.cpu_us, best.get((COLLECTOR, size))
        ratio = peer.cpu_us / figure.cpu_us if peer and name != COLLECTOR else None
        wanted = holds = ""
        if (name, size) in TARGETS and ratio is not None:
            wanted = f">= {TARGETS[name, size]:g}×"
            holds = "holds" if ratio >= TARGETS[name, size] else "fails"
        if (name, size) in RATES:
            wanted = f">= {RATES[name, size]:,.0f}"
            holds = "holds" if rate >= RATES[name, size] else "fails"
        shown = f"{ratio:.2f}×" if ratio is not None else ""
        lines.append(
            f"| {name} | {size} | {figure.cpu_us:.2f} | {rate:,.0f} | {shown} | {wanted} | {holds} |"
        )
    lines += ["", f"The router runs on Python {version_of(python())}."]
    if missing:
        lines += ["", f"The collector {COLLECTOR_VERSION} was skipped: {missing}"]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure and print; 1 when a target fails and ``--check`` was given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataplane", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a quarter of the records, once")
    parser.add_argument("--repetitions", type=int, default=3, help="runs of each program")
    parser.add_argument("--only", action="append", choices=[LINE, TRANSFORM, COLLECTOR], default=[])
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target does not hold")
    options = parser.parse_args()
    text = table(*run(options.quick, options.repetitions, options.only))
    sys.stdout.write(text)
    return int(options.check and "| fails |" in text)


def _tell(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
