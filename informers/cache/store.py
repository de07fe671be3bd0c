"""The store: views by key, secondary indexes by function, one writer.

Every method runs to its end without an await, so readers always see a complete state and never wait. A
relist is collected beside the live state and replaces it in one step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from informers.cache.view import View
from informers.objects import ObjectKey

log = logging.getLogger(__name__)

IndexFunction: TypeAlias = Callable[[View], Iterable[str]]
"""The values an object is filed under; pure."""


class Change(NamedTuple):
    """What one write did: the view before and after, either of which may be absent."""

    old: View | None
    new: View | None


class Store:
    """Views of one resource in one scope.

    :param indexes: index name to function. A function that raises files the object nowhere, and is logged.
    """

    def __init__(self, indexes: Mapping[str, IndexFunction] | None = None) -> None:
        self._functions = dict(indexes or {})
        self._views: dict[ObjectKey, View] = {}
        self._indexes = _Indexes(self._functions)
        self._namespaces: dict[str, dict[ObjectKey, None]] = {}
        self._pending: dict[ObjectKey, View] | None = None

    def __len__(self) -> int:
        return len(self._views)

    def get(self, key: ObjectKey) -> View | None:
        """The view of a key, or ``None``."""
        return self._views.get(key)

    def all(self) -> Iterable[View]:
        """Every view, in no particular order. Live: copy it before an await."""
        return self._views.values()

    def of(self, namespace: str) -> Iterable[View]:
        """Views of one namespace, at a cost that does not depend on the others. Live, like :meth:`all`."""
        return (self._views[key] for key in self._namespaces.get(namespace, ()))

    def by_index(self, name: str, value: str) -> Iterable[ObjectKey]:
        """Keys filed under a value.

        :raises KeyError: when there is no such index.
        """
        return self._indexes.keys(name, value)

    @property
    def collecting(self) -> bool:
        """Whether a new state is under way."""
        return self._pending is not None

    # -- the writer ------------------------------------------------------------------------------------

    def put(self, view: View) -> Change | None:
        """Store one view. ``None`` when that version was there already."""
        old = self._views.get(view.key)
        if old is not None and old.uid == view.uid and old.resource_version == view.resource_version:
            return None
        self._views[view.key] = view
        return self._changed(Change(old, view))

    def remove(self, last: View) -> Change | None:
        """Drop a key. ``None`` when it was not there.

        :param last: the object as the deletion showed it; kept as the old state of the change, because it is
            newer than what is stored.
        """
        old = self._views.pop(last.key, None)
        if old is None:
            return None
        self._changed(Change(old, None))
        return Change(last if last.uid == old.uid else old, None)

    def begin(self) -> None:
        """Start to collect a new state; what was collected before is dropped."""
        self._pending = {}

    def collect(self, view: View) -> None:
        """Add to the new state. A version that is stored already is not kept twice."""
        assert self._pending is not None, "collect() comes after begin()"
        live = self._views.get(view.key)
        same = live is not None and live.uid == view.uid and live.resource_version == view.resource_version
        self._pending[view.key] = live if same and live is not None else view

    def forget(self, key: ObjectKey) -> None:
        """Take out of the new state what was deleted while it was collected."""
        if self._pending is not None:
            self._pending.pop(key, None)

    def commit(self) -> list[Change]:
        """Replace the state by the collected one, and say what that changed: first what vanished (with the
        last known view), then what came or moved."""
        assert self._pending is not None, "commit() comes after begin()"
        before, after = self._views, self._pending
        self._views, self._pending = after, None
        changes = [Change(view, None) for key, view in before.items() if key not in after]
        for key, view in after.items():
            old = before.get(key)
            if old is not view:
                changes.append(Change(old, view))
        for change in changes:
            self._changed(change)
        return changes

    def _changed(self, change: Change) -> Change:
        """Bring the indexes up to date."""
        old, new = change
        if old is None and new is not None:
            self._namespaces.setdefault(new.key.namespace, {})[new.key] = None
        elif old is not None and new is None:
            keys = self._namespaces[old.key.namespace]
            del keys[old.key]
            if not keys:
                del self._namespaces[old.key.namespace]
        if self._functions:
            self._indexes.replace(old, new)
        return change


class _Indexes:
    """For every index: value to keys, and nothing for values without keys."""

    def __init__(self, functions: Mapping[str, IndexFunction]) -> None:
        self._functions = functions
        self._keys: dict[str, dict[str, dict[ObjectKey, None]]] = {name: {} for name in functions}

    def keys(self, name: str, value: str) -> Iterable[ObjectKey]:
        return self._keys[name].get(value, ())

    def replace(self, old: View | None, new: View | None) -> None:
        for name, function in self._functions.items():
            table = self._keys[name]
            before = values_of(name, function, old) if old is not None else ()
            after = values_of(name, function, new) if new is not None else ()
            if before == after:
                # Most changes change no index.
                continue
            for value in before:
                assert old is not None
                keys = table.get(value)
                if keys is not None:
                    keys.pop(old.key, None)
                    if not keys:
                        del table[value]
            for value in after:
                assert new is not None
                table.setdefault(value, {})[new.key] = None


def values_of(name: str, function: IndexFunction, view: View) -> tuple[str, ...]:
    """What an index function says of a view; nothing when it raises."""
    try:
        return tuple(function(view))
    except Exception:
        log.exception("index %s cannot read %s; it is filed nowhere", name, view.key)
        return ()
