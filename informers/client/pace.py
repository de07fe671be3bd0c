"""A limit on writes, for who wants one: servers have their own, and say so by 429."""

from __future__ import annotations

import asyncio
import math

from informers.clock import Clock


class Pace:
    """Lets so many pass per second, in the order they came.

    :param rate: per second, above 0. Who has been quiet may be ahead by a second's worth, or by one.
    :raises ValueError: for a rate that lets nobody pass.
    """

    def __init__(self, rate: float, *, clock: Clock) -> None:
        if not 0 < rate < math.inf:
            raise ValueError(f"{rate} writes per second is not a valid limit")
        self._interval = 1 / rate
        self._ahead = max(1.0, rate) * self._interval
        self._clock = clock
        self._next = -math.inf
        """When the next one would be due if nobody could be ahead."""

    async def turn(self) -> None:
        """Wait until it is one's turn. A turn that is given up is lost."""
        now = self._clock.monotonic()
        self._next = max(self._next, now - self._ahead) + self._interval
        if self._next > now:
            await asyncio.sleep(self._next - now)
