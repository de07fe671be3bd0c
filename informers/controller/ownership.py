"""Owner references: who made an object, and with whom it goes."""

from __future__ import annotations

from typing import Any

from informers.objects import Object, Resource


def owner_reference(owner: Object, resource: Resource) -> dict[str, Any]:
    """The reference that makes ``owner`` the controller of an object in its own namespace.

    :param resource: what ``owner`` is; cached objects need not carry their type.
    """
    metadata = owner["metadata"]
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_owned_by(obj: Object, uid: str) -> bool:
    """Whether the controller of ``obj`` is the object with this uid. Other owners do not count."""
    references = obj["metadata"].get("ownerReferences") or ()
    return any(ref.get("controller") and ref.get("uid") == uid for ref in references)
