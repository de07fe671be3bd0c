"""The objects of one resource, in the order of lists, and its recent changes."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Protocol

from informers.apiserver.store.objects import Change, Stored
from informers.objects import ObjectKey

_SNAPSHOTS = 32


class Watcher(Protocol):
    """Someone who follows one shelf."""

    def changed(self, change: Change) -> None:
        """A change has become visible."""
        ...

    def ended(self) -> None:
        """The resource is not served any more."""
        ...


def _path(key: ObjectKey) -> str:
    # The order of lists is that of such paths, which differs from that of (namespace, name) pairs.
    return f"{key.namespace}/{key.name}"


class Shelf:
    """All objects of one resource and the events of its recent past.

    :param revision: the store's revision when the shelf was made; older versions are too old.
    :param history: events to remember.
    """

    def __init__(self, revision: int, history: int) -> None:
        self.watchers: list[Watcher] = []
        self.revision = revision
        """The last revision that changed something here."""
        self._objects: dict[str, Stored] = {}
        self._order: list[str] = []
        self._events: deque[Change] = deque()
        self._history = history
        self._oldest = revision
        self._snapshots: OrderedDict[int, Sequence[Stored]] = OrderedDict()
        self._current: Sequence[Stored] | None = None

    def __len__(self) -> int:
        return len(self._objects)

    @property
    def oldest(self) -> int:
        """Everything that happened after this revision is remembered."""
        return self._oldest

    def get(self, key: ObjectKey) -> Stored | None:
        """The object at a key."""
        return self._objects.get(_path(key))

    def items(self) -> Sequence[Stored]:
        """Every object, in the order of lists; a snapshot that stays as it is."""
        if self._current is None:
            objects = self._objects
            self._current = tuple(objects[path] for path in self._order)
        return self._current

    def in_namespace(self, namespace: str) -> Sequence[Stored]:
        """The objects of one namespace, in order."""
        start = bisect_left(self._order, namespace + "/")
        # "0" follows "/" in ASCII.
        end = bisect_left(self._order, namespace + "0", start)
        if self._current is not None:
            return self._current[start:end]
        return [self._objects[path] for path in self._order[start:end]]

    def commit(self, change: Change) -> None:
        """Make a change visible and tell the watchers."""
        path = _path(change.key)
        if change.kind == "DELETED":
            del self._objects[path]
            del self._order[bisect_left(self._order, path)]
        else:
            if path not in self._objects:
                insort(self._order, path)
            self._objects[path] = change.current
        self.revision = change.revision
        self._current = None
        self._events.append(change)
        if len(self._events) > self._history:
            self._oldest = self._events.popleft().revision
            self._drop_snapshots()
        for watcher in tuple(self.watchers):
            watcher.changed(change)

    def since(self, revision: int) -> list[Change] | None:
        """What happened after a revision, oldest first; ``None`` when that is not known any more."""
        if revision < self._oldest:
            return None
        found: list[Change] = []
        for change in reversed(self._events):
            if change.revision <= revision:
                break
            found.append(change)
        found.reverse()
        return found

    def snapshot(self, revision: int) -> Sequence[Stored] | None:
        """The list as it was at a revision; ``None`` when that is not known any more."""
        if revision < self._oldest:
            return None
        if revision >= self.revision:
            return self.items()
        if revision in self._snapshots:
            self._snapshots.move_to_end(revision)
            return self._snapshots[revision]
        undo = self.since(revision)
        if undo is None:
            return None
        past = dict(self._objects)
        for change in reversed(undo):
            if change.previous is None:
                del past[_path(change.key)]
            else:
                past[_path(change.key)] = change.previous
        self._remember(revision, tuple(past[path] for path in sorted(past)))
        return self._snapshots[revision]

    def keep_snapshot(self, revision: int) -> None:
        """Keep the list of this moment for the pages to come."""
        if revision not in self._snapshots:
            self._remember(revision, self.items())

    def compact(self, revision: int) -> None:
        """Forget what happened up to a revision."""
        self._oldest = max(self._oldest, revision)
        while self._events and self._events[0].revision <= self._oldest:
            self._events.popleft()
        self._drop_snapshots()

    def put_back(self, stored: Stored) -> None:
        """Place an object as it was, without an event."""
        path = _path(stored.key)
        if path not in self._objects:
            insort(self._order, path)
        self._objects[path] = stored
        self._current = None

    def _remember(self, revision: int, items: Sequence[Stored]) -> None:
        self._snapshots[revision] = items
        if len(self._snapshots) > _SNAPSHOTS:
            self._snapshots.popitem(last=False)

    def _drop_snapshots(self) -> None:
        for revision in [one for one in self._snapshots if one < self._oldest]:
            del self._snapshots[revision]
