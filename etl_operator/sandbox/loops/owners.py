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
