"""What the Python programs measure, and how they say it. The Go and Rust programs do the same.

A program prints JSON lines: ``ready`` when its caches are full, ``settled`` a while later if asked to wait,
and ``result``. CPU is that of the whole process, user and system.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def cpu_seconds() -> float:
    """CPU time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident_bytes() -> int:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


class Meter:
    """Differences since it was made."""

    def __init__(self) -> None:
        self._rss = resident_bytes()
        self._cpu = cpu_seconds()
        self._wall = time.monotonic()

    def read(self) -> dict[str, float]:
        """``cpu`` and ``wall`` in seconds, ``rss_delta`` and ``rss`` in bytes."""
        wall, cpu, rss = time.monotonic() - self._wall, cpu_seconds() - self._cpu, resident_bytes()
        return {"cpu": cpu, "wall": wall, "rss_delta": rss - self._rss, "rss": rss}


def say(phase: str, **values: Any) -> None:
    """Print one line for the driver."""
    sys.stdout.write(json.dumps({"phase": phase, **values}) + "\n")
    sys.stdout.flush()


def arguments(scenarios: Iterable[str]) -> argparse.Namespace:
    """The arguments every program takes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=sorted(scenarios))
    parser.add_argument("--objects", type=int, required=True, help="objects of each kind in the stub")
    parser.add_argument("--events", type=int, default=0, help="events that will come, or requests to make")
    parser.add_argument("--rounds", type=int, default=0, help="times every key is reconciled")
    parser.add_argument("--settle", type=float, default=0.0, help="seconds to be idle before memory is read")
    parser.add_argument("--paged", action="store_true", help="list in pages, not as a stream")
    return parser.parse_args()
