"""Events are news: they are dropped an hour after they were last written."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from informers.apiserver.kinds.table import EVENTS
from informers.apiserver.store import Change
from informers.objects import ObjectKey

if TYPE_CHECKING:
    from informers.apiserver.core import ApiServer

EVENT_SECONDS = 3_600.0
"""How long an Event is kept after its last write."""


class EventExpiry:
    """Removes old Events of one server."""

    def __init__(self, core: ApiServer) -> None:
        self._core = core
        # Oldest first: every write moves its event to the end.
        self._written: dict[ObjectKey, float] = {}
        self._first = asyncio.Event()

    async def run(self) -> None:
        """Follow Events until cancelled."""
        stop = self._core.subscribe(self._changed)
        try:
            for stored in self._core.store.shelf(EVENTS).items():
                self._note(stored.key)
            while True:
                await self._first.wait()
                await self._expire()
        finally:
            stop()

    def _changed(self, change: Change) -> None:
        if (change.resource.group, change.resource.plural) != EVENTS:
            return
        self._written.pop(change.key, None)
        if change.kind != "DELETED":
            self._note(change.key)

    def _note(self, key: ObjectKey) -> None:
        self._written[key] = self._core.clock.monotonic()
        self._first.set()

    async def _expire(self) -> None:
        while self._written:
            key, written = next(iter(self._written.items()))
            wait = written + EVENT_SECONDS - self._core.clock.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
                continue
            del self._written[key]
            type_ = self._core.registry.find("", "v1", "events")
            if type_ is not None and self._core.store.shelf(EVENTS).get(key) is not None:
                self._core.remove(type_, key)
        self._first.clear()
