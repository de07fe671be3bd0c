"""Server-side apply of children: only when something differs, never over someone else's object.

What counts as different is decided by what the server stored, not by what was sent: see
:mod:`controllers.applying.overridden`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from controllers.applying.comparing import (
    APPLIED_HASH,
    Difference,
    contains,
    differences,
    digest,
    without_empty_texts,
)
from controllers.applying.overridden import Overridden
from informers.cache.informer import Informer
from informers.client import Client
from informers.clock import Clock
from informers.controller.ownership import is_owned_by, owner_reference
from informers.controller.settled import Settled
from informers.controller.versions import owners
from informers.errors import NotFound
from informers.objects import Object, ObjectKey, Resource

ADOPT_ANNOTATION = "etl.router/adopt"

_LONGEST_VALUE = 80
"""Characters of a value that are shown to people."""


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
    :param clock: paces corrections that are undone each time.
    :param overridden: called with an owner and a sentence for people when a child does not keep a value that
        was sent; once for each field.
    """

    def __init__(
        self,
        client: Client,
        informers: Mapping[Resource, Informer],
        field_manager: str,
        *,
        clock: Clock,
        overridden: Callable[[Object, str], None],
    ) -> None:
        self._client = client
        self._informers = informers
        self._field_manager = field_manager
        self._settled = Settled()
        self._overridden = Overridden(clock)
        self._report = overridden
        self._children: dict[ObjectKey, set[tuple[Resource, ObjectKey]]] = {}

    async def ensure(
        self, resource: Resource, desired: Object, owner: Object, owner_resource: Resource
    ) -> Outcome:
        """Make the server hold ``desired``, owned by ``owner``. A converged object costs no request.

        :raises NameConflict: when the name belongs to an object that ``owner`` does not own.
        """
        key = ObjectKey.of(desired)
        view, child = self._informers[resource].get(key), (resource, key)
        # All that the outcome depends on, besides the child itself.
        inputs = (desired, owner["metadata"]["uid"])
        if view is not None and self._settled.holds(child, inputs, view):
            return Outcome.UNCHANGED
        self._settled.forget(child)
        self._children.setdefault(ObjectKey.of(owner), set()).add(child)
        body = owned(desired, owner, owner_resource)
        observed = view.object() if view is not None else await self._ask(resource, key)
        if observed is None:
            await self._apply(resource, body, owner, ())
            return Outcome.CREATED
        if "deletionTimestamp" in observed["metadata"] or _left_behind(observed, owner, owner_resource):
            return Outcome.TERMINATING
        adopted = _admit(resource, observed, owner)
        found = () if contains(observed, body) else tuple(differences(observed, body))
        if not adopted and (not found or self._overridden.known(child, found)):
            # A correction that only rests is looked at again: time alone makes it due.
            if view is not None and not found:
                self._settled.remember(child, inputs, view)
            return Outcome.UNCHANGED
        answer = await self._apply(resource, body, owner, found)
        if adopted:
            return Outcome.ADOPTED
        if _version(answer) != _version(observed):
            return Outcome.UPDATED
        # The server says itself that sending it changes nothing.
        if view is not None:
            self._settled.remember(child, inputs, view)
        return Outcome.UNCHANGED

    def pending(self, resource: Resource, desired: Object, owner: Object, owner_resource: Resource) -> bool:
        """Whether :meth:`ensure` would have to send something, as far as the cache knows. Sends nothing."""
        key = ObjectKey.of(desired)
        view = self._informers[resource].get(key)
        if view is None:
            return True
        found = tuple(differences(view.object(), owned(desired, owner, owner_resource)))
        return bool(found) and not self._overridden.known((resource, key), found)

    def forget(self, owner: ObjectKey) -> None:
        """An owner is gone; nothing about its children needs to be remembered."""
        for child in self._children.pop(owner, ()):
            self._settled.forget(child)
            self._overridden.forget(child)

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

    async def _apply(
        self, resource: Resource, body: Object, owner: Object, found: Sequence[Difference]
    ) -> Object:
        answer = await self._client.apply(resource, body, field_manager=self._field_manager, force=True)
        self._informers[resource].written(answer)
        child = (resource, ObjectKey.of(body))
        left = tuple(differences(answer, body))
        for one in self._overridden.written(child, found, left):
            self._report(owner, _sentence(resource, answer, one, self._field_manager, kept=not left))
        return answer


def owned(desired: Object, owner: Object, owner_resource: Resource) -> Object:
    """The body to apply: ``desired`` without empty texts, with its owner reference and the digest of itself.

    The digest notices fields that left the desired object; comparing alone would not.
    """
    desired = without_empty_texts(desired)
    metadata: dict[str, Any] = dict(desired["metadata"])
    metadata["ownerReferences"] = [owner_reference(owner, owner_resource)]
    annotations = dict(metadata.get("annotations") or {})
    annotations[APPLIED_HASH] = digest({**desired, "metadata": metadata})
    return {**desired, "metadata": {**metadata, "annotations": annotations}}


def _version(obj: Object) -> tuple[Any, Any]:
    return obj["metadata"].get("uid"), obj["metadata"].get("resourceVersion")


def _sentence(resource: Resource, answer: Object, one: Difference, manager: str, *, kept: bool) -> str:
    """What differs, where, and by whom, for people.

    :param kept: the server keeps what is sent, and someone changes it afterwards.
    """
    meta = answer["metadata"]
    where = f"{resource.kind} {meta['namespace']}/{meta['name']}: {one.field}"
    others = ", ".join(sorted(owners(answer, one.path) - {manager}))
    if kept:
        return (
            f"{where} is changed from {_shown(one.sent)} to {_shown(one.stored)} after every correction"
            "; the operator corrects it at growing intervals"
        )
    return f"{where} is {_shown(one.stored)} instead of {_shown(one.sent)}, set by " + (
        others or "a policy or webhook of the API server"
    )


def _shown(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


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
        # Two controllers would fight forever, so consent does not help here.
        raise NameConflict(f"{name} is controlled by {controller['kind']} {controller['name']}")
    consent = (meta, owner["metadata"])
    if not any((m.get("annotations") or {}).get(ADOPT_ANNOTATION) == "true" for m in consent):
        raise NameConflict(
            f'{name} exists and has another owner; to adopt it, annotate it with {ADOPT_ANNOTATION}: "true"'
        )
    return True
