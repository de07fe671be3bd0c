"""The store: views by namespace and name, secondary indexes by function, one writer.

Every method runs to its end without an await, so readers always see a complete state and never wait. A
relist is collected beside the live state and replaces it in one step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from informers.objects import ObjectKey, new_tuple
from informers.views.view import Codec, View

log = logging.getLogger(__name__)

HEADER_BYTES = 400
"""Bytes an object costs besides its body: its header, its place in the store, what the allocator adds.
Measured; long names and unusual labels cost more."""

IndexFunction: TypeAlias = Callable[[View], Iterable[str]]
"""The values an object is filed under; pure."""


class Delta(NamedTuple):
    """A change of one object, as the server's stream showed it.

    :param old: before; ``None`` for an object that was not there.
    :param new: after; ``None`` for one that is gone. ``old`` is then its last known state.
    :param initial: the object existed before the informer (or the handler) came.
    """

    old: View | None
    new: View | None
    initial: bool = False


class Size(NamedTuple):
    """What a store holds.

    :param objects: how many.
    :param raw: bytes of bodies that are kept as they came.
    :param compressed: bytes of those that went through a codec, as they are stored.
    """

    objects: int
    raw: int
    compressed: int

    @property
    def total(self) -> int:
        """Bytes, with an allowance for what every object costs besides its body."""
        return self.raw + self.compressed + self.objects * HEADER_BYTES

    def bytes_by_state(self) -> tuple[tuple[str, int], ...]:
        """The total in its parts, as metrics name them."""
        headers = self.objects * HEADER_BYTES
        return ("raw", self.raw), ("compressed", self.compressed), ("headers", headers)


Views: TypeAlias = dict[str, dict[str, View]]
"""By namespace, then by name. No namespace is without objects."""


class Store:
    """Views of one resource in one scope.

    :param indexes: index name to function. A function that raises files the object nowhere, and is logged.
    """

    def __init__(self, indexes: Mapping[str, IndexFunction] | None = None) -> None:
        self._functions = dict(indexes or {})
        self._views: Views = {}
        self._indexes = Indexes(self._functions)
        self._pending: Views | None = None
        self._objects = 0
        self._raw = 0
        self._compressed = 0

    def __len__(self) -> int:
        return self._objects

    @property
    def size(self) -> Size:
        """What is stored; not what is being collected."""
        return Size(self._objects, self._raw, self._compressed)

    def get(self, key: ObjectKey) -> View | None:
        """The view of a key, or ``None``."""
        namespace, name = key
        views = self._views.get(namespace)
        return views.get(name) if views is not None else None

    def all(self) -> Iterable[View]:
        """Every view, in no particular order. Live: copy it before an await."""
        return chain.from_iterable(views.values() for views in self._views.values())

    def of(self, namespace: str) -> Iterable[View]:
        """Views of one namespace, at a cost that does not depend on the others. Live, like :meth:`all`."""
        return self._views.get(namespace, _NO_VIEWS).values()

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

    def put(self, view: View) -> Delta | None:
        """Store one view that has just come. ``None`` when that version was there already."""
        meta = view.metadata
        name, namespace = meta.name, meta.namespace or ""
        views = self._views.get(namespace)
        if views is None:
            views = self._views[namespace] = {}
        old = views.get(name)
        if old is None:
            self._objects += 1
            self._raw += len(view.body)
        elif old.metadata.resource_version == meta.resource_version and old.metadata.uid == meta.uid:
            return None
        elif old.codec is None:
            self._raw += len(view.body) - len(old.body)
        else:
            self._compressed -= len(old.body)
            self._raw += len(view.body)
        views[name] = view
        if self._functions:
            self._indexes.replace(old, view)
        return new_tuple(Delta, (old, view, False))

    def remove(self, last: View) -> Delta | None:
        """Drop a key. ``None`` when it was not there.

        :param last: the object as the deletion showed it; kept as the old state of the change, because it is
            newer than what is stored.
        """
        old = _pop(self._views, last.namespace, last.name)
        if old is None:
            return None
        self._objects -= 1
        self._discount(old)
        if self._functions:
            self._indexes.replace(old, None)
        return Delta(last if last.uid == old.uid else old, None)

    def begin(self) -> None:
        """Start to collect a new state; what was collected before is dropped."""
        self._pending = {}

    def collect(self, view: View) -> bool:
        """Add to the new state. A version that is stored already is not kept twice.

        :returns: whether this very view was kept.
        """
        assert self._pending is not None, "collect() comes after begin()"
        namespace, name = view.namespace, view.name
        pending = self._pending.get(namespace)
        if pending is None:
            pending = self._pending[namespace] = {}
        views = self._views.get(namespace)
        live = views.get(name) if views is not None else None
        if live is not None and _same(live, view):
            pending[name] = live
            return False
        pending[name] = view
        return True

    def forget(self, key: ObjectKey) -> None:
        """Take out of the new state what was deleted while it was collected."""
        if self._pending is not None:
            _pop(self._pending, *key)

    def commit(self, *, initial: bool = False) -> Iterator[Delta]:
        """Replace the state by the collected one, and say what that changed: first what vanished (with the
        last known view), then what came or moved.

        :param initial: nothing was known before.
        :returns: the changes, found as they are asked for; to be used up before the next change.
        """
        assert self._pending is not None, "commit() comes after begin()"
        before, after = self._views, self._pending
        self._views, self._pending = after, None
        if self._functions:
            for old, new, _ in _changes(before, after, initial):
                self._indexes.replace(old, new)
        self._measure()
        return _changes(before, after, initial)

    def replace_body(self, view: View, codec: Codec, packed: bytes) -> None:
        """Keep a view's JSON in another form, wherever the view is; it stays the same view."""
        views = self._views.get(view.namespace)
        if views is not None and views.get(view.name) is view:
            self._discount(view)
            self._compressed += len(packed)
        # Else it has changed meanwhile, or is being collected: counted when it is stored, if ever.
        view.replace_body(codec, packed)

    def _discount(self, view: View) -> None:
        if view.codec is None:
            self._raw -= len(view.body)
        else:
            self._compressed -= len(view.body)

    def _measure(self) -> None:
        """Count everything again."""
        self._objects = sum(map(len, self._views.values()))
        self._compressed = sum(len(view.body) for view in self.all() if view.codec is not None)
        self._raw = sum(map(len, map(_BODY, self.all()))) - self._compressed


def _changes(before: Views, after: Views, initial: bool) -> Iterator[Delta]:
    for namespace, views in before.items():
        left = after.get(namespace, _NO_VIEWS)
        for name, view in views.items():
            if name not in left:
                yield Delta(view, None)
    for namespace, views in after.items():
        known = before.get(namespace, _NO_VIEWS)
        for name, view in views.items():
            old = known.get(name)
            if old is not view:
                yield new_tuple(Delta, (old, view, initial))


_BODY = attrgetter("body")
_NO_VIEWS: dict[str, View] = {}


def _same(one: View, other: View) -> bool:
    return one.resource_version == other.resource_version and one.uid == other.uid


def _pop(views: Views, namespace: str, name: str) -> View | None:
    named = views.get(namespace)
    if named is None:
        return None
    view = named.pop(name, None)
    if not named:
        del views[namespace]
    return view


class Indexes:
    """For every index: value to keys, and nothing for values without keys."""

    def __init__(self, functions: Mapping[str, IndexFunction]) -> None:
        self._functions = functions
        # Most values of most indexes have one key; a dictionary for each would cost more than the object.
        self._keys: dict[str, dict[str, ObjectKey | dict[ObjectKey, None]]] = {name: {} for name in functions}

    def __len__(self) -> int:
        return sum(len(table) for table in self._keys.values())

    def keys(self, name: str, value: str) -> Iterable[ObjectKey]:
        """Keys filed under a value."""
        found = self._keys[name].get(value)
        if found is None:
            return ()
        return (found,) if isinstance(found, ObjectKey) else found

    def replace(self, old: View | None, new: View | None) -> None:
        """File the new view of a key where the old one was filed."""
        for name, function in self._functions.items():
            before = values_of(name, function, old) if old is not None else ()
            after = values_of(name, function, new) if new is not None else ()
            if before == after:
                # Most changes change no index.
                continue
            table = self._keys[name]
            if old is not None and _fileable(before):
                for value in before:
                    _unfile(table, value, old.key)
            if new is not None:
                if _fileable(after):
                    for value in after:
                        _file(table, value, new.key)
                else:
                    log.error(
                        "index %s: the values of %s are not all text; it is not in this index", name, new.key
                    )


def _fileable(values: tuple[str, ...]) -> bool:
    """Whether a table can have these as keys: an index function returns what it finds in an object."""
    try:
        hash(values)
    except TypeError:
        return False
    return True


def _file(table: dict[str, ObjectKey | dict[ObjectKey, None]], value: str, key: ObjectKey) -> None:
    known = table.setdefault(value, key)
    if isinstance(known, dict):
        known[key] = None
    elif known != key:
        table[value] = {known: None, key: None}


def _unfile(table: dict[str, ObjectKey | dict[ObjectKey, None]], value: str, key: ObjectKey) -> None:
    known = table.get(value)
    if known == key:
        del table[value]
    elif isinstance(known, dict):
        known.pop(key, None)
        if not known:
            del table[value]


def values_of(name: str, function: IndexFunction, view: View) -> tuple[str, ...]:
    """What an index function says of a view; nothing when it raises."""
    try:
        return tuple(function(view))
    except Exception:
        log.exception("index %s cannot read %s; it is not in this index", name, view.key)
        return ()
