"""From a change in a cache to the keys it concerns, and how urgent they are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TypeAlias

from informers.cache.informer import Delta, Informer
from informers.controller.predicates import Predicate, marked_anew
from informers.objects import ObjectKey, Resource, new_tuple
from informers.queue import Priority, WorkQueue
from informers.views.view import View

log = logging.getLogger(__name__)

Mapper: TypeAlias = Callable[[View], Iterable[ObjectKey]]


def owner_mapper(owners: Resource) -> Mapper:
    """Maps an object to its controller, if that is one of these, in whichever version.

    Cluster-scoped owners have a key without a namespace.
    """

    def owner(view: View) -> Iterable[ObjectKey]:
        return [
            ObjectKey(view.key.namespace if owners.namespaced else "", one.name)
            for one in view.owners
            if one.controller
            and one.kind == owners.kind
            and one.api_version.rpartition("/")[0] == owners.group
        ]

    return owner


def reference_mapper(
    referrers: Informer,
    index: str,
    values: Callable[[View], Iterable[str]] = lambda view: (str(view.key),),
) -> Mapper:
    """Maps an object to those that refer to it, however many there are: an index finds them.

    :param referrers: the informer of what refers, with an index by what it refers to.
    :param index: its name.
    :param values: what the object is filed under there; its ``namespace/name`` by default.
    :raises KeyError: when there is no such index.
    """
    referrers.by_index(index, "")

    def mapper(view: View) -> Iterable[ObjectKey]:
        found = (one.key for value in values(view) for one in referrers.by_index(index, value))
        return dict.fromkeys(found)

    return mapper


class Source:
    """One watched resource, as one controller sees it: an informer's handler that fills a queue.

    Begins with :meth:`start`, which queues all that is there: a standby may stand by for months, and what
    came and went meanwhile is nobody's business any more. Ends with :meth:`close`.

    :param mapper: the keys an object concerns; its own when ``None``. Asked about the object before and
        after, so that what lost a reference is looked at as well as what gained it.
    :param closed: called when it has ended.
    """

    def __init__(
        self,
        queue: WorkQueue,
        informer: Informer,
        predicate: Predicate | None,
        mapper: Mapper | None,
        closed: Callable[[Source], None],
    ) -> None:
        self._queue = queue
        self.informer = informer
        self._predicate = predicate
        self._mapper = mapper
        self._kind = informer.resource.kind
        self._handler = self._handle_own if mapper is None else self._handle_mapped
        self._closed = closed
        self._started = self._over = False
        # Of an object that concerns itself, the key says which.
        self._changed = f"{self._kind} changed"

    def start(self) -> None:
        """Queue what exists, and from now on what changes. Once."""
        self.informer.add_handler(self._handler)
        self._started = True

    def close(self) -> None:
        """Queue nothing more; at any time, more than once if you like. What waits in the queue stays there:
        a key is never wrong."""
        if self._over:
            return
        self._over = True
        if self._started:
            self.informer.remove_handler(self._handler)
        self._closed(self)

    def _handle_own(self, delta: Delta) -> None:
        """Queue a changed object."""
        old, new, _ = delta
        view = old if new is None else new
        if view is None or (self._predicate is not None and not self._passes(delta, view)):
            return
        if old is None or new is None:
            self._queue.add(view.key, priority=urgency(delta), cause=f"{self._kind} {_verb(delta)}")
            return
        # Spelt out: the way of nearly every change of every object.
        meta = new.metadata
        if meta.generation != old.metadata.generation and meta.deletion_timestamp is None:
            priority = _CHANGE
        else:
            priority = urgency(delta)
        key = new_tuple(ObjectKey, (meta.namespace or "", meta.name))
        self._queue.add(key, priority=priority, cause=self._changed)

    def _handle_mapped(self, delta: Delta) -> None:
        """Queue what a change concerns."""
        old, new, initial = delta
        view = old if new is None else new
        if view is None or (self._predicate is not None and not self._passes(delta, view)):
            return
        assert self._mapper is not None, "chosen for its sake"
        cause = f"{self._kind} {view.key} {_verb(delta)}"
        priority = Priority.INITIAL if initial else Priority.EVENT
        for concerned in self._mapped(self._mapper, delta):
            self._queue.add(concerned, priority=priority, cause=cause)

    def _passes(self, delta: Delta, view: View) -> bool:
        """What the predicate says. A faulty one lets everything pass, as a faulty mapper lets nothing:
        neither may end the informer, which serves others too."""
        assert self._predicate is not None, "asked only if there is one"
        try:
            return self._predicate(delta)
        except Exception:
            log.exception("predicate failed, the change passes", extra={"kind": self._kind, "key": view.key})
            return True

    def _mapped(self, mapper: Mapper, delta: Delta) -> Iterable[ObjectKey]:
        keys: dict[ObjectKey, None] = {}
        for view in (delta.old, delta.new):
            if view is None:
                continue
            try:
                keys.update(dict.fromkeys(mapper(view)))
            except Exception:
                log.exception(
                    "mapper failed, the change is lost", extra={"kind": self._kind, "key": view.key}
                )
        return keys


def urgency(delta: Delta) -> Priority:
    """How urgent a change of an object is to its own controller.

    Deletions and changes of what people wrote go first and cut a back-off short. Everything else, a
    controller's own status writes above all, waits for its turn.
    """
    old, new, initial = delta
    if new is None:
        return _DELETION
    after = new.metadata
    if after.deletion_timestamp is not None and (old is None or not old.deleting):
        return _DELETION
    if initial:
        return Priority.INITIAL
    if old is None:
        return _CHANGE
    before = old.metadata
    if before.generation != after.generation or before.uid != after.uid or marked_anew(old, new):
        return _CHANGE
    return _EVENT


# Members of an enum class are found by code; this is asked of every change.
_DELETION, _CHANGE, _EVENT = Priority.DELETION, Priority.CHANGE, Priority.EVENT


def _verb(delta: Delta) -> str:
    old, new, initial = delta
    if new is None:
        return "gone"
    if initial:
        return "listed"
    return "created" if old is None else "changed"
