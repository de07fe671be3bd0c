"""PersistentVolumeClaims: each is bound to a directory of its own, which every size fits. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from informers.objects import Object

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


PROTECTION = "kubernetes.io/pvc-protection"
"""The finalizer every claim is born with."""


def used(claim: Object, pods: Iterable[Object]) -> bool:
    """Whether a pod that has not ended mounts the claim."""
    name = claim["metadata"]["name"]
    return any(
        (volume.get("persistentVolumeClaim") or {}).get("claimName") == name
        for pod in pods
        if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        for volume in pod["spec"].get("volumes") or ()
    )


def default_class(classes: Iterable[Object]) -> str | None:
    """The name of the default StorageClass, or ``None``."""
    names = [
        entry["metadata"]["name"]
        for entry in classes
        if (entry["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
    ]
    return min(names, default=None)


def spec_patch(claim: Object, storage_class: str | None) -> dict[str, Any]:
    """What a claim's spec still misses before it counts as bound: a class and a volume name."""
    spec = claim["spec"]
    patch: dict[str, Any] = {}
    if spec.get("storageClassName") is None and storage_class is not None:
        patch["storageClassName"] = storage_class
    if not spec.get("volumeName"):
        patch["volumeName"] = f"pvc-{claim['metadata']['uid']}"
    return patch


def bound_status(claim: Object) -> dict[str, Any]:
    """A bound claim's status; its capacity follows what is asked for, so that growing always works."""
    spec = claim["spec"]
    return {
        "phase": "Bound",
        "accessModes": list(spec.get("accessModes") or ()),
        "capacity": {"storage": spec["resources"]["requests"]["storage"]},
    }
