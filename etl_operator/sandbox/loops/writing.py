"""Writes that all loops make: the status of an object, and who owns it.

An object that is gone, or that another of its name has replaced, is left alone: the watch wakes the loop.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from informers.cache.informer import Informer
from informers.client import Client
from informers.errors import Conflict, NotFound
from informers.objects import Object, ObjectKey


async def write_status(client: Client, cache: Informer, obj: Object, status: Mapping[str, Any]) -> None:
    """Write these fields of an object's status, if one of them differs from ``obj``.

    :param cache: of the object's kind; it has the answer at once.
    """
    before = obj.get("status") or {}
    # What is zero, a server leaves out.
    if all((before.get(name) or 0) == (value or 0) for name, value in status.items()):
        return
    patch = {"metadata": {"uid": obj["metadata"]["uid"]}, "status": status}
    with contextlib.suppress(NotFound):
        cache.written(await client.patch(cache.resource, ObjectKey.of(obj), patch, subresource="status"))


async def set_owners(
    client: Client, cache: Informer, obj: Object, owners: Sequence[Mapping[str, Any]]
) -> None:
    """Replace the owner references of an object.

    :param cache: of the object's kind; it has the answer at once.
    """
    meta = {"uid": obj["metadata"]["uid"], "ownerReferences": list(owners)}
    with contextlib.suppress(NotFound, Conflict):
        cache.written(await client.patch(cache.resource, ObjectKey.of(obj), {"metadata": meta}))
