"""The figures as an SVG: one bar per program, on a logarithmic scale of its cost over ours. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from benchmarks.peers.programs import GO, KOPF, OURS, RUST
from benchmarks.report import ROWS, Report, number

_COLOURS = {OURS: "#0b7285", GO: "#868e96", RUST: "#e8590c", KOPF: "#5f3dc4"}
_WIDTH, _LEFT, _RIGHT, _TOP = 960, 330, 90, 64
_BAR, _GAP = 13, 14
_LEAST, _MOST = 0.1, 200.0
"""Ends of the scale: a program ten times cheaper than ours, and one that costs two hundred times as much."""


def svg(report: Report) -> str:
    """The plot of a run."""
    groups = [(title, unit, report.figures[name]) for name, title, unit in ROWS if report.figures.get(name)]
    groups = [group for group in groups if group[2].get(OURS)]
    parts: list[str] = []
    top = _TOP
    for title, unit, values in groups:
        shown = [name for name in report.peers if name in values]
        middle = top + len(shown) * _BAR / 2 + 4
        parts.append(text(_LEFT - 10, middle, title, anchor="end"))
        for name in shown:
            parts += _bar(top, name, values[name], values[OURS], unit)
            top += _BAR
        top += _GAP
    frame = [*_axis(top), *_legend(report.peers)]
    return document([*frame, *parts], top + 34)


def document(parts: Iterable[str], height: float) -> str:
    """Parts as a whole picture."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">'
    )
    background = f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>'
    return "\n".join((head, background, *parts, "</svg>")) + "\n"


def position(ratio: float) -> float:
    """Where a ratio is on the scale; beyond its ends, at the end."""
    share = math.log(min(max(ratio, _LEAST), _MOST) / _LEAST) / math.log(_MOST / _LEAST)
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _bar(top: float, name: str, value: float, ours: float, unit: str) -> list[str]:
    end = position(value / ours)
    width = max(end - _LEFT, 1.0)
    colour = _COLOURS.get(name, "#adb5bd")
    return [
        f'<rect x="{_LEFT}" y="{top:.1f}" width="{width:.1f}" height="{_BAR - 2}" fill="{colour}"/>',
        text(end + 5, top + _BAR - 3, f"{number(value)} {unit}", size=10),
    ]


def _axis(bottom: float) -> Iterable[str]:
    for ratio in (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100):
        x = position(ratio)
        stroke = "#212529" if ratio == 1 else "#e9ecef"
        yield f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{bottom}" stroke="{stroke}"/>'
        yield text(x, bottom + 14, f"{ratio:g}×", anchor="middle", size=10)


def _legend(names: Iterable[str]) -> Sequence[str]:
    parts = [text(10, 22, "Cost relative to etl-operator; shorter is better, logarithmic scale", size=14)]
    x = 10.0
    for name in names:
        parts.append(f'<rect x="{x}" y="34" width="12" height="12" fill="{_COLOURS.get(name, "#adb5bd")}"/>')
        parts.append(text(x + 17, 45, name))
        x += 40 + 7 * len(name)
    return parts


def text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    """A line of text."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#212529">'
        f"{escape(text)}</text>"
    )
