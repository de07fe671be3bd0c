"""All objects of a server: one revision counter, and a shelf per resource.

Nothing here waits, and nothing here knows what an object means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from informers.apiserver.store.objects import Change, StorageKey, Stored, typed_first
from informers.apiserver.store.shelf import Shelf
from informers.objects import Object, ObjectKey, Resource

FIRST_REVISION = 10_000
"""Where the counter of a new store stands: an invented or left-over version is too old from the start."""

HISTORY = 5_000
"""Events remembered per resource, by default."""


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
        self.shelf(storage).put_back(Stored(typed_first(obj), revision, ObjectKey.of(obj)))

    def compact(self) -> None:
        """Forget the past of every resource: watches and pages that need it get 410."""
        for _, shelf in self.shelves():
            shelf.compact(self.revision)

    def _next(self, obj: Object, key: ObjectKey) -> Stored:
        revision = self.revision + 1
        metadata = {**obj["metadata"], "resourceVersion": str(revision)}
        return Stored(typed_first({**obj, "metadata": metadata}), revision, key)

    def _commit(self, shelf: Shelf, change: Change) -> None:
        for listener in tuple(self.listeners):
            listener(change)
        self.revision = change.revision
        shelf.commit(change)
        for follower in tuple(self._followers):
            follower(change)
