"""Figures of the operator itself."""

from __future__ import annotations

from pathlib import Path

from benchmarks.operator.memory import operator_memory
from benchmarks.operator.steady import steady_state


def measure_operator(quick: bool, directory: Path) -> dict[str, float]:
    """Memory, and what is written when nothing changes.

    :raises MeasurementError: when the operator does not run.
    """
    return {**operator_memory(directory), **steady_state(100 if quick else 10_000)}
