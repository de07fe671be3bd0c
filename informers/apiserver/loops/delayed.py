"""A queue whose items arrive a random moment after they were added, as work reaches a real controller."""

from __future__ import annotations

import asyncio
import random
from typing import Generic, TypeVar

T = TypeVar("T")


class DelayedQueue(Generic[T]):
    """Items to look at. One that waits already is not added again.

    :param low: shortest delay, seconds.
    :param high: longest delay, seconds.
    """

    def __init__(self, rng: random.Random, low: float, high: float) -> None:
        self._rng = rng
        self._low = low
        self._high = high
        self._ready: asyncio.Queue[T] = asyncio.Queue()
        self._waiting: set[T] = set()

    def add(self, item: T, delay: float | None = None) -> None:
        """Add an item.

        :param delay: seconds; a random delay by default.
        """
        if item not in self._waiting:
            self._waiting.add(item)
            seconds = self._rng.uniform(self._low, self._high) if delay is None else delay
            asyncio.get_running_loop().call_later(seconds, self._ready.put_nowait, item)

    async def get(self) -> T:
        """The next item, which from now on may be added again."""
        item = await self._ready.get()
        self._waiting.discard(item)
        return item
