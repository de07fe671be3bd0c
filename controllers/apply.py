"""Server-side apply of children: only when something differs, never over somebody else's object."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from controllers.comparing import APPLIED_HASH, contains, digest
from informers.cache.informer import Informer
from informers.client import Client
from informers.controller.ownership import is_owned_by, owner_reference
from informers.controller.settled import Settled
from informers.errors import NotFound
from informers.objects import Object, ObjectKey, Resource

ADOPT_ANNOTATION = "etl.router/adopt"


class NameConflict(Exception):
    """A name is taken by an object that is not ours; the message says by which."""


class Outcome(Enum):
    """What :meth:`Applier.ensure` did."""

    UNCHANGED = "unchanged"
    CREATED = "created"
    UPDATED = "updated"
    ADOPTED = "adopted"
    TERMINATING = "terminating"
    """The old object is being deleted, or is about to be: it belonged to a former object of the owner's name.
    Nothing was sent."""


class Applier:
    """Keeps children as desired, under one field manager.

    :param informers: caches of the resources that are applied; what a cache lacks is asked of the server
        once more before anything is created.
    """

    def __init__(self, client: Client, informers: Mapping[Resource, Informer], field_manager: str) -> None:
        self._client = client
        self._informers = informers
        self._field_manager = field_manager
        self._settled = Settled()

    async def ensure(
        self, resource: Resource, desired: Object, owner: Object, owner_resource: Resource
    ) -> Outcome:
        """Make the server hold ``desired``, owned by ``owner``. A converged object costs no request.

        :raises NameConflict: when the name belongs to an object that ``owner`` does not own.
        """
        key = ObjectKey.of(desired)
        view, child = self._informers[resource].get(key), (resource, key)
        # All that the outcome depends on, besides the child itself.
        wish = (desired, owner["metadata"]["uid"])
        if view is not None and self._settled.holds(child, wish, view):
            return Outcome.UNCHANGED
        self._settled.forget(child)
        body = owned(desired, owner, owner_resource)
        observed = view.object() if view is not None else await self._ask(resource, key)
        if observed is None:
            await self._apply(resource, body)
            return Outcome.CREATED
        if "deletionTimestamp" in observed["metadata"] or _left_behind(observed, owner, owner_resource):
            return Outcome.TERMINATING
        adopted = _admit(resource, observed, owner)
        if not adopted and converged(body, observed):
            if view is not None:
                self._settled.remember(child, wish, view)
            return Outcome.UNCHANGED
        await self._apply(resource, body)
        return Outcome.ADOPTED if adopted else Outcome.UPDATED

    def pending(self, resource: Resource, desired: Object, owner: Object, owner_resource: Resource) -> bool:
        """Whether :meth:`ensure` would have to send something, as far as the cache knows. Sends nothing."""
        view = self._informers[resource].get(ObjectKey.of(desired))
        return view is None or not converged(owned(desired, owner, owner_resource), view.object())

    async def remove(self, resource: Resource, key: ObjectKey, owner: Object) -> bool:
        """Delete a child that is no longer wanted; objects of others stay. True when one was deleted."""
        view = self._informers[resource].get(key)
        if view is None or view.deleting or view.owner_uid != owner["metadata"]["uid"]:
            return False
        try:
            await self._client.delete(resource, key, uid=view.uid)
        except NotFound:
            return False
        return True

    async def _ask(self, resource: Resource, key: ObjectKey) -> Object | None:
        try:
            # A filtered or lagging cache may miss it, and applying over a foreign object would take it.
            return await self._client.get(resource, key)
        except NotFound:
            return None

    async def _apply(self, resource: Resource, body: Object) -> None:
        answer = await self._client.apply(resource, body, field_manager=self._field_manager, force=True)
        self._informers[resource].written(answer)


def owned(desired: Object, owner: Object, owner_resource: Resource) -> Object:
    """The body to apply: ``desired`` with its owner reference and the digest of itself."""
    metadata: dict[str, Any] = dict(desired["metadata"])
    metadata["ownerReferences"] = [owner_reference(owner, owner_resource)]
    annotations = dict(metadata.get("annotations") or {})
    annotations[APPLIED_HASH] = digest({**desired, "metadata": metadata})
    return {**desired, "metadata": {**metadata, "annotations": annotations}}


def converged(body: Object, observed: Object) -> bool:
    """Whether applying ``body`` (from :func:`owned`) could change anything.

    The digest notices fields that left the desired object; the comparison notices drift.
    """
    return contains(observed, body)


def _left_behind(observed: Object, owner: Object, owner_resource: Resource) -> bool:
    """Whether a former object of the owner's very name controls it: the garbage collector will fetch it."""
    meta = owner["metadata"]
    return observed["metadata"]["namespace"] == meta["namespace"] and any(
        ref.get("controller")
        and (ref["apiVersion"].partition("/")[0], ref["kind"]) == (owner_resource.group, owner_resource.kind)
        and ref["name"] == meta["name"]
        and ref["uid"] != meta["uid"]
        for ref in observed["metadata"].get("ownerReferences") or ()
    )


def _admit(resource: Resource, observed: Object, owner: Object) -> bool:
    """True when the object must be adopted, False when it is ours already."""
    if is_owned_by(observed, owner["metadata"]["uid"]):
        return False
    meta = observed["metadata"]
    name = f"{resource.kind} {meta['namespace']}/{meta['name']}"
    controller = next((ref for ref in meta.get("ownerReferences") or () if ref.get("controller")), None)
    if controller is not None:
        # Two controllers would fight for ever, so consent does not help here.
        raise NameConflict(f"{name} is controlled by {controller['kind']} {controller['name']}")
    consent = (meta, owner["metadata"])
    if not any((m.get("annotations") or {}).get(ADOPT_ANNOTATION) == "true" for m in consent):
        raise NameConflict(f'{name} exists and is not ours; annotate it with {ADOPT_ANNOTATION}: "true"')
    return True
