"""One worker that looks at keys, each at most once at a time, and again after an error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from informers.errors import RuntimeFault
from informers.objects import ObjectKey

log = logging.getLogger(__name__)

_FIRST_RETRY = 0.1
_LAST_RETRY = 10.0


class KeyedLoop:
    """Calls ``sync`` for every key that was added, in order; a key added twice waits once.

    :param name: for the log, and to tell loops apart.
    :param sync: looks at the key's object and does what it needs; returns the seconds after which time
        alone makes another look worthwhile, or ``None``. What it raises from
        :class:`informers.errors.RuntimeFault` is retried after 0.1 s, doubling to 10 s.
    """

    def __init__(self, name: str, sync: Callable[[ObjectKey], Awaitable[float | None]]) -> None:
        self.name = name
        self._sync = sync
        self._pending: dict[ObjectKey, None] = {}
        self._failures: dict[ObjectKey, int] = {}
        self._timers: dict[ObjectKey, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()

    def add(self, key: ObjectKey) -> None:
        """Look at the key soon."""
        self._pending[key] = None
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._pending:
                    key = next(iter(self._pending))
                    del self._pending[key]
                    await self._look(key)
        finally:
            for timer in self._timers.values():
                timer.cancel()

    async def _look(self, key: ObjectKey) -> None:
        try:
            again = await self._sync(key)
        except RuntimeFault as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            again = min(_FIRST_RETRY * 2 ** (failures - 1), _LAST_RETRY)
            log.debug("%s %s: %s; trying again in %.1f s", self.name, key, error, again)
        else:
            self._failures.pop(key, None)
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if again is not None:
            self._timers[key] = asyncio.get_running_loop().call_later(again, self.add, key)
