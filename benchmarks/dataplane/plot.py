"""CPU per record as an SVG: a group of bars for each size of a batch, on a linear scale. Pure."""

from __future__ import annotations

from benchmarks.dataplane.measure import COLLECTOR, FILTERED, LINE, TRANSFORMED
from benchmarks.dataplane.report import PROGRAMS, Report
from benchmarks.plot import document, text

_COLOURS = {LINE: "#0b7285", TRANSFORMED: "#3bc9db", FILTERED: "#99e9f2", COLLECTOR: "#868e96"}
_LEFT, _WIDTH, _TOP, _BAR, _GAP = 190, 640, 44, 18, 16


def svg(report: Report) -> str:
    """The plot."""
    most = max((figure.cpu_us for figure in report.cpu.values()), default=1.0)
    parts = [text(10, 22, "CPU time per record, µs; shorter is better", size=14)]
    top = _TOP
    for size in sorted({size for _, size in report.cpu}):
        shown = [name for name in PROGRAMS if (name, size) in report.cpu]
        parts.append(text(10, top + len(shown) * _BAR / 2 + 4, f"{size} a batch"))
        for name in shown:
            value = report.cpu[name, size].cpu_us
            width, colour = max(value / most * _WIDTH, 1.0), _COLOURS[name]
            parts.append(
                f'<rect x="{_LEFT}" y="{top}" width="{width:.1f}" height="{_BAR - 3}" fill="{colour}"/>'
            )
            parts.append(text(_LEFT - 6, top + _BAR - 6, name, anchor="end", size=10))
            parts.append(text(_LEFT + width + 5, top + _BAR - 6, f"{value:.2f}", size=10))
            top += _BAR
        top += _GAP
    return document(parts, top)
