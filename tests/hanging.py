"""What no test depends on: how fast the machine is."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

HANGS = 600.0
"""Seconds. What takes longer hangs, on any machine and beside any load; nothing is said about speed."""


def without_deadlines() -> None:
    """Make hypothesis measure nothing: neither how long an example takes nor how fast examples are made."""
    settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any-machine")
