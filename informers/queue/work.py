"""What goes into a work queue, and what comes out of it and about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import msgspec

from informers.errors import RuntimeFault
from informers.objects import ObjectKey


class QueueClosed(RuntimeFault):
    """The queue was shut down; there is no more work."""


class Priority(IntEnum):
    """Why a key is in the queue, most urgent first."""

    DELETION = 0
    """The object is going away."""
    CHANGE = 1
    """The spec of the object changed. Ends a back-off, because the new spec may be without the error."""
    EVENT = 2
    """Something the object depends on, or owns, changed. Does not cut a back-off short."""
    RETRY = 3
    RESYNC = 4
    """A look because time has passed."""
    INITIAL = 5
    """Existed before this process started."""


PATIENCE: Mapping[Priority, float] = {
    Priority.DELETION: 0.0,
    Priority.CHANGE: 5.0,
    Priority.EVENT: 10.0,
    Priority.RETRY: 15.0,
    Priority.RESYNC: 30.0,
    Priority.INITIAL: 60.0,
}
"""Seconds by which later keys of the most urgent kind may overtake."""

MAX_CAUSES = 8
"""Causes remembered per key; further ones are counted as "more"."""


class Work(msgspec.Struct, gc=False, eq=False):
    """A key handed out, with why. Read-only."""

    key: ObjectKey
    priority: Priority
    causes: tuple[str, ...]
    """At most :data:`MAX_CAUSES`, in order of arrival, then "more" if there were more."""
    failures: int = 0
    """Failures in a row before this try."""
    taken_at: float = 0.0
    """When it was handed out, on the queue's clock."""
    number: int = 0
    """That of no other work of this queue."""
    since: float = 0.0
    """When it became ready, on the queue's clock."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """A look at the queue. Durations in seconds."""

    ready: Mapping[Priority, int]
    waiting: int
    processing: int
    failing: int
    longest_running: float
    unfinished: float
    """Sum over all keys in work of how long they have been so."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the queue knows of one key."""

    key: ObjectKey
    place: str
    """``ready``, ``waiting`` or ``processing``; a key that is wanted again while in work is ``held``."""
    priority: Priority | None
    """``None`` in work."""
    seconds: float
    """How long it has been there; negative for a key that becomes ready after so many seconds."""
    causes: tuple[str, ...]
    """Why it is wanted; of a key in work, its reconcile knows."""
    failures: int
