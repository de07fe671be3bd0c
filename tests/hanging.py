"""How long a test waits for what must happen."""

from __future__ import annotations

HANGS = 600.0
"""Seconds. What takes longer hangs, on any machine and beside any load; nothing is said about speed."""
