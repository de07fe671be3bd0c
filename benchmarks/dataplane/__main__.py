"""``python -m benchmarks.dataplane``: the router's data plane beside an OpenTelemetry Collector.

CPU for each record: load, sink and transform are one process on one CPU, the measured program is another on
the other CPU. The figure is the CPU time of the measured process and its children by its records; of several
runs, in turns, the best counts. Then the time to an answer at half of the highest rate, and the router with
one and with two workers, where all processes share the CPUs.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks.dataplane.load import ROUTER
from benchmarks.dataplane.measure import (
    COLLECTOR,
    CONNECTIONS,
    FILTERED,
    LATENCY_SECONDS,
    LINE,
    QUICK,
    RECORDS,
    SIZES,
    TRANSFORMED,
    WORKERS,
    Figure,
    measure,
    programs,
)
from benchmarks.dataplane.plot import svg
from benchmarks.dataplane.programs import COLLECTOR_VERSION, python, router
from benchmarks.dataplane.report import FAILS, Report, as_json, table
from benchmarks.peers.interpreter import version_of
from benchmarks.processes import ROOT, cpus

OUTPUT = ROOT / "docs" / "benchmarks"


def _cpu(report: Report, quick: bool, repetitions: int, only: list[str]) -> None:
    found, report.missing = programs(only)
    for repetition in range(1 if quick else repetitions):
        for size in SIZES:
            for name, (start, protocol) in found.items():
                _tell(f"[{repetition + 1}] {name}, {size} records a batch")
                figure = measure(start, protocol, size, RECORDS[size] // (QUICK if quick else 1))
                known = report.cpu.get((name, size))
                if known is None or figure.cpu_us < known.cpu_us:
                    report.cpu[name, size] = figure


def _half_load(report: Report, quick: bool, only: list[str]) -> None:
    found, _ = programs(only)
    for size in SIZES:
        for name in (LINE, COLLECTOR):
            full = report.cpu.get((name, size))
            if name in found and full is not None:
                _tell(f"{name} at half load, {size} records a batch")
                start, protocol = found[name]
                count = int(full.rate / 2 * LATENCY_SECONDS / (QUICK if quick else 1))
                report.half[name, size] = measure(start, protocol, size, count, rate=full.rate / 2)


def _workers(report: Report, quick: bool, repetitions: int) -> None:
    for _ in range(1 if quick else repetitions):
        for size in SIZES:
            for workers in WORKERS:
                _tell(f"{workers} workers, {size} records a batch")
                figure = measure(
                    partial(router, workers=workers),
                    ROUTER,
                    size,
                    2 * RECORDS[size] // (QUICK if quick else 1),
                    connections=CONNECTIONS,
                    shared=True,
                )
                known: Figure | None = report.workers.get((workers, size))
                if known is None or figure.rate > known.rate:
                    report.workers[workers, size] = figure


def main() -> int:
    """Measure, print and write; 1 when a target fails and ``--check`` was given."""
    options = _options()
    began = time.monotonic()
    report = Report()
    _cpu(report, options.quick, options.repetitions, options.only)
    if not options.only:
        _half_load(report, options.quick, options.only)
        _workers(report, options.quick, options.repetitions)
    report.setting = {
        "mode": "quick" if options.quick else "full",
        "seconds": round(time.monotonic() - began),
        "CPUs": os.cpu_count(),
        "one CPU for each process": cpus()[0] != cpus()[1],
        "machine": platform.machine(),
        "kernel": platform.release(),
        "the router's Python": version_of(python()),
        "collector": COLLECTOR_VERSION,
        "load average": round(os.getloadavg()[0], 2),
    }
    text = table(report)
    sys.stdout.write(text)
    if not options.only:
        name = "dataplane-quick" if options.quick else "dataplane"
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / f"{name}.md").write_text(text, encoding="utf-8")
        (options.output / f"{name}.json").write_text(as_json(report), encoding="utf-8")
        (options.output / f"{name}.svg").write_text(svg(report), encoding="utf-8")
    return int(options.check and f"| {FAILS} |" in text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataplane", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a quarter of the records, once")
    parser.add_argument("--repetitions", type=int, default=3, help="runs of each program")
    parser.add_argument(
        "--only",
        action="append",
        choices=[LINE, TRANSFORMED, FILTERED, COLLECTOR],
        default=[],
        help="only the CPU of these; writes no files",
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the report goes")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target does not hold")
    return parser.parse_args()


def _tell(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
