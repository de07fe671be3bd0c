"""The controller of CustomResourceDefinitions: accepts names, serves, and cleans up.

It takes its time, as in a cluster: a definition that was just created is not served yet.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from informers.objects import Object, ObjectKey
from informers.testing.apiserver.definitions import (
    CLEANUP,
    condition_is_true,
    types_of,
    with_condition,
)
from informers.testing.apiserver.deleting import delete_object
from informers.testing.apiserver.errors import StatusError
from informers.testing.apiserver.kinds import DEFINITION
from informers.testing.apiserver.parameters import DeleteOptions
from informers.testing.apiserver.store import Change, StorageKey

if TYPE_CHECKING:
    from informers.testing.apiserver.core import ApiServer

_STORAGE: StorageKey = (DEFINITION.group, DEFINITION.plural)
_MANAGER = "kube-apiserver"


class DefinitionController:
    """Follows the definitions of one server.

    :param low: shortest delay of every step, seconds.
    :param high: longest delay of every step, seconds.
    """

    def __init__(self, core: ApiServer, *, rng: random.Random, low: float = 0.02, high: float = 0.3) -> None:
        self._core = core
        self._rng = rng
        self._low = low
        self._high = high
        self._waiting: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._served: dict[StorageKey, tuple[Object, bool]] = {}

    def serve(self, obj: Object) -> None:
        """Serve an established definition at once."""
        spec = obj["spec"]
        storage = spec["group"], spec["names"]["plural"]
        shape = spec, bool(obj["metadata"].get("deletionTimestamp"))
        if self._served.get(storage) != shape:
            self._served[storage] = shape
            self._core.registry.replace(storage, types_of(obj))

    async def run(self) -> None:
        """Follow the definitions until cancelled."""
        stop = self._core.subscribe(self._changed)
        try:
            for stored in self._core.store.shelf(_STORAGE).items():
                self._enqueue(stored.key.name)
            while True:
                name = await self._waiting.get()
                self._queued.discard(name)
                self._step(name)
        finally:
            stop()

    def _changed(self, change: Change) -> None:
        if change.resource == DEFINITION:
            if change.kind == "DELETED":
                self._withdraw(change.current.obj)
            else:
                self._enqueue(change.key.name)
            return
        name = f"{change.resource.plural}.{change.resource.group}"
        if change.kind == "DELETED" and change.resource.group and self._find(name) is not None:
            # The last object may have been what a definition's deletion waited for.
            self._enqueue(name)

    def _enqueue(self, name: str) -> None:
        if name not in self._queued:
            self._queued.add(name)
            delay = self._rng.uniform(self._low, self._high)
            asyncio.get_running_loop().call_later(delay, self._waiting.put_nowait, name)

    def _find(self, name: str) -> Object | None:
        return self._core.find(DEFINITION, ObjectKey("", name))

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
                # Seen as established, and served only a little later.
                self.serve(obj)
        except StatusError:
            # Somebody was faster; their change has put the name into the queue again.
            self._enqueue(name)

    def _write(self, obj: Object) -> None:
        key = ObjectKey.of(obj)
        self._core.edit(
            DEFINITION,
            key,
            lambda live: {**live, "status": obj["status"]},
            subresource="status",
            manager=_MANAGER,
        )

    def _accept(self, obj: Object) -> None:
        names, now = obj["spec"]["names"], self._core.now()
        problem = self._name_conflict(obj)
        if problem:
            reason, message = problem
            refused = with_condition(obj, "NamesAccepted", "False", reason, message, now)
            text = "not all names are accepted"
            self._write(with_condition(refused, "Established", "False", "NotAccepted", text, now))
            return
        accepted = {**obj, "status": {**obj.get("status", {}), "acceptedNames": names}}
        text = "no conflicts found"
        self._write(with_condition(accepted, "NamesAccepted", "True", "NoConflicts", text, now))

    def _establish(self, obj: Object) -> None:
        text = "the initial names have been accepted"
        now = self._core.now()
        self._write(with_condition(obj, "Established", "True", "InitialNamesAccepted", text, now))

    def _name_conflict(self, obj: Object) -> tuple[str, str] | None:
        spec = obj["spec"]
        taken: set[str] = set()
        kinds: set[str] = set()
        for other in self._core.registry.types():
            if other.resource.group == spec["group"] and other.resource.plural != spec["names"]["plural"]:
                taken.update((other.resource.plural, other.singular, *other.short_names))
                kinds.update((other.resource.kind, other.resource.kind + "List"))
        names = spec["names"]
        for field, known in (("plural", taken), ("singular", taken), ("kind", kinds), ("listKind", kinds)):
            if names.get(field) in known:
                reason = field[0].upper() + field[1:] + "Conflict"
                return reason, f'"{names[field]}" is already in use'
        for name in names.get("shortNames") or ():
            if name in taken:
                return "ShortNamesConflict", f'"{name}" is already in use'
        return None

    def _clean_up(self, obj: Object) -> None:
        spec = obj["spec"]
        storage = spec["group"], spec["names"]["plural"]
        if storage in self._served:
            self.serve(obj)
        left = self._core.store.shelf(storage).items()
        type_ = next((one for one in self._core.registry.storages() if one.storage == storage), None)
        if left and type_ is not None:
            self._report_cleaning(obj)
            for stored in left:
                if not stored.obj["metadata"].get("deletionTimestamp"):
                    delete_object(self._core, type_, stored.key, DeleteOptions(propagation="Background"))
            return
        if CLEANUP in (obj["metadata"].get("finalizers") or ()):
            self._core.edit(DEFINITION, ObjectKey.of(obj), _released, manager=_MANAGER)

    def _report_cleaning(self, obj: Object) -> None:
        text = "CustomResource deletion is in progress"
        reason = "InstanceDeletionInProgress"
        reported = with_condition(obj, "Terminating", "True", reason, text, self._core.now())
        if reported != obj:
            self._write(reported)

    def _withdraw(self, obj: Object) -> None:
        spec = obj["spec"]
        storage = spec["group"], spec["names"]["plural"]
        self._served.pop(storage, None)
        self._core.registry.replace(storage, ())
        for watcher in tuple(self._core.store.shelf(storage).watchers):
            watcher.ended()


def _released(obj: Object) -> Object:
    metadata = dict(obj["metadata"])
    metadata["finalizers"] = [name for name in metadata.get("finalizers") or () if name != CLEANUP]
    return {**obj, "metadata": metadata}
