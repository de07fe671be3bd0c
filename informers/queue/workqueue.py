"""The work queue: keys in, one at a time out.

A key is in one of four places, or nowhere::

            add                     get                done
    (none) ─────▶ READY ──────────────▶ in work ──────────────▶ (none)
      │             ▲                     │ add, add_after, retry
      │ add_after   │ due, or add         ▼
      └─────────▶ WAITING ◀──── done ── HELD ──── done ──▶ READY

A key in work is never handed out again before ``done``; what arrives meanwhile is *held* and coalesces.

Order among ready keys: a key's rank is the moment it became ready plus the patience of its priority.
An urgent key thus overtakes, but a patient one is never overtaken by what comes later than its patience:
ageing without touching what is queued. Keys of one priority become ready in the order of their ranks, so
that a line per priority is enough; only keys that became more urgent in between need a heap.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from heapq import heapify, heappop, heappush
from typing import NamedTuple, Protocol

import msgspec

from informers.clock import Clock, SystemClock
from informers.errors import RuntimeFault
from informers.objects import ObjectKey, new_tuple
from informers.queue.backoff import Backoff


class QueueClosed(RuntimeFault):
    """The queue was shut down; there is no more work."""


class Priority(IntEnum):
    """Why a key is in the queue, most urgent first."""

    DELETION = 0
    """The object is going away."""
    CHANGE = 1
    """The object's wish changed. Ends a back-off: the error may be gone with the old wish."""
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

_LEFTOVERS = 64
"""Dead heap entries that are not worth sweeping."""


class Work(NamedTuple):
    """A key handed out, with why."""

    key: ObjectKey
    priority: Priority
    causes: tuple[str, ...]
    """At most :data:`MAX_CAUSES`, in order of arrival, then "more" if there were more."""
    failures: int
    """Failures in a row before this try."""
    taken_at: float
    """When it was handed out, on the queue's clock."""


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


class QueueObserver(Protocol):
    """Told what happens, for metrics."""

    def taken(self, waited: float) -> None:
        """A key was handed out, ``waited`` seconds after it became ready."""

    def finished(self, worked: float) -> None:
        """A key was done, ``worked`` seconds after it was handed out."""

    def retried(self) -> None:
        """A failed key was scheduled again."""


class _Silent:
    def taken(self, waited: float) -> None: ...

    def finished(self, worked: float) -> None: ...

    def retried(self) -> None: ...


class _Place(Enum):
    READY = 1
    WAITING = 2
    HELD = 3
    GONE = 4
    """Handed out; entries that still refer to it are leftovers."""


# Members of an enum class are found by code and hashed by code, far too slowly for what happens with every
# change of every object.
_READY, _WAITING, _HELD, _GONE = _Place.READY, _Place.WAITING, _Place.HELD, _Place.GONE
_CHANGE = Priority.CHANGE
_PATIENCE = tuple(PATIENCE[priority] for priority in Priority)


class _Item(msgspec.Struct, gc=False, eq=False):
    """One wish. A struct, because one is made for every change of every object."""

    key: ObjectKey
    priority: Priority
    place: _Place
    since: float
    """When it became ready, or will."""
    rank: float
    """Only of use while it is ready."""
    causes: tuple[str, ...]
    backing_off: bool = False


_Entry = tuple[float, int, _Item]
"""Of a heap: rank or due time; a number that no other entry has; item."""


class WorkQueue:
    """Deduplicating queue of object keys with priorities, delays and back-off. For one event loop.

    :param clock: for delays and ages; the running loop's own time by default.
    :param rng: for the jitter of back-off.
    :param backoff: delays by error; see :data:`informers.queue.backoff.DEFAULT_STEPS`.
    """

    def __init__(
        self, *, clock: Clock | None = None, rng: random.Random | None = None, backoff: Backoff | None = None
    ) -> None:
        self._clock = clock or SystemClock()
        # Jitter needs no secrecy.
        self._backoff = backoff or Backoff(rng or random.Random())  # noqa: S311
        self.observer = _Silent()
        self.added = 0
        """Keys that became ready, since the beginning."""
        self._items: dict[ObjectKey, _Item] = {}
        self._ready = tuple(deque[_Item]() for _ in Priority)
        """By priority, each in the order of ranks."""
        self._raised: list[_Entry] = []
        """Heap of keys whose priority rose while they were ready."""
        self._delayed: list[_Entry] = []
        self._processing: dict[ObjectKey, float] = {}
        self._failures: dict[ObjectKey, int] = {}
        self._entries = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._closed = False

    @property
    def observer(self) -> QueueObserver:
        """Told what happens; nobody by default."""
        return self._observer

    @observer.setter
    def observer(self, observer: QueueObserver) -> None:
        self._observer = observer
        # Called for every key; the look-up would cost as much as the call.
        self._tell_taken, self._tell_finished = observer.taken, observer.finished

    # -- adding -------------------------------------------------------------------------------------

    def add(self, key: ObjectKey, *, priority: Priority = Priority.EVENT, cause: str = "") -> None:
        """Ask for the key to be worked on as soon as possible.

        Coalesces with what is already asked for, keeping the more urgent priority. A key in back-off
        keeps its deadline unless the priority is ``CHANGE`` or ``DELETION``, which also forget its failures.
        After shutdown nothing happens.
        """
        if self._closed:
            return
        cuts = priority <= _CHANGE
        if cuts and self._failures:
            self._failures.pop(key, None)
        item = self._items.get(key)
        if item is None:
            now = self._clock.monotonic()
            if key in self._processing:
                self._enter(key, priority, cause, now, now)
                return
            # Spelt out: the way of nearly every change of every object.
            causes = (cause,) if cause else ()
            item = self._items[key] = _Item(key, priority, _READY, now, now + _PATIENCE[priority], causes)
            self._ready[priority].append(item)
            self.added += 1
            if self._waiters:
                self._wake()
            return
        _note(item, cause)
        more_urgent = priority < item.priority
        if more_urgent:
            item.priority = priority
        if item.place is _READY:
            if more_urgent:
                item.rank = item.since + _PATIENCE[priority]
                heappush(self._raised, self._entry(item.rank, item))
        elif cuts or not item.backing_off:
            item.backing_off = False
            now = self._clock.monotonic()
            item.since = min(item.since, now)
            if item.place is _WAITING:
                self._make_ready(item, now)

    def add_after(
        self, key: ObjectKey, seconds: float, *, priority: Priority = Priority.RESYNC, cause: str = ""
    ) -> None:
        """Ask for the key after a delay, unless it comes up earlier. The earliest wish counts.

        Not positive means now, like :meth:`add`. A key in back-off keeps its deadline.
        """
        if seconds <= 0:
            self.add(key, priority=priority, cause=cause)
            return
        if self._closed:
            return
        now = self._clock.monotonic()
        due = now + seconds
        item = self._items.get(key)
        if item is None:
            self._enter(key, priority, cause, due, now)
            return
        _note(item, cause)
        item.priority = min(item.priority, priority)
        if item.place is not _READY and not item.backing_off and due < item.since:
            item.since = due
            if item.place is _WAITING:
                self._push_delayed(item)

    def retry(self, key: ObjectKey, error: BaseException, *, cause: str = "") -> float | None:
        """The key failed: ask for it again after the back-off of this error.

        :returns: seconds of delay; ``None`` when the error is terminal, or when a newer wish (``CHANGE``,
            ``DELETION``) is already asked for and goes first.
        """
        if self._closed:
            return None
        item = self._items.get(key)
        if item is not None and item.priority <= Priority.CHANGE and item.since <= self._clock.monotonic():
            return None
        failures = self._failures.get(key, 0) + 1
        delay = self._backoff.delay(error, failures)
        if delay is None:
            self._failures.pop(key, None)
            return None
        self._failures[key] = failures
        self.observer.retried()
        now = self._clock.monotonic()
        due = now + delay
        if item is None:
            item = self._enter(key, Priority.RETRY, cause or "retry", due, now)
        elif item.place is not _READY:
            _note(item, cause or "retry")
            item.since = due
            if item.place is _WAITING:
                self._push_delayed(item)
        item.backing_off = item.place is not _READY
        return delay

    def forget(self, key: ObjectKey) -> None:
        """The key succeeded: its next failure is its first."""
        self._failures.pop(key, None)

    # -- taking -------------------------------------------------------------------------------------

    def get_nowait(self) -> Work | None:
        """The next key, or ``None`` when none is ready. Every key taken must be given to :meth:`done`."""
        now = self._clock.monotonic()
        if self._delayed:
            self._promote(now)
        while True:
            first: deque[_Item] | None = None
            for line in self._ready:
                if line and (first is None or line[0].rank < first[0].rank):
                    first = line
            if self._raised and (first is None or self._raised[0][0] < first[0].rank):
                item = heappop(self._raised)[2]
            elif first is not None:
                item = first.popleft()
            else:
                return None
            if item.place is _READY:
                return self._hand_out(item, now)

    def _hand_out(self, item: _Item, now: float) -> Work:
        item.place = _GONE
        key = item.key
        del self._items[key]
        self._processing[key] = now
        self._tell_taken(now - item.since)
        failures = self._failures.get(key, 0) if self._failures else 0
        return new_tuple(Work, (key, item.priority, item.causes, failures, now))

    async def get(self) -> Work:
        """The next key, waiting for one. Every key taken must be given to :meth:`done`.

        :raises QueueClosed: after :meth:`shut_down`, also when keys are still queued.
        """
        while not self._closed:
            work = self.get_nowait()
            if work is not None:
                return work
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    # Woken and cancelled at once: the key is for somebody else.
                    self._wake()
                raise
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        raise QueueClosed("the queue is shut down")

    def done(self, key: ObjectKey) -> float:
        """The work on a key has ended, well or not. What was asked meanwhile comes up now, or when due.

        :returns: when that was, on the queue's clock.
        :raises KeyError: when the key is not in work.
        """
        now = self._clock.monotonic()
        self._tell_finished(now - self._processing.pop(key))
        item = self._items.get(key)
        if item is None:
            return now
        if self._closed:
            del self._items[key]
        elif item.since <= now:
            self._make_ready(item, now)
        else:
            item.place = _WAITING
            self._push_delayed(item)
        return now

    def shut_down(self) -> None:
        """Refuse everything from now on; waiting getters end. Keys in work can still be ``done``."""
        self._closed = True
        self._items.clear()
        for line in self._ready:
            line.clear()
        self._raised.clear()
        self._delayed.clear()
        self._failures.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def statistics(self) -> Statistics:
        """Counts and ages as of now."""
        now = self._clock.monotonic()
        ready = dict.fromkeys(Priority, 0)
        waiting = 0
        for item in self._items.values():
            if item.place is _READY:
                ready[item.priority] += 1
            else:
                waiting += 1
        running = [now - began for began in self._processing.values()]
        return Statistics(
            ready=ready,
            waiting=waiting,
            processing=len(running),
            failing=len(self._failures),
            longest_running=max(running, default=0.0),
            unfinished=sum(running),
        )

    def entries(self) -> list[Entry]:
        """Every key the queue knows of, keys in work first, then by how long they have waited."""
        now = self._clock.monotonic()
        entries = [
            Entry(key, "processing", None, now - began, (), self._failures.get(key, 0))
            for key, began in self._processing.items()
        ]
        queued = [
            Entry(
                item.key,
                item.place.name.lower(),
                item.priority,
                now - item.since,
                tuple(item.causes),
                self._failures.get(item.key, 0),
            )
            for item in self._items.values()
        ]
        return entries + sorted(queued, key=lambda entry: entry.seconds, reverse=True)

    # -- inside -------------------------------------------------------------------------------------

    def _enter(self, key: ObjectKey, priority: Priority, cause: str, due: float, now: float) -> _Item:
        item = _Item(key, priority, _HELD, due, 0.0, (cause,) if cause else ())
        self._items[key] = item
        if key in self._processing:
            return item
        if due <= now:
            self._make_ready(item, now)
        else:
            item.place = _WAITING
            self._push_delayed(item)
        return item

    def _make_ready(self, item: _Item, now: float) -> None:
        item.place = _READY
        item.backing_off = False
        item.since = now
        item.rank = now + _PATIENCE[item.priority]
        self._ready[item.priority].append(item)
        self.added += 1
        if self._waiters:
            self._wake()

    def _entry(self, when: float, item: _Item) -> _Entry:
        self._entries += 1
        return when, self._entries, item

    def _push_delayed(self, item: _Item) -> None:
        if len(self._delayed) > 2 * len(self._items) + _LEFTOVERS:
            # A key that is often delayed and often comes up earlier leaves entries behind.
            live = [entry for entry in self._delayed if _counts(entry)]
            heapify(live)
            self._delayed = live
        heappush(self._delayed, self._entry(item.since, item))
        self._set_timer()

    def _promote(self, now: float) -> None:
        """Move what is due to the ready keys."""
        while self._delayed:
            entry = self._delayed[0]
            if not _counts(entry):
                heappop(self._delayed)
            elif entry[0] <= now:
                heappop(self._delayed)
                self._make_ready(entry[2], now)
            else:
                break

    def _set_timer(self) -> None:
        due = self._delayed[0][0]
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        wait = max(0.0, due - self._clock.monotonic())
        self._timer = asyncio.get_running_loop().call_later(wait, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._promote(self._clock.monotonic())
        if self._delayed:
            self._set_timer()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


def _counts(entry: _Entry) -> bool:
    """Whether the entry of a delayed item is its last one."""
    due, _, item = entry
    return item.place is _WAITING and item.since == due


def _note(item: _Item, cause: str) -> None:
    if not cause or cause in item.causes:
        return
    if len(item.causes) < MAX_CAUSES:
        item.causes = (*item.causes, cause)
    elif len(item.causes) == MAX_CAUSES:
        item.causes = (*item.causes, "more")
