"""Where objects live: one revision counter for all of them, and a bounded memory of what happened.

Objects are immutable: a write stores a new one, so that readers, lists and watchers share them and their
encoded bytes without copying. Nothing here waits, and nothing here knows what an object means.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import msgspec

from informers.objects import Object, ObjectKey, Resource

FIRST_REVISION = 10_000
"""Where the counter of a new store stands: an invented or left-over version is too old from the start."""

HISTORY = 5_000
"""Events remembered per resource, by default."""

_SNAPSHOTS = 32

Kind: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED"]
StorageKey: TypeAlias = tuple[str, str]
"""Group and plural: all versions of a resource share their objects."""


class Stored:
    """One version of one object. ``obj`` must not be changed by anybody.

    :param revision: the store's revision that made this version; the object's ``resourceVersion``.
    """

    __slots__ = ("_encoded", "_untyped", "_views", "key", "obj", "revision")

    def __init__(self, obj: Object, revision: int, key: ObjectKey) -> None:
        self.obj = obj
        self.revision = revision
        self.key = key
        self._encoded: bytes | None = None
        self._untyped: Stored | None = None
        self._views: dict[str, Stored] | None = None

    @property
    def encoded(self) -> bytes:
        """The object as JSON, encoded once and shared."""
        if self._encoded is None:
            self._encoded = msgspec.json.encode(self.obj)
        return self._encoded

    def untyped(self) -> Stored:
        """The same object without kind and version, as it stands in lists of built-in kinds."""
        if self._untyped is None:
            obj = {key: value for key, value in self.obj.items() if key not in ("apiVersion", "kind")}
            self._untyped = Stored(obj, self.revision, self.key)
            # Both stand first in what the store holds, so the rest need not be encoded again.
            start = msgspec.json.encode({"apiVersion": self.obj["apiVersion"], "kind": self.obj["kind"]})
            self._untyped._encoded = b"{" + self.encoded[len(start) :]
        return self._untyped

    def view(self, api_version: str, convert: Callable[[Object], Object]) -> Stored:
        """The same object as another API version shows it, converted once and shared."""
        if self._views is None:
            self._views = {}
        if api_version not in self._views:
            self._views[api_version] = Stored(_typed_first(convert(self.obj)), self.revision, self.key)
        return self._views[api_version]


@dataclass(frozen=True, slots=True)
class Change:
    """One commit.

    :param resource: in its storage version.
    :param current: what the object is now; of a deletion, the last state with the deletion's revision.
    :param previous: what it was before, or ``None`` when it is new.
    """

    resource: Resource
    kind: Kind
    current: Stored
    previous: Stored | None

    @property
    def key(self) -> ObjectKey:
        """Namespace and name."""
        return self.current.key

    @property
    def revision(self) -> int:
        """The revision of this commit."""
        return self.current.revision

    @property
    def stored(self) -> Stored | None:
        """What there is to keep: ``None`` after a deletion."""
        return None if self.kind == "DELETED" else self.current


class Watcher(Protocol):
    """Somebody who follows one shelf."""

    def changed(self, change: Change) -> None:
        """A change has become visible."""
        ...

    def ended(self) -> None:
        """The resource is not served any more."""
        ...


def _typed_first(obj: Object) -> Object:
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], **obj}


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


class Store:
    """All shelves and the one counter.

    :param history: events to remember per resource.
    """

    def __init__(self, *, history: int = HISTORY) -> None:
        self.revision = FIRST_REVISION
        self.floor = FIRST_REVISION
        """The revision this store began to exist at: nothing before it is known of any resource."""
        self.listeners: list[Callable[[Change], None]] = []
        """Called with every change before anybody can see it; what they raise fails the write."""
        self._followers: list[Callable[[Change], None]] = []
        self._history = history
        self._shelves: dict[StorageKey, Shelf] = {}

    def subscribe(self, follower: Callable[[Change], None]) -> Callable[[], None]:
        """Call ``follower`` with every change once it is visible; the result ends that."""
        self._followers.append(follower)
        return lambda: self._followers.remove(follower)

    def shelf(self, storage: StorageKey) -> Shelf:
        """The objects of one resource; made when first asked for."""
        found = self._shelves.get(storage)
        if found is None:
            found = self._shelves[storage] = Shelf(self.floor, self._history)
        return found

    def shelves(self) -> Iterator[tuple[StorageKey, Shelf]]:
        """Every resource that was ever asked for."""
        yield from tuple(self._shelves.items())

    def put(self, resource: Resource, storage: StorageKey, obj: Object) -> Stored:
        """Store a new version of an object, giving it the next ``resourceVersion``."""
        shelf = self.shelf(storage)
        key = ObjectKey.of(obj)
        previous = shelf.get(key)
        current = self._next(obj, key)
        self._commit(shelf, Change(resource, "MODIFIED" if previous else "ADDED", current, previous))
        return current

    def remove(self, resource: Resource, storage: StorageKey, key: ObjectKey) -> Stored:
        """Delete an object. Returns its last state with the deletion's revision.

        :raises KeyError: there is none.
        """
        shelf = self.shelf(storage)
        previous = shelf.get(key)
        if previous is None:
            raise KeyError(key)
        gone = self._next(previous.obj, key)
        self._commit(shelf, Change(resource, "DELETED", gone, previous))
        return gone

    def put_back(self, storage: StorageKey, obj: Object) -> None:
        """Place an object as it was stored once, with its ``resourceVersion`` and without an event."""
        revision = int(obj["metadata"]["resourceVersion"])
        self.shelf(storage).put_back(Stored(_typed_first(obj), revision, ObjectKey.of(obj)))

    def compact(self) -> None:
        """Forget the past of every resource: watches and pages that need it get 410."""
        for _, shelf in self.shelves():
            shelf.compact(self.revision)

    def _next(self, obj: Object, key: ObjectKey) -> Stored:
        revision = self.revision + 1
        metadata = {**obj["metadata"], "resourceVersion": str(revision)}
        return Stored(_typed_first({**obj, "metadata": metadata}), revision, key)

    def _commit(self, shelf: Shelf, change: Change) -> None:
        for listener in tuple(self.listeners):
            listener(change)
        self.revision = change.revision
        shelf.commit(change)
        for follower in tuple(self._followers):
            follower(change)
