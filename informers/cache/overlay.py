"""Read-your-writes: answers of our own writes, shown until the store has caught up.

Versions of one resource arrive in order. So once the store's own version has reached that of a write, the
store knows the outcome, whether or not it ever showed that object; the entry is then obsolete, with no timer.

An entry is either a view or, for a write that ended an object, its absence. The answer to the removal of the
last finalizer may bear an older version than the deletion it caused, so for an absence versions are not
enough: it stays until the store itself has seen that very object go, or change once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from typing import NamedTuple

from informers.cache.store import Indexes, IndexFunction
from informers.cache.versions import Order, order_of
from informers.objects import ObjectKey
from informers.views.view import View


class Entry(NamedTuple):
    """The outcome of a write.

    :param order: of the version of the answer.
    :param view: the object as answered.
    :param gone: whether the write ended the object.
    """

    order: Order
    view: View
    gone: bool


class Overlay:
    """Entries by key, for one scope: one stream of versions.

    :param functions: those of the store's indexes.
    """

    def __init__(self, functions: Mapping[str, IndexFunction]) -> None:
        self._functions = functions
        self._indexes = Indexes(self._functions)
        self._entries: dict[ObjectKey, Entry] = {}
        # The oldest first, of those that go when their version has passed: a watch that lags for a minute
        # leaves thousands, and every read and every event asks. Some are entries no more.
        self._waiting: list[tuple[Order, ObjectKey]] = []
        self._reached: Order | None = None
        self.latest = ""
        """The version of the last event, as long as nobody needs to compare it."""
        self.enabled = True
        """False once the server has shown a version that cannot be compared."""

    def __bool__(self) -> bool:
        return bool(self._entries)

    def by_index(self, name: str, value: str) -> Iterable[View]:
        """What is shown and filed under a value of an index."""
        return [self._entries[key].view for key in self._indexes.keys(name, value)]

    @property
    def entries(self) -> Mapping[ObjectKey, Entry]:
        """Every entry."""
        return self._entries

    def add(self, view: View, *, gone: bool, stored: View | None) -> None:
        """Show the answer to a write from now on, unless the store is past it.

        :param gone: the write ended the object.
        :param stored: what the store has for the key.
        """
        order = order_of(view.resource_version)
        if order is None:
            self._switch_off()
        self._reach_latest()
        if not self.enabled or order is None:
            return
        known = self._entries.get(view.key)
        if known is not None and known.order > order:
            return
        passed = self._reached is not None and order <= self._reached
        # A store that is past the answer may still have the object, if the answer is as old as the object's
        # last state; only without it has it seen the end.
        if passed and not (gone and _hides(view, order, stored)):
            return
        self._entries[view.key] = entry = Entry(order, view, gone)
        self._file(known, entry)
        if not gone:
            heappush(self._waiting, (order, view.key))

    def event(self, view: View, *, deleted: bool) -> Iterable[Entry]:
        """The store has taken an event in; returns the entries this made obsolete, but for the key's own."""
        if not self._entries:
            # The way of almost every event. Versions come in order, so the last one stands for all.
            self.latest = view.resource_version
            return ()
        order = self._reach(view.resource_version)
        if order is None:
            return ()
        own = self._entries.get(view.key)
        if own is not None and _settled(own, view, order, deleted):
            self._drop(view.key)
        return self._evict(order)

    def caught_up(self, version: str) -> Iterable[Entry]:
        """A bookmark: the stream has reached a version. Returns what this made obsolete."""
        order = self._reach(version)
        return self._evict(order) if order is not None and self._entries else ()

    def relisted(self, version: str, stored: Callable[[ObjectKey], View | None]) -> Iterable[Entry]:
        """The store has a new state; returns what this made obsolete. A server that was restored from a
        backup goes back in time; entries from its former future say nothing any more.

        :param stored: looks a key up in the new state.
        """
        self._reach_latest()
        for key, entry in list(self._entries.items()):
            if entry.gone and not _hides(entry.view, entry.order, stored(key)):
                self._drop(key)
        order = order_of(version)
        if self._reached is not None and order is not None and order < self._reached:
            obsolete = list(self._entries.values())
            self._clear()
            self._reached = order
            return obsolete
        return self.caught_up(version)

    def _reach_latest(self) -> None:
        if self.latest:
            self._reach(self.latest)
            self.latest = ""

    def _reach(self, version: str) -> Order | None:
        order = order_of(version)
        if order is None:
            if version:
                self._switch_off()
            return None
        if self._reached is None or order > self._reached:
            self._reached = order
        return order

    def _evict(self, order: Order) -> list[Entry]:
        passed: list[Entry] = []
        waiting = self._waiting
        while waiting and waiting[0][0] <= order:
            own, key = heappop(waiting)
            entry = self._entries.get(key)
            if entry is not None and entry.order == own and not entry.gone:
                passed.append(self._drop(key))
        return passed

    def _drop(self, key: ObjectKey) -> Entry:
        entry = self._entries.pop(key)
        self._file(entry, None)
        return entry

    def _file(self, old: Entry | None, new: Entry | None) -> None:
        if self._functions:
            self._indexes.replace(*(one.view if one and not one.gone else None for one in (old, new)))

    def _switch_off(self) -> None:
        self.enabled = False
        self._clear()

    def _clear(self) -> None:
        self._entries.clear()
        self._waiting.clear()
        self._indexes = Indexes(self._functions)


def _settled(entry: Entry, event: View, order: Order, deleted: bool) -> bool:
    """Whether an event about the entry's own key makes it obsolete."""
    if not entry.gone:
        return entry.order <= order
    # An absence is settled by the end of that very object, not by its predecessor's.
    return entry.order < order or (deleted and entry.view.uid == event.uid)


def _hides(last: View, order: Order, other: View | None) -> bool:
    """Whether ``other`` is the object that ended with ``last``, at that version or before."""
    known = order_of(other.resource_version) if other is not None else None
    return other is not None and other.uid == last.uid and known is not None and known <= order
