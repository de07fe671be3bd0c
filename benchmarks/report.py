"""The table, the JSON and the plot of one run. Pure: figures in, text out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.peers.programs import OURS
from benchmarks.targets import Judgement, Verdict

Values = Mapping[str, Mapping[str, float]]

ROWS: Sequence[tuple[str, str, str]] = (
    ("sync_stream_us", "cold sync, streaming list, CPU per object", "µs"),
    ("sync_paged_us", "cold sync, paged list, CPU per object", "µs"),
    ("sync_many_us", "the same with the large cache, streaming", "µs"),
    ("sync_stream_rss_mb", "resident memory with the ordinary cache", "MB"),
    ("memory_bytes", "memory per cached object, large cache", "B"),
    ("ingest_us", "watch ingest, CPU per event", "µs"),
    ("latency_200_p50_ms", "event to reconcile, 200/s, p50", "ms"),
    ("latency_200_p99_ms", "event to reconcile, 200/s, p99", "ms"),
    ("latency_2000_p50_ms", "event to reconcile, 2000/s, p50", "ms"),
    ("latency_2000_p99_ms", "event to reconcile, 2000/s, p99", "ms"),
    ("noop_empty_us", "no-op reconcile, empty body", "µs"),
    ("noop_build_us", "no-op reconcile, StatefulSet built and compared", "µs"),
    ("noop_pydantic_us", "the same, spec validated by pydantic", "µs"),
    ("noop_gate_us", "no-op reconcile, input gate", "µs"),
    ("apply_tls_us", "server-side apply over TLS, client CPU", "µs"),
)
"""Figures that are compared, what they are, and their unit; all of them costs."""


@dataclass(frozen=True, slots=True)
class Report:
    """One run.

    :param peers: program to version, in the order of the columns.
    :param skipped: program to the reason it is missing.
    :param setting: what the figures depend on: sizes, machine, duration.
    """

    figures: Values
    judgements: Sequence[Judgement]
    peers: Mapping[str, str]
    skipped: Mapping[str, str]
    failures: Sequence[str] = ()
    setting: Mapping[str, Any] = field(default_factory=dict)


def number(value: float | None) -> str:
    """Three significant digits, or a dash."""
    if value is None:
        return "–"
    if value == int(value) and abs(value) < 1000:
        return str(int(value))
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def table(report: Report) -> str:
    """Both tables as Markdown: figures with ratios, then targets with verdicts."""
    names = list(report.peers)
    head = ["figure (lower is better)", "unit"]
    for name in names:
        head += (
            [f"{name} {report.peers[name]}"] if name == OURS else [f"{name} {report.peers[name]}", "ratio"]
        )
    rows = [_figure_row(figure, title, unit, report.figures, names) for figure, title, unit in ROWS]
    sections = [_markdown(head, [row for row in rows if row is not None])]
    verdicts = [_verdict_row(one) for one in report.judgements]
    sections.append(_markdown(["target", "against", "ours", "theirs", "ratio", "must be", ""], verdicts))
    notes = [f"{name} was skipped: {reason}" for name, reason in report.skipped.items()]
    notes += [f"failed: {failure}" for failure in report.failures]
    if notes:
        sections.append("\n".join(notes))
    return "\n\n".join(sections) + "\n"


def as_json(report: Report) -> str:
    """Everything, for programs."""
    document = {
        "setting": report.setting,
        "programs": report.peers,
        "skipped": report.skipped,
        "failures": report.failures,
        "figures": report.figures,
        "targets": [
            {
                "target": one.target.title,
                "against": one.target.peer,
                "ours": one.ours,
                "theirs": one.theirs,
                "ratio": one.ratio,
                "must_be_at_most": one.target.factor,
                "verdict": one.verdict.value,
            }
            for one in report.judgements
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _figure_row(
    figure: str, title: str, unit: str, figures: Values, names: Sequence[str]
) -> list[str] | None:
    values = figures.get(figure)
    if not values:
        return None
    ours = values.get(OURS)
    row = [title, unit]
    for name in names:
        value = values.get(name)
        row.append(number(value))
        if name != OURS:
            row.append(f"{value / ours:.2f}" if value is not None and ours else "–")
    return row


def _verdict_row(one: Judgement) -> list[str]:
    target = one.target
    unit = f" {target.unit}" if target.unit else ""
    return [
        target.title,
        target.peer or "–",
        f"{number(one.ours)}{unit}" if one.ours is not None else "–",
        f"{number(one.theirs)}{unit}" if one.theirs is not None else "–",
        number(one.ratio) if target.peer and one.ratio is not None else "–",
        f"<= {number(target.factor)}{'' if target.peer else unit}",
        one.verdict.value if one.verdict is not Verdict.FAILS else f"**{one.verdict.value}**",
    ]


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        return "| " + " | ".join(padded) + " |"

    return "\n".join((line(head), line(["-" * width for width in widths]), *map(line, rows)))
