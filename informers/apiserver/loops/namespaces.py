"""The namespace controller: deletes the content of terminating namespaces, then finalizes them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator

from informers.apiserver.errors import StatusError
from informers.apiserver.kinds.table import NAMESPACE
from informers.apiserver.loops.delayed import DelayedQueue
from informers.apiserver.requests.parameters import DeleteOptions
from informers.apiserver.store import Change
from informers.apiserver.writing.backend import Backend
from informers.apiserver.writing.loopback import delete, edit
from informers.objects import Object, ObjectKey, Resource

_FINALIZER = "kubernetes"


class NamespaceController:
    """Follows the namespaces of one server.

    :param low: shortest delay of every step, seconds.
    :param high: longest delay of every step, seconds.
    """

    def __init__(self, backend: Backend, *, rng: random.Random, low: float = 0.02, high: float = 0.3) -> None:
        self._backend = backend
        self._queue: DelayedQueue[str] = DelayedQueue(rng, low, high)

    async def run(self) -> None:
        """Empty namespaces that are being deleted, until cancelled."""
        stop = self._backend.store.subscribe(self._changed)
        try:
            for obj in self._backend.all(NAMESPACE):
                self._enqueue(obj["metadata"]["name"])
            while True:
                name = await self._queue.get()
                try:
                    self._step(name)
                except StatusError:
                    # Someone changed it in the same moment; look again.
                    self._enqueue(name)
        finally:
            stop()

    def _changed(self, change: Change) -> None:
        if change.resource == NAMESPACE:
            self._enqueue(change.key.name)
        elif change.kind == "DELETED" and change.key.namespace:
            self._enqueue(change.key.namespace)

    def _enqueue(self, name: str) -> None:
        if self._terminating(name) is not None:
            self._queue.add(name)

    def _terminating(self, name: str) -> Object | None:
        obj = self._backend.find(NAMESPACE, ObjectKey("", name))
        return obj if obj is not None and obj["metadata"].get("deletionTimestamp") else None

    def _step(self, name: str) -> None:
        obj = self._terminating(name)
        if obj is None or _FINALIZER not in (obj["spec"].get("finalizers") or ()):
            return
        for resource, content in list(self._content(name)):
            if not content["metadata"].get("deletionTimestamp"):
                options = DeleteOptions(propagation="Background")
                delete(self._backend, resource, ObjectKey.of(content), options)
        left = list(self._content(name))
        self._report(name, left)
        if not left:
            key = ObjectKey("", name)
            edit(self._backend, NAMESPACE, key, _finalized, subresource="finalize")

    def _content(self, namespace: str) -> Iterator[tuple[Resource, Object]]:
        for type_ in self._backend.registry.storages():
            if type_.resource.namespaced:
                for stored in self._backend.store.shelf(type_.storage).in_namespace(namespace):
                    yield type_.resource, stored.obj

    def _report(self, name: str, left: list[tuple[Resource, Object]]) -> None:
        now = self._backend.now()

        def change(live: Object) -> Object:
            status = live.setdefault("status", {})
            before = {one["type"]: one for one in status.get("conditions") or ()}
            status["conditions"] = [
                _with_time(condition, before.get(condition["type"]), now) for condition in _conditions(left)
            ]
            return live

        edit(self._backend, NAMESPACE, ObjectKey("", name), change, subresource="status")


def _finalized(namespace: Object) -> Object:
    finalizers = namespace["spec"].get("finalizers") or ()
    namespace["spec"]["finalizers"] = [one for one in finalizers if one != _FINALIZER]
    return namespace


def _with_time(condition: Object, before: Object | None, now: str) -> Object:
    same = before is not None and before["status"] == condition["status"]
    return {**condition, "lastTransitionTime": before["lastTransitionTime"] if before and same else now}


def _condition(kind: str, status: str, reason: str, message: str) -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def _conditions(left: list[tuple[Resource, Object]]) -> Iterator[Object]:
    """What a namespace says about its end."""
    yield _condition(
        "NamespaceDeletionDiscoveryFailure",
        "False",
        "ResourcesDiscovered",
        "All resources successfully discovered",
    )
    yield _condition(
        "NamespaceDeletionGroupVersionParsingFailure",
        "False",
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    )
    yield _condition(
        "NamespaceDeletionContentFailure",
        "False",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    )
    kinds = Counter(f"{resource.plural}.{resource.group}" for resource, _ in left)
    yield _remaining(
        "NamespaceContentRemaining",
        (f"{kind} has {count} resource instances" for kind, count in sorted(kinds.items())),
        ("SomeResourcesRemain", "Some resources are remaining"),
        ("ContentRemoved", "All content successfully removed"),
    )
    held = Counter(name for _, obj in left for name in obj["metadata"].get("finalizers") or ())
    yield _remaining(
        "NamespaceFinalizersRemaining",
        (f"{name} in {count} resource instances" for name, count in sorted(held.items())),
        ("SomeFinalizersRemain", "Some content in the namespace has finalizers remaining"),
        ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
    )


def _remaining(kind: str, found: Iterable[str], some: tuple[str, str], none: tuple[str, str]) -> Object:
    """A condition that is true while anything is found, and lists it; reason and message for either case."""
    listed = ", ".join(found)
    if listed:
        return _condition(kind, "True", some[0], f"{some[1]}: {listed}")
    return _condition(kind, "False", *none)
