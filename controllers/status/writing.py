"""The one place that writes a status."""

from __future__ import annotations

from typing import Any

from controllers.status.memory import StatusMemory
from informers.cache.informer import Informer
from informers.client import Client
from informers.errors import BadRequest, Conflict, Invalid, NotFound, ServerError
from informers.objects import Object, ObjectKey, Resource

_CONFLICTS = 3
"""Times a status is sent again because its object was changed meanwhile."""


def differs(resource: Resource, obj: Object, status: dict[str, Any], memory: StatusMemory) -> bool:
    """Whether :func:`write_status` would write."""
    return _differs(resource, obj, _storable(resource, status, memory), memory)


def _storable(resource: Resource, status: dict[str, Any], memory: StatusMemory) -> Object:
    return memory.storable(resource, {key: value for key, value in status.items() if value is not None})


def _differs(resource: Resource, obj: Object, wanted: Object, memory: StatusMemory) -> bool:
    return (obj.get("status") or {}) != wanted and not memory.stored_otherwise(resource, obj, wanted)


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
    wanted = _storable(resource, status, memory)
    if not _differs(resource, obj, wanted, memory):
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
        raise NotFound(404, "NotFound", f"{resource.kind} {meta['name']} was deleted or replaced")
    version: str = live["resourceVersion"]
    return version
