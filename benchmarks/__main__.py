"""``python -m benchmarks``: build the programs, measure them, judge, and write the report."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.operator.run import measure_operator
from benchmarks.peers.programs import GO, KOPF, OURS, RUST, Peer, build_all
from benchmarks.plot import svg
from benchmarks.processes import ROOT, MeasurementError, StubProcess, cpus, stub
from benchmarks.report import Report, as_json, table
from benchmarks.scenarios import FULL, QUICK, Figures, Sizes, growth_runs, keep_best, measure, runs
from benchmarks.targets import Verdict, add_growth, judge

_BUDGET = 480.0
"""Seconds for all repetitions; one that would not fit any more is left out."""
OUTPUT = ROOT / "docs" / "benchmarks"


def main() -> int:
    """Run the benchmark; 1 when a target fails and ``--check`` was given."""
    options = _options()
    sizes = QUICK if options.quick else FULL
    began = time.monotonic()
    figures: Figures = {}
    failures: list[str] = []
    peers, skipped = build_all(options.only or [OURS, GO, RUST, KOPF], _tell)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        with stub(directory) as running:
            _measure_all(peers, sizes, running, directory, figures, failures)
        if not options.only or OURS in options.only:
            _operator(options.quick, directory, figures, failures)
    add_growth(figures, sizes.growth)
    judgements = judge(figures)
    report = Report(
        figures,
        judgements,
        {peer.name: peer.version for peer in peers},
        skipped,
        failures,
        _setting(options.quick, time.monotonic() - began),
    )
    sys.stdout.write(table(report))
    options.output.mkdir(parents=True, exist_ok=True)
    name = "quick" if options.quick else "results"
    (options.output / f"{name}.json").write_text(as_json(report), encoding="utf-8")
    (options.output / f"{name}.md").write_text(table(report), encoding="utf-8")
    (options.output / f"{name}.svg").write_text(svg(report), encoding="utf-8")
    failed = failures or any(one.verdict is Verdict.FAILS for one in judgements)
    return int(bool(options.check and failed))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller and once: under two minutes")
    parser.add_argument("--only", action="append", choices=[OURS, GO, RUST, KOPF], help="measure only these")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the report goes")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target does not hold")
    return parser.parse_args()


def _measure_all(
    peers: list[Peer],
    sizes: Sizes,
    running: StubProcess,
    directory: Path,
    figures: Figures,
    failures: list[str],
) -> None:
    began = time.monotonic()
    for repetition in range(sizes.repetitions):
        spent = time.monotonic() - began
        if repetition and spent / repetition * (repetition + 1) > _BUDGET:
            _tell(f"no time for repetition {repetition + 1}")
            break
        # Side by side, so that a noisy minute of the machine meets all of them.
        plans = [(peer, run) for peer in peers for run in runs(peer, sizes)]
        plans.sort(key=lambda plan: plan[1].scenario)
        plans += [(peer, run) for peer in peers if peer.name == OURS for run in growth_runs(sizes)]
        for peer, run in plans:
            _tell(
                f"[{repetition + 1}/{sizes.repetitions}] {peer.name}: {run.scenario}, {run.objects} objects"
            )
            try:
                keep_best(figures, peer.name, measure(peer, run, running, directory))
            except MeasurementError as error:
                failures.append(str(error))
                _tell(str(error))


def _operator(quick: bool, directory: Path, figures: Figures, failures: list[str]) -> None:
    _tell("the operator itself: steady state, memory")
    try:
        keep_best(figures, OURS, measure_operator(quick, directory))
    except MeasurementError as error:
        failures.append(str(error))
        _tell(str(error))


def _setting(quick: bool, seconds: float) -> dict[str, Any]:
    return {
        "mode": "quick" if quick else "full",
        "seconds": round(seconds),
        "cpus": os.cpu_count(),
        "pinned": cpus()[0] != cpus()[1],
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def _tell(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
