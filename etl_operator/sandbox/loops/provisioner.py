"""The claim loop: what an external provisioner and resizer do, and the volume binder where there is none.

A control plane with a binder of its own comes to the same objects: whoever is later finds nothing to do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Protocol

from etl_operator.sandbox.loops.claims import (
    PROTECTION,
    PROVISIONED_BY,
    PROVISIONER,
    bound_status,
    default_class,
    is_ours,
    spec_patch,
    used,
    volume,
)
from etl_operator.sandbox.loops.kinds import PVC, VOLUME
from etl_operator.sandbox.loops.writing import write_status
from informers.cache.informer import Informer
from informers.client import Client
from informers.errors import AlreadyExists, Conflict, NotFound
from informers.objects import Object, ObjectKey
from informers.views.view import View

CLAIM_INDEX = "claim"
"""The index that the informer of volumes needs: :func:`volumes_by_claim`."""


class Caches(Protocol):
    """What the loop reads."""

    classes: Informer
    claims: Informer
    pods: Informer
    volumes: Informer


def claim_of_volume(view: View) -> ObjectKey | None:
    """The key of the claim a volume of ours was made for."""
    if view.annotations.get(PROVISIONED_BY) != PROVISIONER:
        return None
    reference = view.object()["spec"]["claimRef"]
    return ObjectKey(reference["namespace"], reference["name"])


def volumes_by_claim(view: View) -> Iterable[str]:
    """The key of its claim, as text."""
    if key := claim_of_volume(view):
        yield str(key)


class Provisioner:
    """One look at a claim, and at the volumes made for it, per call of :meth:`sync`."""

    def __init__(self, client: Client, caches: Caches) -> None:
        self._client = client
        self._caches = caches

    async def sync(self, key: ObjectKey) -> None:
        """Bind the claim and let its volume follow its size; remove volumes whose claim is gone."""
        view = self._caches.claims.get(key)
        for one in self._caches.volumes.by_index(CLAIM_INDEX, str(key)):
            if view is None or one.object()["spec"]["claimRef"]["uid"] != view.uid:
                await self._remove(one)
        if view is None:
            return
        if view.deleting:
            await self._let_go(view)
        else:
            await self._provide(view.object())

    async def _provide(self, claim: Object) -> None:
        key = ObjectKey.of(claim)
        spec = {**claim["spec"]}
        classes = [one.object() for one in self._caches.classes.list()]
        patch = spec_patch(claim, default_class(classes))
        spec |= patch
        own = next((one for one in classes if one["metadata"]["name"] == spec.get("storageClassName")), None)
        if not is_ours(claim, own):
            return
        if not await self._provide_volume(volume({**claim, "spec": spec}, own)):
            return
        with contextlib.suppress(NotFound):
            if patch:
                claim = await self._client.patch(PVC, key, {"spec": patch})
            await write_status(self._client, self._caches.claims, claim, bound_status(claim))

    async def _provide_volume(self, wanted: Object) -> bool:
        """Make the volume and let it grow; false when there is one that is someone else's."""
        cache, key = self._caches.volumes, ObjectKey.of(wanted)
        view = cache.get(key)
        if view is not None:
            found = view.object()
        else:
            try:
                found = await self._client.create(VOLUME, wanted)
            except AlreadyExists:
                found = await self._client.get(VOLUME, key)
            cache.written(found)
        if (found["metadata"].get("annotations") or {}).get(PROVISIONED_BY) != PROVISIONER:
            return False
        capacity = wanted["spec"]["capacity"]
        if found["spec"]["capacity"] != capacity:
            found = await self._client.patch(VOLUME, key, {"spec": {"capacity": capacity}})
            cache.written(found)
        await write_status(self._client, cache, found, {"phase": "Bound"})
        return True

    async def _remove(self, view: View) -> None:
        if view.deleting:
            return
        with contextlib.suppress(NotFound, Conflict):
            if view.object()["spec"]["persistentVolumeReclaimPolicy"] == "Delete":
                await self._client.delete(VOLUME, view.key, uid=view.uid)
            else:
                await write_status(self._client, self._caches.volumes, view.object(), {"phase": "Released"})

    async def _let_go(self, view: View) -> None:
        """A deleted claim goes once no pod uses it."""
        pods = [one.object() for one in self._caches.pods.list(view.key.namespace)]
        if PROTECTION not in view.finalizers or used(view.object(), pods):
            return
        left = [one for one in view.finalizers if one != PROTECTION]
        identity = {"uid": view.uid, "resourceVersion": view.resource_version}
        with contextlib.suppress(NotFound):
            await self._client.patch(PVC, view.key, {"metadata": {**identity, "finalizers": left or None}})
