"""The controller of CustomResourceDefinitions: accepts names, serves, and cleans up.

Every step has a short delay, as in a cluster: a definition that was just created is not served yet. Once its
names are accepted it is served, discovery and schemas included, and only then is it established: whoever acts
on ``Established`` finds the resource.
"""

from __future__ import annotations

import random

from informers.apiserver.errors import StatusError
from informers.apiserver.kinds.definitions import CLEANUP, condition_is_true, types_of, with_condition
from informers.apiserver.kinds.table import DEFINITION
from informers.apiserver.loops.delayed import DelayedQueue
from informers.apiserver.requests.parameters import DeleteOptions
from informers.apiserver.store import Change, StorageKey, Stored
from informers.apiserver.writing.backend import Backend
from informers.apiserver.writing.deleting import delete_object
from informers.apiserver.writing.loopback import edit
from informers.objects import Object, ObjectKey

_STORAGE: StorageKey = (DEFINITION.group, DEFINITION.plural)
_MANAGER = "kube-apiserver"
_NAME_FIELDS = (
    ("plural", "names"),
    ("singular", "names"),
    ("shortNames", "names"),
    ("kind", "kinds"),
    ("listKind", "kinds"),
)


class DefinitionController:
    """Follows the definitions of one server.

    :param low: shortest delay of every step, seconds; the defaults are what a real server takes.
    :param high: longest delay of every step, seconds.
    """

    def __init__(
        self, backend: Backend, *, rng: random.Random, low: float = 0.001, high: float = 0.02
    ) -> None:
        self._backend = backend
        self._queue: DelayedQueue[str] = DelayedQueue(rng, low, high)
        self._served: dict[StorageKey, tuple[Object, bool]] = {}

    def serve(self, obj: Object) -> None:
        """Serve a definition whose names are accepted at once."""
        spec = obj["spec"]
        storage = spec["group"], spec["names"]["plural"]
        shape = spec, bool(obj["metadata"].get("deletionTimestamp"))
        if self._served.get(storage) != shape:
            self._served[storage] = shape
            self._backend.registry.replace(storage, types_of(obj))
            self._reread(storage)

    def _reread(self, storage: StorageKey) -> None:
        """See what is stored as a new schema reads it: defaults are there at once, without any event."""
        type_ = next((one for one in self._backend.registry.storages() if one.storage == storage), None)
        if type_ is None or type_.schema is None:
            return
        shelf = self._backend.store.shelf(storage)
        for stored in shelf.items():
            read = type_.schema.defaulted(type_.schema.pruned(stored.obj)[0])
            if read is not stored.obj:
                shelf.put_back(Stored(read, stored.revision, stored.key))

    async def run(self) -> None:
        """Follow the definitions until cancelled."""
        stop = self._backend.store.subscribe(self._changed)
        try:
            for stored in self._backend.store.shelf(_STORAGE).items():
                self._queue.add(stored.key.name)
            while True:
                self._step(await self._queue.get())
        finally:
            stop()

    def _changed(self, change: Change) -> None:
        if change.resource == DEFINITION:
            if change.kind == "DELETED":
                self._withdraw(change.current.obj)
                for other in self._backend.all(DEFINITION):
                    if not condition_is_true(other, "NamesAccepted"):
                        self._queue.add(other["metadata"]["name"])
            else:
                self._queue.add(change.key.name)
            return
        name = f"{change.resource.plural}.{change.resource.group}"
        if change.kind == "DELETED" and change.resource.group and self._find(name) is not None:
            # The last object may have been what a definition's deletion waited for.
            self._queue.add(name)

    def _find(self, name: str) -> Object | None:
        return self._backend.find(DEFINITION, ObjectKey("", name))

    def _step(self, name: str) -> None:
        obj = self._find(name)
        if obj is None:
            return
        try:
            if obj["metadata"].get("deletionTimestamp"):
                self._clean_up(obj)
            elif not condition_is_true(obj, "NamesAccepted"):
                self._accept(obj)
            elif not condition_is_true(obj, "Established"):
                self._establish(obj)
            else:
                self.serve(obj)
        except StatusError:
            # Someone was faster; their change has put the name into the queue again.
            self._queue.add(name)

    def _write(self, obj: Object) -> None:
        key = ObjectKey.of(obj)
        edit(
            self._backend,
            DEFINITION,
            key,
            lambda live: {**live, "status": obj["status"]},
            subresource="status",
            manager=_MANAGER,
        )

    def _accept(self, obj: Object) -> None:
        now = self._backend.now()
        accepted, problem = self._accepted(obj)
        named = {**obj, "status": {**obj.get("status", {}), "acceptedNames": accepted}}
        if problem is None:
            # Whoever sees the condition finds the resource: nobody looks in between.
            self.serve(obj)
            text = "no conflicts found"
            accepted_now = with_condition(named, "NamesAccepted", "True", "NoConflicts", text, now)
            text = "the initial names have been accepted"
            self._write(with_condition(accepted_now, "Established", "False", "Installing", text, now))
            return
        refused = with_condition(named, "NamesAccepted", "False", *problem, now)
        text = "not all names are accepted"
        self._write(with_condition(refused, "Established", "False", "NotAccepted", text, now))

    def _establish(self, obj: Object) -> None:
        # After a restart it is not served yet.
        self.serve(obj)
        text = "the initial names have been accepted"
        now = self._backend.now()
        self._write(with_condition(obj, "Established", "True", "InitialNamesAccepted", text, now))

    def _accepted(self, obj: Object) -> tuple[Object, tuple[str, str] | None]:
        """The names nobody else in the group has, and the last of the conflicts, if any."""
        taken: set[str] = set()
        kinds: set[str] = set()
        for other in self._backend.all(DEFINITION):
            if other["spec"]["group"] == obj["spec"]["group"] and other is not obj:
                theirs = (other.get("status") or {}).get("acceptedNames") or {}
                taken.update((theirs.get("plural", ""), theirs.get("singular", "")))
                taken.update(theirs.get("shortNames") or ())
                kinds.update((theirs.get("kind", ""), theirs.get("listKind", "")))
        names = obj["spec"]["names"]
        accepted: Object = {"kind": "", "plural": ""}
        problem = None
        for field, known in _NAME_FIELDS:
            wanted = names.get(field)
            used = taken if known == "names" else kinds
            conflicts = [one for one in (wanted if isinstance(wanted, list) else [wanted]) if one in used]
            if conflicts:
                reason = field[0].upper() + field[1:] + "Conflict"
                problem = reason, f'"{conflicts[0]}" is already in use'
            elif wanted:
                accepted[field] = wanted
        if names.get("categories"):
            accepted["categories"] = names["categories"]
        return accepted, problem

    def _clean_up(self, obj: Object) -> None:
        spec = obj["spec"]
        storage = spec["group"], spec["names"]["plural"]
        if storage in self._served:
            self.serve(obj)
        left = self._backend.store.shelf(storage).items()
        type_ = next((one for one in self._backend.registry.storages() if one.storage == storage), None)
        if left and type_ is not None:
            self._report_cleaning(obj)
            for stored in left:
                if not stored.obj["metadata"].get("deletionTimestamp"):
                    delete_object(self._backend, type_, stored.key, DeleteOptions(propagation="Background"))
            return
        if CLEANUP in (obj["metadata"].get("finalizers") or ()):
            edit(self._backend, DEFINITION, ObjectKey.of(obj), _released, manager=_MANAGER)

    def _report_cleaning(self, obj: Object) -> None:
        text = "CustomResource deletion is in progress"
        reason = "InstanceDeletionInProgress"
        reported = with_condition(obj, "Terminating", "True", reason, text, self._backend.now())
        if reported != obj:
            self._write(reported)

    def _withdraw(self, obj: Object) -> None:
        spec = obj["spec"]
        storage = spec["group"], spec["names"]["plural"]
        self._served.pop(storage, None)
        self._backend.registry.replace(storage, ())
        for watcher in tuple(self._backend.store.shelf(storage).watchers):
            watcher.ended()


def _released(obj: Object) -> Object:
    metadata = dict(obj["metadata"])
    metadata["finalizers"] = [name for name in metadata.get("finalizers") or () if name != CLEANUP]
    return {**obj, "metadata": metadata}
