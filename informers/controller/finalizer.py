"""Finalizers: hold an object until its remote state is gone.

A list in a merge patch replaces the whole list, so every patch here says which version it was made from:
a finalizer that someone else added or removed meanwhile is a ``Conflict``, never lost.
"""

from __future__ import annotations

from informers.client import Client
from informers.errors import NotFound
from informers.objects import Object, ObjectKey, Resource


async def add_finalizer(
    client: Client, resource: Resource, obj: Object, name: str, *, field_manager: str = ""
) -> Object | None:
    """Add a finalizer; the object as the server then has it, or ``None`` when it was there already.

    :param obj: the object as read, with its ``resourceVersion``; it is not changed.
    :raises informers.errors.Conflict: when the object has changed since; read again and retry.
    :raises informers.errors.NotFound: when it is gone.
    """
    finalizers = _finalizers(obj)
    if name in finalizers:
        return None
    return await _patch(client, resource, obj, [*finalizers, name], field_manager)


async def remove_finalizer(
    client: Client, resource: Resource, obj: Object, name: str, *, field_manager: str = ""
) -> Object | None:
    """Remove a finalizer; the object as the server then has it, or ``None`` when there was nothing to remove.

    An object that is gone has no finalizers, which is no error.

    :param obj: the object as read, with its ``resourceVersion``; it is not changed.
    :raises informers.errors.Conflict: when the object has changed since; read again and retry.
    """
    finalizers = _finalizers(obj)
    if name not in finalizers:
        return None
    try:
        return await _patch(client, resource, obj, [one for one in finalizers if one != name], field_manager)
    except NotFound:
        return None


def _finalizers(obj: Object) -> list[str]:
    return list(obj["metadata"].get("finalizers") or ())


async def _patch(
    client: Client, resource: Resource, obj: Object, finalizers: list[str], field_manager: str
) -> Object:
    metadata = obj["metadata"]
    precondition = {field: metadata[field] for field in ("resourceVersion", "uid") if metadata.get(field)}
    patch = {"metadata": {**precondition, "finalizers": finalizers or None}}
    return await client.patch(resource, ObjectKey.of(obj), patch, field_manager=field_manager)
