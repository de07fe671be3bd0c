"""Conditions while a status is put together, and the one place that writes a status."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from controllers.reasons import READY, RECONCILING, STALLED
from controllers.status_memory import StatusMemory
from informers.cache.informer import Informer
from informers.client import Client
from informers.conditions import get_condition, remove_condition, set_condition
from informers.errors import BadRequest, Conflict, Invalid, NotFound, ServerError
from informers.objects import Object, ObjectKey, Resource

_CONFLICTS = 3
"""Times a status is sent again because its object was changed meanwhile."""


def seconds_of(stamp: str) -> float:
    """Seconds since the epoch of an RFC 3339 timestamp."""
    return datetime.fromisoformat(stamp).timestamp()


class Conditions:
    """The conditions of one object, starting from those it has.

    :param generation: the generation the new verdicts are about.
    :param now: timestamp for transitions.
    """

    def __init__(self, obj: Object, generation: int, now: str) -> None:
        self._items: list[dict[str, Any]] = list((obj.get("status") or {}).get("conditions") or ())
        self._before = {item["type"]: item for item in self._items}
        self._generation = generation
        self._now = now

    def set(self, kind: str, status: bool | None, reason: str, message: str) -> None:
        """Set a condition; ``None`` is Unknown."""
        word = "Unknown" if status is None else str(status)
        self._items = set_condition(self._items, kind, word, reason, message, self._generation, self._now)

    def clear(self, *kinds: str) -> None:
        """Remove conditions that are only present when true."""
        for kind in kinds:
            self._items = remove_condition(self._items, kind)

    def ready(self, reason: str, message: str) -> None:
        """Everything is as asked: nothing is under way, nothing is stuck."""
        self.set(READY, True, reason, message)
        self.clear(RECONCILING, STALLED)

    def working(self, reason: str, message: str, *, unknown: bool = False) -> None:
        """Not there yet, and work (or a retry) is under way."""
        self.set(READY, None if unknown else False, reason, message)
        self.set(RECONCILING, True, reason, message)
        self.clear(STALLED)

    def stalled(self, reason: str, message: str) -> None:
        """Not there, and only a change by the user can help."""
        self.set(READY, False, reason, message)
        self.set(STALLED, True, reason, message)
        self.clear(RECONCILING)

    def has(self, kind: str) -> bool:
        """Whether the condition is present now."""
        return get_condition(self._items, kind) is not None

    def is_true(self, kind: str) -> bool:
        """Whether the condition is True now."""
        found = get_condition(self._items, kind)
        return found is not None and found["status"] == "True"

    def turned(self, kind: str) -> Mapping[str, Any] | None:
        """The condition if its status or reason differs from before, else ``None``."""
        now = get_condition(self._items, kind)
        before = self._before.get(kind)
        if now is None or (
            before is not None and (before["status"], before["reason"]) == (now["status"], now["reason"])
        ):
            return None
        return now

    def get(self, kind: str) -> Mapping[str, Any] | None:
        """The condition as it is now, or ``None``."""
        return get_condition(self._items, kind)

    def before(self, kind: str) -> Mapping[str, Any] | None:
        """The condition as it was when the object was read."""
        return self._before.get(kind)

    def was_ready(self) -> bool:
        """Whether the object, as it was read, was Ready at this very generation."""
        found = self._before.get(READY)
        return found is not None and (found["status"], found["observedGeneration"]) == (
            "True",
            self._generation,
        )

    def items(self) -> list[dict[str, Any]]:
        """For ``status.conditions``: sorted by type."""
        return self._items


async def write_status(
    client: Client,
    resource: Resource,
    informer: Informer,
    obj: Object,
    status: dict[str, Any],
    manager: str,
    memory: StatusMemory | None = None,
) -> bool:
    """Write ``status`` if it differs from what ``obj`` has. True when that changed the object.

    It is written to this very object: one that is gone, or whose name another object has by now, needs no
    status. Fields that the server refuses are left out, see :meth:`StatusMemory.health`.

    :param memory: what is known of earlier writes; nothing by default.
    :raises informers.errors.ApiError: when the server refuses more than single fields.
    """
    memory = memory or StatusMemory()
    wanted = memory.storable(resource, {key: value for key, value in status.items() if value is not None})
    if (obj.get("status") or {}) == wanted or memory.stored_otherwise(resource, obj, wanted):
        return False
    try:
        answer, sent = await _send(client, resource, obj["metadata"], wanted, manager, memory)
    except NotFound:
        memory.forget(resource, ObjectKey.of(obj))
        return False
    informer.written(answer)
    memory.wrote(resource, sent, answer)
    changed: bool = answer["metadata"].get("resourceVersion") != obj["metadata"].get("resourceVersion")
    return changed


async def _send(
    client: Client,
    resource: Resource,
    meta: Object,
    wanted: Object,
    manager: str,
    memory: StatusMemory,
) -> tuple[Object, Object]:
    """Apply a status, without what the server refuses of it; returns the answer, and what was sent last.

    :raises informers.errors.NotFound: when the object is gone, also when another one has its name.
    """
    # The uid alone does not do: a server takes the metadata of a custom resource's status from what it has
    # stored, and compares nothing but the version.
    version, conflicts = meta["resourceVersion"], 0
    while True:
        body = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta["uid"],
                "resourceVersion": version,
            },
            "status": wanted,
        }
        memory.sends(resource, ObjectKey(meta["namespace"], meta["name"]), wanted)
        try:
            return await client.update_status(resource, body, field_manager=manager), wanted
        except Conflict:
            conflicts += 1
            if conflicts > _CONFLICTS:
                raise
            version = await _version_now(client, resource, meta)
        except (BadRequest, Invalid, ServerError) as error:
            if not memory.learn(resource, error):
                raise
            # Every round leaves more fields out, so the rounds end.
            wanted = memory.storable(resource, wanted)


async def _version_now(client: Client, resource: Resource, meta: Object) -> str:
    """The present version of the object that was read.

    :raises informers.errors.NotFound: when it is gone.
    """
    # The operator may list its own kinds, for it watches them; to get one would take another right.
    name = f"metadata.name={meta['name']}"
    found = (await client.list(resource, namespace=meta["namespace"], field_selector=name)).items
    live = found[0]["metadata"] if found else {}
    if live.get("uid") != meta["uid"]:
        raise NotFound(404, "NotFound", f"{resource.kind} {meta['name']} is gone, or another object now")
    version: str = live["resourceVersion"]
    return version
