"""The parts of a running process: tasks whose end is reported."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from informers.errors import RuntimeFault

log = logging.getLogger(__name__)

CLEANUP = 5.0
"""Seconds cancelled work gets to end. Together with the time from the renew deadline to the end of the lease
this keeps a deposed leader from working into the next one's reign."""


class Kind(Enum):
    """How long a part lasts."""

    SERVICE = "service"
    """Ends only when everything does."""
    WATCH = "watch"
    """The same, or when it is no longer wanted."""
    RUNNABLE = "runnable"
    """May end by itself; most run while leading."""


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    kind: Kind


class Parts:
    """Tasks with names, watched together."""

    def __init__(self) -> None:
        self.stopping = False
        """Whether the parts have been asked to end."""
        self._tasks: dict[asyncio.Task[Any], _Part] = {}
        self._grown: asyncio.Future[None] | None = None

    def spawn(self, name: str, work: Coroutine[Any, Any, None], kind: Kind = Kind.SERVICE) -> None:
        """Run a part."""
        self._tasks[asyncio.create_task(work, name=name)] = _Part(name, kind)
        if self._grown is not None and not self._grown.done():
            self._grown.set_result(None)

    async def until(self, work: Coroutine[Any, Any, None] | None) -> None:
        """Wait for ``work``, or forever.

        :raises Exception: as soon as a part fails, or ends that should not.
        """
        own = asyncio.create_task(work) if work is not None else None
        try:
            while True:
                # A part that comes later is waited for as well.
                self._grown = asyncio.get_running_loop().create_future()
                waited: list[asyncio.Future[Any]] = [task for task in self._tasks if not task.done()]
                waited.append(self._grown)
                if own is not None:
                    waited.append(own)
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                self._check()
                if own is not None and own.done():
                    return own.result()
        finally:
            if own is not None:
                await _cancel([own])

    async def cancel(self, kind: Kind) -> None:
        """End the parts of a kind; those that ignore it are left to :meth:`end`."""
        await _cancel([task for task, part in self._tasks.items() if part.kind is kind])

    async def end(self) -> bool:
        """Cancel whatever is left; True when all of it has ended."""
        self.stopping = True
        left = await _cancel(self._tasks)
        for task in left:
            log.error(
                "a part of the process ignores its cancellation", extra={"part": self._tasks[task].name}
            )
        return not left

    def _check(self) -> None:
        for task, part in list(self._tasks.items()):
            if not task.done():
                continue
            del self._tasks[task]
            if task.cancelled():
                if self.stopping:
                    continue
                raise RuntimeFault(f"{part.name} was cancelled")
            error = task.exception()
            if error is not None:
                if not isinstance(error, RuntimeFault):
                    log.error("%s failed", part.name, exc_info=error)
                raise error
            if part.kind is Kind.SERVICE and not self.stopping:
                raise RuntimeFault(f"{part.name} ended unexpectedly")


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Cancel tasks and wait for their end; those that have not ended in time."""
    live = [task for task in tasks if not task.done()]
    for task in live:
        task.cancel()
    if not live:
        return set()
    _, left = await asyncio.wait(live, timeout=CLEANUP)
    return left
