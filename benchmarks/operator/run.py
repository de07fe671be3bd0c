"""Figures of the operator itself."""

from __future__ import annotations

from pathlib import Path


def measure_operator(quick: bool, directory: Path) -> dict[str, float]:
    """Nothing yet."""
    del quick, directory
    return {}
