"""Ends a worker that hangs: one that is caught in a loop, or stopped, holds its records for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

BEAT_SECONDS = 5.0
"""Between two questions."""
MOST_SILENT = 6
"""Questions in a row without a message from the worker, after which it is ended.

They are counted by the loop that asks: time in which this process itself did not run, or the machine slept,
does not count.
"""


class Watchdog:
    """Watches one worker process.

    :param ask: asks the worker something that it answers at once.
    :param end: ends the worker.
    """

    def __init__(self, ask: Callable[[], None], end: Callable[[], None]) -> None:
        self._ask = ask
        self._end = end
        self._silent = 0

    def heard(self) -> None:
        """A message came, whatever it says."""
        self._silent = 0

    async def run(self) -> None:
        """Watch from now on, until the worker is ended or this is cancelled."""
        while self._silent < MOST_SILENT:
            self._silent += 1
            self._ask()
            await asyncio.sleep(BEAT_SECONDS)
        self._end()
