"""Workers, and the watchdog that cancels late reconciles and replaces workers that ignore it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from informers.clock import Clock
from informers.queue import Work

log = logging.getLogger(__name__)

REPLACE_AFTER = 5.0
"""Seconds a cancelled reconcile may take to end before another worker takes its worker's place."""

_SHORTEST_WAIT = 0.001
"""Seconds between two looks at deadlines; sums of floats need not meet exactly."""


@dataclass(slots=True, eq=False)
class Slot:
    """A worker: what it is at, and since when."""

    task: asyncio.Task[None] | None = None
    work: Work | None = None
    overdue: bool = False
    """Its reconcile was cancelled."""
    replaced: bool = False
    """Another worker has taken its place; it ends with its reconcile."""


class Watchdog:
    """Holds the workers of one controller to its deadline.

    :param slots: the workers, as they come and go.
    :param deadline: seconds a reconcile may take.
    :param late: called with every reconcile that is cancelled.
    :param replace: starts another worker.
    """

    def __init__(
        self,
        controller: str,
        slots: Sequence[Slot],
        deadline: float,
        clock: Clock,
        *,
        late: Callable[[], None],
        replace: Callable[[], None],
    ) -> None:
        self._controller = controller
        self._slots = slots
        self._deadline = deadline
        self._clock = clock
        self._late = late
        self._replace = replace

    async def run(self) -> None:
        """Watch until cancelled. One for all workers: a timer for each reconcile would cost as much as many
        a reconcile does."""
        while True:
            now = self._clock.monotonic()
            next_look = now + self._deadline
            for slot in list(self._slots):
                next_look = min(next_look, self._look_at(slot, now) or next_look)
            await asyncio.sleep(max(_SHORTEST_WAIT, next_look - now))

    def _look_at(self, slot: Slot, now: float) -> float | None:
        """Act on a worker that is late; when to look at it again, if before another full deadline."""
        if slot.work is None or slot.replaced:
            return None
        due = slot.work.taken_at + self._deadline
        if now < due:
            return due
        if not slot.overdue:
            slot.overdue = True
            # Here: what becomes of a cancellation is up to the reconcile.
            self._late()
            if slot.task is not None:
                slot.task.cancel()
            return due + REPLACE_AFTER
        if now < due + REPLACE_AFTER:
            return due + REPLACE_AFTER
        slot.replaced = True
        log.error(
            "reconcile ignores its cancellation; another worker takes over the other keys",
            extra={
                "controller": self._controller,
                "key": slot.work.key,
                "seconds": round(now - slot.work.taken_at, 1),
            },
        )
        self._replace()
        return None
