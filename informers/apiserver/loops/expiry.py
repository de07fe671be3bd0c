"""Expiry of Events: they are removed an hour after their last write."""

from __future__ import annotations

import asyncio

from informers.apiserver.kinds.table import EVENTS
from informers.apiserver.store import Change
from informers.apiserver.writing.backend import Backend
from informers.objects import ObjectKey

EVENT_SECONDS = 3_600.0
"""How long an Event is kept after its last write."""


class EventExpiry:
    """Removes old Events of one server."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        # Oldest first: every write moves its event to the end.
        self._written: dict[ObjectKey, float] = {}
        self._first = asyncio.Event()

    async def run(self) -> None:
        """Follow Events until cancelled."""
        stop = self._backend.store.subscribe(self._changed)
        try:
            for stored in self._backend.store.shelf(EVENTS).items():
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
        self._written[key] = self._backend.clock.monotonic()
        self._first.set()

    async def _expire(self) -> None:
        while self._written:
            key, written = next(iter(self._written.items()))
            wait = written + EVENT_SECONDS - self._backend.clock.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
                continue
            del self._written[key]
            type_ = self._backend.registry.find("", "v1", "events")
            if type_ is not None and self._backend.store.shelf(EVENTS).get(key) is not None:
                self._backend.remove(type_, key)
        self._first.clear()
