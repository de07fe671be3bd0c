"""Time, passed in. Nothing in this library reads the clock by itself.

Waiting goes through the event loop (``asyncio.sleep``, ``loop.call_at``), so that under the
virtual loop of :mod:`informers.testing` hours pass in milliseconds.
"""

from __future__ import annotations

import time
from asyncio import BaseEventLoop, get_running_loop
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Two readings: one for durations, one for timestamps shown to people or stored in objects."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""
        ...

    def time(self) -> float:
        """Seconds since the epoch, UTC."""
        ...


class SystemClock:
    """The machine's clock. ``monotonic`` is the running loop's own, so timers and readings agree; in a thread
    it is that of the loop that has read it before, or else the machine's. For one event loop."""

    def __init__(self) -> None:
        self.monotonic: Callable[[], float] = self._first

    def _first(self) -> float:
        try:
            loop = get_running_loop()
        except RuntimeError:
            return time.monotonic()
        # What asyncio's own loops show, without the two calls around it; read several times per reconcile.
        self.monotonic = time.monotonic if type(loop).time is BaseEventLoop.time else loop.time
        return loop.time()

    def time(self) -> float:
        return time.time()


def timestamp(seconds: float) -> str:
    """A time as Kubernetes writes it in objects: RFC 3339, UTC, whole seconds.

    :param seconds: since the epoch; parts of a second are dropped.
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_time(seconds: float) -> str:
    """A ``MicroTime`` as leases and events have it: RFC 3339, UTC, with six digits of a second.

    :param seconds: since the epoch.
    """
    moment = datetime.fromtimestamp(0, tz=UTC) + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
