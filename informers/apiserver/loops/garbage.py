"""The garbage collector: deletes objects whose owners are gone, with a short delay as in a cluster.

An object's owners are what its ``metadata.ownerReferences`` name by uid. Nothing is deleted because of an
owner whose kind is not served: whether it exists cannot be known.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

from informers.apiserver.errors import StatusError
from informers.apiserver.loops.delayed import DelayedQueue
from informers.apiserver.requests.parameters import DeleteOptions, Propagation
from informers.apiserver.store import Change
from informers.apiserver.writing.backend import Backend
from informers.apiserver.writing.deleting import FOREGROUND, ORPHAN
from informers.apiserver.writing.loopback import delete, edit
from informers.objects import Object, ObjectKey, Resource

_UNKNOWN_KIND_SECONDS = 30.0


class _Item(NamedTuple):
    resource: Resource
    key: ObjectKey


class _Owner(Enum):
    SOLID = "there, and staying"
    WAITING = "being deleted, after its dependents"
    ABSENT = "not there"
    UNKNOWN = "nobody can say"


class GarbageCollector:
    """Follows all objects of one server.

    :param low: shortest delay before an object is looked at, seconds.
    :param high: longest delay, seconds.
    """

    def __init__(self, backend: Backend, *, rng: random.Random, low: float = 0.02, high: float = 0.3) -> None:
        self._backend = backend
        self._queue: DelayedQueue[_Item] = DelayedQueue(rng, low, high)
        self._dependents: dict[str, set[_Item]] = {}

    async def run(self) -> None:
        """Collect until cancelled."""
        stop = self._backend.store.subscribe(self._changed)
        try:
            for type_ in self._backend.registry.storages():
                for obj in self._backend.all(type_.resource):
                    self._noticed(_Item(type_.resource, ObjectKey.of(obj)), obj)
            while True:
                item = await self._queue.get()
                try:
                    self._step(item)
                except StatusError:
                    # Someone changed it in the same moment; look again.
                    self._queue.add(item)
        finally:
            stop()

    def _changed(self, change: Change) -> None:
        obj = change.current.obj
        item = _Item(change.resource, change.key)
        before = change.previous.obj if change.previous is not None else None
        if before is not None and (change.kind == "DELETED" or _owners(before) != _owners(obj)):
            for reference in _owners(before):
                self._forget(reference["uid"], item)
                # It may be waiting for just this dependent.
                if (owner := self._owner_item(item, reference)) is not None:
                    self._queue.add(owner)
        if change.kind != "DELETED":
            self._noticed(item, obj)
            return
        for dependent in self._dependents.get(obj["metadata"]["uid"], ()):
            self._queue.add(dependent)

    def _forget(self, uid: str, item: _Item) -> None:
        dependents = self._dependents.get(uid)
        if dependents is not None:
            dependents.discard(item)
            if not dependents:
                del self._dependents[uid]

    def _noticed(self, item: _Item, obj: Object) -> None:
        for uid in _owner_uids(obj):
            self._dependents.setdefault(uid, set()).add(item)
        metadata = obj["metadata"]
        if metadata.get("deletionTimestamp"):
            if {FOREGROUND, ORPHAN} & set(metadata.get("finalizers") or ()):
                self._queue.add(item)
        elif metadata.get("ownerReferences"):
            self._queue.add(item)

    def _owner_item(self, item: _Item, reference: Mapping[str, Any]) -> _Item | None:
        type_ = self._backend.registry.of_kind(reference["apiVersion"], reference["kind"])
        if type_ is None:
            return None
        namespace = item.key.namespace if type_.resource.namespaced else ""
        if type_.resource.namespaced and not namespace:
            # A cluster-scoped object cannot have an owner in a namespace: which one would it be?
            return None
        return _Item(type_.stored_as, ObjectKey(namespace, reference["name"]))

    def _step(self, item: _Item) -> None:
        obj = self._backend.find(*item)
        if obj is None:
            return
        metadata = obj["metadata"]
        finalizers = metadata.get("finalizers") or ()
        if metadata.get("deletionTimestamp"):
            if FOREGROUND in finalizers:
                self._delete_dependents(item, obj)
            elif ORPHAN in finalizers:
                self._orphan_dependents(item, obj)
        elif metadata.get("ownerReferences"):
            self._judge(item, obj)

    def _dependents_of(self, obj: Object) -> Iterator[tuple[_Item, Object]]:
        uid = obj["metadata"]["uid"]
        for item in sorted(self._dependents.get(uid, ()), key=lambda one: (str(one.resource), one.key)):
            dependent = self._backend.find(*item)
            if dependent is not None and uid in _owner_uids(dependent):
                yield item, dependent

    def _delete_dependents(self, item: _Item, obj: Object) -> None:
        """Foreground: the owner goes when no dependent that says so is left."""
        uid, blocked = obj["metadata"]["uid"], False
        for dependent, content in self._dependents_of(obj):
            if not content["metadata"].get("deletionTimestamp"):
                self._queue.add(dependent)
            blocked = blocked or any(
                one.get("uid") == uid and one.get("blockOwnerDeletion")
                for one in content["metadata"]["ownerReferences"]
            )
        if not blocked:
            edit(self._backend, *item, lambda live: _without_finalizer(live, FOREGROUND))

    def _orphan_dependents(self, item: _Item, obj: Object) -> None:
        gone = {obj["metadata"]["uid"]}
        for dependent, _ in self._dependents_of(obj):
            edit(self._backend, *dependent, lambda live: _without_owners(live, gone))
        edit(self._backend, *item, lambda live: _without_finalizer(live, ORPHAN))

    def _judge(self, item: _Item, obj: Object) -> None:
        """Whether an object with owners may stay."""
        found: dict[_Owner, set[str]] = {state: set() for state in _Owner}
        for reference in obj["metadata"]["ownerReferences"]:
            found[self._state_of(item, reference)].add(reference["uid"])
        lost = found[_Owner.ABSENT] | found[_Owner.WAITING]
        if found[_Owner.UNKNOWN]:
            self._queue.add(item, _UNKNOWN_KIND_SECONDS)
        elif found[_Owner.SOLID]:
            if lost:
                edit(self._backend, *item, lambda live: _without_owners(live, lost))
        else:
            finalizers = obj["metadata"].get("finalizers") or ()
            policy: Propagation = "Background"
            if ORPHAN in finalizers:
                policy = "Orphan"
            elif FOREGROUND in finalizers or (
                found[_Owner.WAITING] and next(self._dependents_of(obj), None) is not None
            ):
                policy = "Foreground"
            metadata = obj["metadata"]
            options = DeleteOptions(
                propagation=policy, uid=metadata["uid"], resource_version=metadata["resourceVersion"]
            )
            delete(self._backend, *item, options)

    def _state_of(self, item: _Item, reference: Mapping[str, Any]) -> _Owner:
        owner = self._owner_item(item, reference)
        if owner is None:
            return _Owner.UNKNOWN
        obj = self._backend.find(*owner)
        # One of the same name that was made again is another object.
        if obj is None or obj["metadata"]["uid"] != reference["uid"]:
            return _Owner.ABSENT
        metadata = obj["metadata"]
        if metadata.get("deletionTimestamp") and FOREGROUND in (metadata.get("finalizers") or ()):
            return _Owner.WAITING
        return _Owner.SOLID


def _owners(obj: Object) -> list[Mapping[str, Any]]:
    return obj["metadata"].get("ownerReferences") or []


def _owner_uids(obj: Object) -> set[str]:
    return {one["uid"] for one in _owners(obj)}


def _without_finalizer(obj: Object, name: str) -> Object:
    obj["metadata"]["finalizers"] = [one for one in obj["metadata"].get("finalizers") or () if one != name]
    return obj


def _without_owners(obj: Object, uids: set[str]) -> Object:
    references = obj["metadata"].get("ownerReferences") or ()
    obj["metadata"]["ownerReferences"] = [one for one in references if one["uid"] not in uids]
    return obj
