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
from enum import Enum
from heapq import heapify, heappop, heappush

from informers.clock import Clock, SystemClock
from informers.objects import ObjectKey
from informers.queue.backoff import Backoff
from informers.queue.work import (
    MAX_CAUSES,
    PATIENCE,
    Entry,
    Priority,
    QueueClosed,
    Statistics,
    Work,
)

_LEFTOVERS = 64
"""Dead heap entries that are not worth sweeping."""


class _Place(Enum):
    READY = 1
    WAITING = 2
    WORKING = 3
    HELD = 4


# Members of an enum class are found by code and hashed by code, far too slowly for what happens with every
# change of every object.
_READY, _WAITING, _WORKING, _HELD = _Place.READY, _Place.WAITING, _Place.WORKING, _Place.HELD
_CHANGE = Priority.CHANGE
_PATIENCE = tuple(PATIENCE[priority] for priority in Priority)


class _Item(Work):
    """One key and its state. Handed out itself: one is made for every change of every object."""

    place: _Place = _READY
    backing_off: bool = False
    held: _Item | None = None
    """What is asked for while it is in work."""


class _Causes(dict[str, tuple[str, ...]]):
    """One tuple per cause that comes alone."""

    def __missing__(self, cause: str) -> tuple[str, ...]:
        if len(self) >= _MOST_CAUSES:
            self.clear()
        causes = self[cause] = (cause,) if cause else ()
        return causes


_MOST_CAUSES = 256

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
        self.added = 0
        """Keys that became ready, since the beginning."""
        self.retried = 0
        """Failed keys scheduled again, since the beginning."""
        self._items: dict[ObjectKey, _Item] = {}
        self._ready = tuple(deque[_Item]() for _ in Priority)
        """By priority, each in the order of ranks."""
        self._open: list[deque[_Item]] = []
        """Those that are not empty."""
        self._raised: list[_Entry] = []
        """Heap of keys whose priority rose while they were ready."""
        self._delayed: list[_Entry] = []
        self._pushed = self._handed_out = 0
        self._alone = _Causes()
        self._failures: dict[ObjectKey, int] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._crowded: list[tuple[int, Priority, asyncio.Future[None]]] = []
        """Who waits for room, the easiest to please last."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._closed = False

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
            # Spelt out: the way of nearly every change of every object.
            read = self._clock.monotonic
            now = read()
            self.added += 1
            item = _Item(key, priority, self._alone[cause], 0, 0.0, 0, now, _READY)
            self._items[key] = item
            line = self._ready[priority]
            if not line:
                self._open.append(line)
            line.append(item)
            if self._waiters:
                self._wake()
            return
        if item.place is _WORKING:
            if item.held is None:
                self._enter(key, priority, cause, self._clock.monotonic())
                return
            item = item.held
        _note(item, cause)
        more_urgent = priority < item.priority
        if more_urgent:
            item.priority = priority
        if item.place is _READY:
            if more_urgent:
                self._pushed += 1
                heappush(self._raised, (_rank(item), self._pushed, item))
        elif cuts or not item.backing_off:
            item.backing_off = False
            now = self._clock.monotonic()
            item.since = min(item.since, now)
            if item.place is _WAITING:
                self._make_ready(item, now)

    def add_after(
        self, key: ObjectKey, seconds: float, *, priority: Priority = Priority.RESYNC, cause: str = ""
    ) -> None:
        """Ask for the key after a delay, unless it comes up earlier. The earliest time counts.

        Not positive means now, like :meth:`add`. A key in back-off keeps its deadline.
        """
        if seconds <= 0:
            self.add(key, priority=priority, cause=cause)
            return
        if self._closed:
            return
        due = self._clock.monotonic() + seconds
        item = self._wish(key)
        if item is None:
            self._enter(key, priority, cause, due)
            return
        _note(item, cause)
        item.priority = min(item.priority, priority)
        if item.place is not _READY and not item.backing_off and due < item.since:
            item.since = due
            if item.place is _WAITING:
                self._push_delayed(item)

    def retry(self, key: ObjectKey, error: BaseException, *, cause: str = "") -> float | None:
        """The key failed: ask for it again after the back-off of this error.

        :returns: seconds of delay; ``None`` when the error is terminal, or when a newer change (``CHANGE``,
            ``DELETION``) is already asked for and goes first.
        """
        if self._closed:
            return None
        item = self._wish(key)
        if item is not None and item.priority <= Priority.CHANGE and item.since <= self._clock.monotonic():
            return None
        failures = self._failures.get(key, 0) + 1
        delay = self._backoff.delay(error, failures)
        if delay is None:
            self._failures.pop(key, None)
            return None
        self._failures[key] = failures
        self.retried += 1
        due = self._clock.monotonic() + delay
        if item is None:
            item = self._enter(key, Priority.RETRY, cause or "retry", due)
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
        # Called as a method an attribute would be looked for in the class every time.
        read = self._clock.monotonic
        now = read()
        if self._delayed:
            self._promote(now)
        while True:
            first: deque[_Item] | None = None
            for line in self._open:
                if first is None or _rank(line[0]) < _rank(first[0]):
                    first = line
            if self._raised and (first is None or self._raised[0][0] <= _rank(first[0])):
                item = heappop(self._raised)[2]
            elif first is not None:
                item = first.popleft()
                if not first:
                    self._open = [line for line in self._open if line]
                if self._crowded and len(first) <= self._crowded[-1][0]:
                    self._make_room()
            else:
                return None
            if item.place is _READY:
                break
        item.place = _WORKING
        item.taken_at = now
        self._handed_out = item.number = self._handed_out + 1
        if self._failures:
            item.failures = self._failures.get(item.key, 0)
        return item

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
                    # Woken and cancelled at once: the key is for someone else.
                    self._wake()
                raise
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        raise QueueClosed("the queue is shut down")

    async def room(self, priority: Priority, most: int) -> None:
        """Wait until no more than ``most`` keys of a priority are ready, or the queue is shut down."""
        while len(self._ready[priority]) > most and not self._closed:
            waiter = (most, priority, asyncio.get_running_loop().create_future())
            self._crowded.append(waiter)
            self._crowded.sort(key=lambda one: one[0])
            try:
                await waiter[2]
            finally:
                self._crowded.remove(waiter)

    def done(self, key: ObjectKey) -> float:
        """The work on a key has ended, well or not. What was asked meanwhile comes up now, or when due.

        :returns: when that was, on the queue's clock.
        :raises KeyError: when the key is not in work.
        """
        item = self._items.pop(key)
        if item.place is not _WORKING:
            self._items[key] = item
            raise KeyError(key)
        read = self._clock.monotonic
        now = read()
        held = item.held
        if held is None or self._closed:
            return now
        self._items[key] = held
        if held.since <= now:
            self._make_ready(held, now)
        else:
            held.place = _WAITING
            self._push_delayed(held)
        return now

    def shut_down(self) -> None:
        """Refuse everything from now on; waiting getters end. Keys in work can still be ``done``."""
        self._closed = True
        self._items = {key: item for key, item in self._items.items() if item.place is _WORKING}
        for line in self._ready:
            line.clear()
        self._open.clear()
        self._raised.clear()
        self._delayed.clear()
        self._failures.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for waiter in (*self._waiters, *(one[2] for one in self._crowded)):
            if not waiter.done():
                waiter.set_result(None)

    def statistics(self) -> Statistics:
        """Counts and ages as of now."""
        now = self._clock.monotonic()
        ready = dict.fromkeys(Priority, 0)
        waiting = 0
        running = []
        for item in self._items.values():
            if item.place is _READY:
                ready[item.priority] += 1
            elif item.place is _WAITING:
                waiting += 1
            else:
                running.append(now - item.taken_at)
                waiting += item.held is not None
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
        working = [item for item in self._items.values() if item.place is _WORKING]
        queued = [item for item in self._items.values() if item.place is not _WORKING]
        queued += [item.held for item in working if item.held is not None]
        failures = self._failures
        entries = [
            Entry(one.key, "processing", None, now - one.taken_at, (), failures.get(one.key, 0))
            for one in working
        ]
        others = [
            Entry(
                one.key,
                one.place.name.lower(),
                one.priority,
                now - one.since,
                one.causes,
                failures.get(one.key, 0),
            )
            for one in queued
        ]
        return entries + sorted(others, key=lambda entry: entry.seconds, reverse=True)

    # -- inside -------------------------------------------------------------------------------------

    def _wish(self, key: ObjectKey) -> _Item | None:
        """What is asked for, and not in work yet."""
        item = self._items.get(key)
        return item.held if item is not None and item.place is _WORKING else item

    def _enter(self, key: ObjectKey, priority: Priority, cause: str, due: float) -> _Item:
        """The first addition of a key, or the first one while it is being reconciled."""
        item = _Item(key, priority, self._alone[cause], 0, 0.0, 0, due, _HELD)
        working = self._items.get(key)
        if working is not None:
            working.held = item
            return item
        self._items[key] = item
        item.place = _WAITING
        self._push_delayed(item)
        return item

    def _make_ready(self, item: _Item, now: float) -> None:
        item.place = _READY
        item.backing_off = False
        item.since = now
        self.added += 1
        line = self._ready[item.priority]
        if not line:
            self._open.append(line)
        line.append(item)
        if self._waiters:
            self._wake()

    def _push_delayed(self, item: _Item) -> None:
        if len(self._delayed) > 2 * len(self._items) + _LEFTOVERS:
            # A key that is often delayed and often comes up earlier leaves entries behind.
            live = [entry for entry in self._delayed if _counts(entry)]
            heapify(live)
            self._delayed = live
        self._pushed += 1
        heappush(self._delayed, (item.since, self._pushed, item))
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

    def _make_room(self) -> None:
        for most, priority, waiter in self._crowded:
            if len(self._ready[priority]) <= most and not waiter.done():
                waiter.set_result(None)

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


def _rank(item: _Item) -> float:
    return item.since + _PATIENCE[item.priority]


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
