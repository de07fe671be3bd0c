"""Owner references of what the controllers of the sandbox create."""

from __future__ import annotations

from typing import Any

from informers.objects import Object, Resource


def owner_reference(owner: Object, resource: Resource) -> dict[str, Any]:
    """The reference by which an owner controls what it has created.

    :param resource: what ``owner`` is; cached objects need not carry their type.
    """
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def owners_without(obj: Object, owner: Object) -> list[dict[str, Any]]:
    """The owner references of an object, except the one to this owner."""
    uid = owner["metadata"]["uid"]
    return [dict(one) for one in obj["metadata"].get("ownerReferences") or () if one["uid"] != uid]
