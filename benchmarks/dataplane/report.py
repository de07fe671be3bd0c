"""Tables and JSON of the data plane's figures. Pure: figures in, text out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.dataplane.measure import COLLECTOR, FILTERED, LINE, TRANSFORMED, Figure

RATIOS = {(LINE, 100): 0.6, (LINE, 1000): 1.1}
"""Times the collector's records of a second of CPU."""
RATES = {(TRANSFORMED, 100): 120_000.0, (TRANSFORMED, 1000): 400_000.0}
"""Records of a second of CPU."""
MOST_P99_MS = 50.0
"""At half load."""
PROGRAMS = (LINE, TRANSFORMED, FILTERED, COLLECTOR)
HOLDS, FAILS = "holds", "fails"


@dataclass(slots=True)
class Report:
    """One benchmark.

    :param cpu: by program and records of a batch.
    :param half: at half of the highest rate, by the same.
    :param workers: by number of workers and records of a batch.
    :param missing: why there is no collector.
    """

    cpu: dict[tuple[str, int], Figure] = field(default_factory=dict)
    half: dict[tuple[str, int], Figure] = field(default_factory=dict)
    workers: dict[tuple[int, int], Figure] = field(default_factory=dict)
    missing: str = ""
    setting: Mapping[str, Any] = field(default_factory=dict)


def table(report: Report) -> str:
    """All of it as Markdown."""
    parts = [_cpu(report.cpu)]
    if report.half:
        parts.append(_half(report.half))
    if report.workers:
        parts.append(_workers(report.workers))
    if report.setting:
        parts.append(", ".join(f"{name}: {value}" for name, value in report.setting.items()))
    if report.missing:
        parts.append(f"The collector was skipped: {report.missing}")
    return "\n\n".join(parts) + "\n"


def as_json(report: Report) -> str:
    """All of it, for programs."""

    def listed(figures: Mapping[tuple[Any, int], Figure], what: str) -> list[dict[str, Any]]:
        return [{what: key[0], "batch": key[1], **asdict(figure)} for key, figure in figures.items()]

    document = {
        "setting": report.setting,
        "missing": report.missing,
        "cpu": listed(report.cpu, "program"),
        "half_load": listed(report.half, "program"),
        "workers": listed(report.workers, "workers"),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _cpu(figures: Mapping[tuple[str, int], Figure]) -> str:
    rows = []
    for name, size in sorted(figures, key=lambda key: (key[1], PROGRAMS.index(key[0]))):
        figure = figures[name, size]
        rate, peer = 1e6 / figure.cpu_us, figures.get((COLLECTOR, size))
        ratio = peer.cpu_us / figure.cpu_us if peer and name != COLLECTOR else None
        wanted = verdict = ""
        if (name, size) in RATIOS and ratio is not None:
            wanted = f">= {RATIOS[name, size]:g}×"
            verdict = HOLDS if ratio >= RATIOS[name, size] else FAILS
        if (name, size) in RATES:
            wanted = f">= {RATES[name, size]:,.0f}"
            verdict = HOLDS if rate >= RATES[name, size] else FAILS
        shown = f"{ratio:.2f}×" if ratio is not None else ""
        rows.append([name, str(size), f"{figure.cpu_us:.2f}", f"{rate:,.0f}", shown, wanted, verdict])
    head = ["program", "records a batch", "CPU per record, µs", "records per second of CPU"]
    return _markdown([*head, "of the collector", "must be", ""], rows)


def _half(figures: Mapping[tuple[str, int], Figure]) -> str:
    rows = []
    for (name, size), figure in sorted(figures.items(), key=lambda item: (item[0][1], item[0][0] != LINE)):
        wanted = f"<= {MOST_P99_MS:g} ms" if name == LINE else ""
        verdict = HOLDS if figure.p99_ms <= MOST_P99_MS else FAILS
        times = [f"{figure.p50_ms:.2f}", f"{figure.p99_ms:.2f}"]
        rows.append([name, str(size), f"{figure.rate:,.0f}", *times, wanted, verdict if wanted else ""])
    head = ["at half load", "records a batch", "records per second", "p50, ms", "p99, ms", "p99 must be", ""]
    return _markdown(head, rows)


def _workers(figures: Mapping[tuple[int, int], Figure]) -> str:
    rows = []
    for (workers, size), figure in sorted(figures.items(), key=lambda item: (item[0][1], item[0][0])):
        one = figures.get((1, size))
        times = [f"{figure.rate / one.rate:.2f}×", f"{figure.cpu_us / one.cpu_us:.2f}×"] if one else ["", ""]
        numbers = [f"{figure.rate:,.0f}", times[0], f"{figure.cpu_us:.2f}", times[1]]
        rows.append([str(workers), str(size), *numbers])
    head = ["workers", "records a batch", "records per second", "of one worker"]
    return _markdown([*head, "CPU per record, µs", "of one worker"], rows)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
