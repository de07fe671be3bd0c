"""Watch streams: the changes since a revision, then those that follow."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from informers.apiserver.errors import StatusError
from informers.apiserver.errors.refusals import from_the_future, too_old
from informers.apiserver.reading.selection import Selection
from informers.apiserver.requests.parameters import ListOptions
from informers.apiserver.store import Change, Shelf, StorageKey, Store, Stored
from informers.objects import Object

MAX_PENDING = 5_000
"""Events a watcher may be behind before it is cut."""

BOOKMARK_SECONDS = 60.0
"""About how often an idle watch that wants bookmarks gets one."""

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""The annotation of the bookmark that ends the initial events."""

_LAST_BOOKMARK_SECONDS = 2.0
_SHORTEST_DEFAULT = 1_800.0
"""Seconds; a watch that names no timeout lasts between once and twice as long."""

EventKind: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]


class WatchEvent(NamedTuple):
    """One event: ``stored`` is set for objects, ``obj`` for bookmarks and errors."""

    kind: EventKind
    stored: Stored | None
    obj: Object | None


class Flow:
    """How events travel to watchers: at once, late, or not for a while. For tests.

    ``delay`` is in seconds and counts for changes made while it is set. ``jitter`` adds up to so many seconds
    to each event, at random; events of one watch keep their order, as the protocol promises, those of
    different watches do not.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self.jitter = 0.0
        self._held: set[StorageKey] = set()
        self._watches: set[Watch] = set()

    def hold(self, storage: StorageKey) -> None:
        """Deliver nothing on watches of a resource until it is released, not even bookmarks: silence."""
        self._held.add(storage)

    def release(self, storage: StorageKey) -> None:
        """Deliver what was held back."""
        self._held.discard(storage)
        for watch in tuple(self._watches):
            watch.wake()

    def held(self, storage: StorageKey) -> bool:
        """Whether events of a resource are held back."""
        return storage in self._held

    def opened(self, watch: Watch) -> None:
        """A watch began."""
        self._watches.add(watch)

    def closed(self, watch: Watch) -> None:
        """A watch ended."""
        self._watches.discard(watch)

    def cut(self, storage: StorageKey | None = None) -> None:
        """End all watches, or those of one resource, as a restarting server does."""
        for watch in tuple(self._watches):
            if storage is None or watch.storage == storage:
                watch.ended()


class Watch:
    """One watch stream: an async iterator of :class:`WatchEvent`.

    It ends at its timeout, when its reader is too slow, when its resource goes away, or after an error.

    :param initial: events to deliver first.
    :param after: changes up to this revision are not delivered.
    :param timeout: seconds.
    """

    def __init__(
        self,
        shelf: Shelf,
        selection: Selection,
        flow: Flow,
        initial: Sequence[WatchEvent],
        *,
        store: Store,
        after: int,
        timeout: float,
        bookmarks: bool,
        rng: random.Random,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._shelf = shelf
        self._selection = selection
        self._flow = flow
        self._store = store
        self._after = after
        now = self._loop.time()
        self._deadline = now + timeout
        self._bookmarks = bookmarks
        self._rng = rng
        self._next_bookmark = self._bookmark_time(now) if bookmarks else float("inf")
        self._initial = deque(initial)
        self._pending: deque[tuple[float, WatchEvent]] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._open = True
        shelf.watchers.append(self)
        flow.opened(self)

    @property
    def storage(self) -> StorageKey:
        """The resource watched."""
        return self._selection.type.storage

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> WatchEvent:
        """The next event.

        :raises StopAsyncIteration: the stream has ended.
        """
        while self._open:
            now = self._loop.time()
            if self._initial:
                event = self._initial.popleft()
                if event.kind == "ERROR":
                    self.close()
                return event
            if now >= self._deadline:
                break
            held = self._flow.held(self.storage)
            if self._pending and self._pending[0][0] <= now and not held:
                return self._pending.popleft()[1]
            if not self._pending and now >= self._next_bookmark and not held:
                self._next_bookmark = self._bookmark_time(now)
                return bookmark(self._selection, self._store.revision)
            await self._sleep(self._next_time(held=held))
        self.close()
        raise StopAsyncIteration

    def due(self, limit: int = 100) -> list[WatchEvent]:
        """Up to ``limit`` further events that can be delivered at once, without waiting for any."""
        found: list[WatchEvent] = []
        if self._flow.held(self.storage):
            return found
        now = self._loop.time()
        while self._open and len(found) < limit and self._pending and self._pending[0][0] <= now:
            if self._initial or now >= self._deadline:
                break
            found.append(self._pending.popleft()[1])
        return found

    def changed(self, change: Change) -> None:
        """Take a change from the shelf."""
        if change.revision <= self._after:
            return
        event = transition(self._selection, change)
        if event is None:
            return
        if len(self._pending) >= MAX_PENDING:
            self.ended()
            return
        self._pending.append((self._due(), event))
        self.wake()

    def ended(self) -> None:
        """End the stream from the server's side: at once, with nothing more delivered."""
        self._initial.clear()
        self._pending.clear()
        self.close()

    def wake(self) -> None:
        """Look again whether there is something to deliver."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def close(self) -> None:
        """Stop following the shelf. May be called again."""
        if self._open:
            self._open = False
            self._shelf.watchers.remove(self)
            self._flow.closed(self)
            self.wake()

    def _bookmark_time(self, now: float) -> float:
        # One just before the end, so that the next watch starts where this one stops.
        last = self._deadline - _LAST_BOOKMARK_SECONDS
        following = now + BOOKMARK_SECONDS * self._rng.uniform(0.75, 1.0)
        return min(following, last) if last > now else float("inf")

    def _due(self) -> float:
        """When an event of now is delivered: not before those that wait already."""
        flow = self._flow
        if not (flow.delay or flow.jitter):
            return 0.0
        last = self._pending[-1][0] if self._pending else 0.0
        return max(last, self._loop.time() + flow.delay + flow.jitter * self._rng.random())

    def _next_time(self, *, held: bool) -> float:
        if held:
            return self._deadline
        return min(self._deadline, self._pending[0][0] if self._pending else self._next_bookmark)

    async def _sleep(self, until: float) -> None:
        self._waiting = self._loop.create_future()
        handle = self._loop.call_at(until, self.wake)
        try:
            await self._waiting
        finally:
            handle.cancel()
            self._waiting = None


@dataclass(frozen=True, slots=True)
class WatchOutcome:
    """The answer to a watch: a stream; whoever takes it must close it."""

    watch: Watch


def transition(selection: Selection, change: Change) -> WatchEvent | None:
    """What a change looks like through a selection: who enters is added, who leaves is deleted."""
    before = change.previous is not None and selection.matches(change.previous)
    after = change.kind != "DELETED" and selection.matches(change.current)
    if after:
        return WatchEvent("MODIFIED" if before else "ADDED", selection.show(change.current), None)
    if not before:
        return None
    return WatchEvent("DELETED", selection.show(_left(change)), None)


def _left(change: Change) -> Stored:
    """The last state inside the selection, at the revision of leaving it."""
    if change.kind == "DELETED":
        return change.current
    assert change.previous is not None
    metadata = {**change.previous.obj["metadata"], "resourceVersion": str(change.revision)}
    return Stored({**change.previous.obj, "metadata": metadata}, change.revision, change.key)


def bookmark(selection: Selection, revision: int, *, end_of_initial: bool = False) -> WatchEvent:
    """A bookmark: nothing but a revision."""
    metadata: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
    if end_of_initial:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
    resource = selection.type.resource
    obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    return WatchEvent("BOOKMARK", None, obj)


def open_watch(
    store: Store, selection: Selection, options: ListOptions, flow: Flow, rng: random.Random
) -> Watch:
    """Start a watch. A revision that is too old is an event of the stream, not a refusal.

    :raises StatusError: 504 when initial events of a revision are wanted that does not exist yet.
    """
    shelf = store.shelf(selection.type.storage)
    after = options.revision or 0
    wants_state = options.initial if options.initial is not None else not options.revision
    if options.initial and after > store.revision:
        raise from_the_future(after, store.revision)
    if wants_state:
        initial = [
            WatchEvent("ADDED", selection.show(one), None) for one in shelf.items() if selection.matches(one)
        ]
        after = store.revision
        if options.initial and options.bookmarks:
            initial.append(bookmark(selection, after, end_of_initial=True))
    elif not options.revision:
        initial, after = [], store.revision
    else:
        initial = _replay(shelf, selection, after)
    timeout = options.timeout or _SHORTEST_DEFAULT * rng.uniform(1.0, 2.0)
    return Watch(
        shelf,
        selection,
        flow,
        initial,
        store=store,
        after=after,
        timeout=timeout,
        bookmarks=options.bookmarks,
        rng=rng,
    )


def _replay(shelf: Shelf, selection: Selection, after: int) -> list[WatchEvent]:
    past = shelf.since(after)
    if past is None:
        return [_error(too_old(after, shelf.oldest))]
    events = (transition(selection, change) for change in past)
    return [event for event in events if event is not None]


def _error(error: StatusError) -> WatchEvent:
    return WatchEvent("ERROR", None, error.status())
