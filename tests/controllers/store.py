"""An object store in memory, as an API server without rules, and the caches that follow it."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from controllers.objects.kinds import EVENT, SECRET
from informers.cache.store import IndexFunction
from informers.cache.store import Store as Views
from informers.errors import AlreadyExists, Conflict, NotFound
from informers.objects import Object, ObjectKey, Resource
from informers.views.view import View, view_of_object

NAMESPACE = "etl"
START = 1_800_000_000.0
STARTED_AT = "2027-01-15T08:00:00Z"


class StoreInformer:
    """A cache that is behind only when a test says so: the library's store, told of every change at once."""

    def __init__(self, resource: Resource, indexes: Mapping[str, IndexFunction]) -> None:
        self.resource = resource
        self._views = Views(indexes)
        self._behind = False

    def get(self, key: ObjectKey) -> View | None:
        return self._views.get(key)

    def list(self, namespace: str | None = None) -> Sequence[View]:
        return list(self._views.all() if namespace is None else self._views.of(namespace))

    def by_index(self, index: str, value: str) -> Sequence[View]:
        found = (self._views.get(key) for key in self._views.by_index(index, value))
        return [view for view in found if view is not None]

    def written(self, obj: Object) -> None:
        """The answer to a write is shown at once, also by a cache that is behind."""
        if self._behind:
            self._show(obj, gone=False)

    def fall_behind(self) -> None:
        """See nothing of what happens from now on."""
        self._behind = True

    def changed(self, obj: Object, *, gone: bool) -> None:
        """The store has another version of an object, or none any more."""
        if not self._behind:
            self._show(obj, gone=gone)

    def _show(self, obj: Object, *, gone: bool) -> None:
        view = view_of_object(obj)
        assert view is not None, "the store keeps nothing without a name"
        if gone:
            self._views.remove(view)
        else:
            self._views.put(view)


@dataclass
class Store:
    """Objects, and a log of every request that could change one."""

    now: float = START
    objects: dict[tuple[Resource, ObjectKey], Object] = field(default_factory=dict)
    writes: list[tuple[str, str, str]] = field(default_factory=list)
    informers: dict[Resource, StoreInformer] = field(default_factory=dict)
    events: dict[str, list[Object]] = field(default_factory=dict)
    """Warning events by the uid of what they are about."""
    asked: list[str] = field(default_factory=list)
    """Uids whose events were read."""
    no_events: Exception | None = None
    """Why events cannot be read."""
    read_secrets: list[str] = field(default_factory=list)
    """Names of the Secrets that were asked for."""
    no_secrets: Exception | None = None
    """Why Secrets cannot be read."""
    _applied: dict[tuple[Resource, ObjectKey], Object] = field(default_factory=dict)
    _serial: int = 0

    # -- what the controllers use ------------------------------------------------------------------

    async def get(self, resource: Resource, key: ObjectKey, *, subresource: str = "") -> Object:
        if resource == SECRET:
            self.read_secrets.append(key.name)
            if self.no_secrets is not None:
                raise self.no_secrets
        return copy.deepcopy(self._must(resource, key))

    async def list(
        self, resource: Resource, *, namespace: str = "", field_selector: str = "", limit: int = 0
    ) -> Any:
        """The objects of a namespace with one name, or the Warning events about one uid."""
        if resource == EVENT:
            found = re.fullmatch(r"involvedObject\.uid=([^,]+),type=Warning", field_selector)
            assert found and namespace and limit, "events are read of one object, and not without a limit"
            self.asked.append(found[1])
            if self.no_events is not None:
                raise self.no_events
            return SimpleNamespace(items=[copy.deepcopy(one) for one in self.events.get(found[1], ())])
        key = ObjectKey(namespace, field_selector.removeprefix("metadata.name="))
        obj = self.objects.get((resource, key))
        return SimpleNamespace(items=[copy.deepcopy(obj)] if obj else [])

    async def apply(
        self, resource: Resource, body: Object, *, field_manager: str, force: bool = False
    ) -> Object:
        key = ObjectKey.of(body)
        self.writes.append(("apply", resource.kind, str(key)))
        merged = copy.deepcopy(self.objects.get((resource, key)) or {})
        _subtract(merged, self._applied.get((resource, key)) or {}, body)
        _merge(merged, body)
        self._applied[resource, key] = copy.deepcopy(body)
        return self._store(resource, merged)

    async def update_status(self, resource: Resource, body: Object, *, field_manager: str) -> Object:
        key = ObjectKey.of(body)
        current = copy.deepcopy(self._must(resource, key))
        version = body["metadata"].get("resourceVersion", current["metadata"]["resourceVersion"])
        if version != current["metadata"]["resourceVersion"]:
            raise Conflict(409)
        self.writes.append(("status", resource.kind, str(key)))
        current["status"] = copy.deepcopy(body["status"])
        return self._store(resource, current)

    async def patch(
        self, resource: Resource, key: ObjectKey, patch: Any, *, field_manager: str = "", **_: Any
    ) -> Object:
        current = copy.deepcopy(self._must(resource, key))
        self.writes.append(("patch", resource.kind, str(key)))
        _merge(current, patch)
        return self._store(resource, current)

    async def delete(self, resource: Resource, key: ObjectKey, *, uid: str | None = None, **_: Any) -> None:
        current = copy.deepcopy(self._must(resource, key))
        if uid is not None and current["metadata"]["uid"] != uid:
            raise NotFound(404)
        self.writes.append(("delete", resource.kind, str(key)))
        current["metadata"].setdefault("deletionTimestamp", STARTED_AT)
        self._store(resource, current)

    # -- what tests use ----------------------------------------------------------------------------

    def put(self, resource: Resource, name: str, spec: Any = None, /, **metadata: Any) -> Object:
        """A user creates an object."""
        meta = {"name": name, "namespace": metadata.pop("namespace", NAMESPACE), **metadata}
        obj: Object = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta}
        if (resource, ObjectKey.of(obj)) in self.objects:
            raise AlreadyExists(409)
        if spec is not None:
            obj["spec"] = spec
        return self._store(resource, obj)

    def edit(self, resource: Resource, name: str, change: Object) -> Object:
        """A user edits an object: a merge patch, unseen by the write log."""
        key = ObjectKey(NAMESPACE, name)
        current = copy.deepcopy(self._must(resource, key))
        _merge(current, change)
        return self._store(resource, current)

    def remove(self, resource: Resource, name: str, *, at: str = STARTED_AT) -> None:
        """A user deletes an object; finalizers hold it.

        :param at: by the server's clock.
        """
        key = ObjectKey(NAMESPACE, name)
        current = copy.deepcopy(self._must(resource, key))
        current["metadata"].setdefault("deletionTimestamp", at)
        self._store(resource, current)

    def of(self, resource: Resource, name: str) -> Object:
        """The object as it is now."""
        return self._must(resource, ObjectKey(NAMESPACE, name))

    def has(self, resource: Resource, name: str) -> bool:
        """Whether the object exists."""
        return (resource, ObjectKey(NAMESPACE, name)) in self.objects

    def condition(self, resource: Resource, name: str, kind: str) -> Mapping[str, Any]:
        """A condition of an object; empty when it has none of this type."""
        conditions = (self.of(resource, name).get("status") or {}).get("conditions") or ()
        return next((c for c in conditions if c["type"] == kind), {})

    def _must(self, resource: Resource, key: ObjectKey) -> Object:
        try:
            return self.objects[resource, key]
        except KeyError:
            raise NotFound(404, message=f"{resource.kind} {key} not found") from None

    def _store(self, resource: Resource, obj: Object) -> Object:
        key = ObjectKey.of(obj)
        before = self.objects.get((resource, key))
        meta = obj["metadata"]
        self._serial += 1
        if before is None:
            meta["uid"] = f"uid-{self._serial}"
            meta["generation"] = 1
            meta.setdefault("creationTimestamp", STARTED_AT)
        elif before.get("spec") != obj.get("spec"):
            meta["generation"] = before["metadata"]["generation"] + 1
        meta["resourceVersion"] = str(self._serial)
        gone = "deletionTimestamp" in meta and not meta.get("finalizers")
        if gone:
            self.objects.pop((resource, key), None)
            self._applied.pop((resource, key), None)
        else:
            self.objects[resource, key] = obj
        if resource in self.informers:
            self.informers[resource].changed(obj, gone=gone)
        return copy.deepcopy(obj)


def _merge(target: Object, patch: Object) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            inner = target.setdefault(key, {})
            if isinstance(inner, dict):
                _merge(inner, value)
            else:
                target[key] = copy.deepcopy(value)
        else:
            target[key] = copy.deepcopy(value)


def _subtract(target: Object, before: Object, now: Object) -> None:
    """Fields applied before and not any more go, as server-side apply has it."""
    for key, value in before.items():
        if key not in now:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(now[key], dict) and isinstance(target.get(key), dict):
            _subtract(target[key], value, now[key])
