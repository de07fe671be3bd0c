"""Which of two resource versions is newer.

Versions of one resource can be compared when both are decimal numbers without leading zeros; they may be
larger than 64 bits. Anything else is opaque.
"""

from __future__ import annotations

from typing import TypeAlias

Order: TypeAlias = tuple[int, str]
"""Compares as the versions do: longer is newer, equal lengths compare as text."""


def order_of(version: str) -> Order | None:
    """Something that compares as the version does, or ``None`` for an opaque version."""
    if not (version.isascii() and version.isdecimal()) or (version[0] == "0" and version != "0"):
        return None
    return len(version), version
