"""PersistentVolumeClaims: each is bound to a volume of its own, a directory, which every size fits. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from informers.objects import Object

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
"""The annotation that says whose a volume is."""
PROVISIONER = "sandbox.etl.router/directory"
"""The provisioner of StorageClasses whose volumes are directories of the process node."""
OWN_CLASS: Object = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "standard", "annotations": {DEFAULT_CLASS: "true"}},
    "provisioner": PROVISIONER,
    "reclaimPolicy": "Delete",
    "allowVolumeExpansion": True,
}
"""The sandbox's own class, named as kind and minikube name theirs."""

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


def is_ours(claim: Object, storage_class: Object | None) -> bool:
    """Whether a claim gets a directory: unless its class is there, and another provisioner's.

    :param storage_class: the object of its class, if there is one.
    """
    return storage_class is None or storage_class["provisioner"] == PROVISIONER


def volume_name(claim: Object) -> str:
    """The name of a claim's volume."""
    return f"pvc-{claim['metadata']['uid']}"


def volume(claim: Object, storage_class: Object | None) -> Object:
    """The PersistentVolume of a claim, made for it alone."""
    meta, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume_name(claim), "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": list(spec.get("accessModes") or ()),
            "volumeMode": spec.get("volumeMode") or "Filesystem",
            "storageClassName": spec.get("storageClassName") or "",
            "persistentVolumeReclaimPolicy": (storage_class or {}).get("reclaimPolicy") or "Delete",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
            # Only the process node knows where the directory is.
            "csi": {"driver": "sandbox.etl.router", "volumeHandle": meta["uid"]},
        },
    }


def spec_patch(claim: Object, storage_class: str | None) -> dict[str, Any]:
    """What a claim's spec still misses before it counts as bound: a class and a volume name."""
    spec = claim["spec"]
    patch: dict[str, Any] = {}
    if spec.get("storageClassName") is None and storage_class is not None:
        patch["storageClassName"] = storage_class
    if not spec.get("volumeName"):
        patch["volumeName"] = volume_name(claim)
    return patch


def bound_status(claim: Object) -> dict[str, Any]:
    """A bound claim's status; its capacity follows what is asked for, so that growing always works."""
    spec = claim["spec"]
    return {
        "phase": "Bound",
        "accessModes": list(spec.get("accessModes") or ()),
        "capacity": {"storage": spec["resources"]["requests"]["storage"]},
    }
