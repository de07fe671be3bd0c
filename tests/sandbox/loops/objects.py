"""Objects as the loops see them."""

from __future__ import annotations

from typing import Any

from etl_operator.sandbox.loops.revisions import LABEL, Revision, revision_of
from etl_operator.sandbox.loops.statefulset import new_pod, owner_of
from informers.objects import Object

UID = "set-uid"


def stateful_set(replicas: int = 3, *, image: str = "one", **spec: Any) -> Object:
    """A StatefulSet ``db`` with one claim template."""
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": "ns", "uid": UID, "generation": 4},
        "spec": {
            "replicas": replicas,
            "serviceName": "db-headless",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
            "volumeClaimTemplates": [
                {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
            ],
            **spec,
        },
    }


def pod_of(
    owner: Object,
    ordinal: int,
    *,
    ready: bool = True,
    revision: Revision | None = None,
    phase: str = "Running",
    terminating: bool = False,
    since: str = "2026-01-01T00:00:00Z",
) -> Object:
    """A pod of the set as the node reports it."""
    pod = new_pod(owner, revision or revision_of(owner), ordinal)
    pod["metadata"]["uid"] = f"pod-{ordinal}"
    if terminating:
        pod["metadata"]["deletionTimestamp"] = since
    pod["status"] = {
        "phase": phase,
        "podIP": f"127.1.0.{ordinal + 1}",
        "conditions": [
            {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": since}
        ],
    }
    return pod


def claim_of(ordinal: int, owners: list[Object] | None = None) -> Object:
    """A claim of an ordinal."""
    meta: Object = {"name": f"data-db-{ordinal}", "namespace": "ns", "uid": f"claim-{ordinal}"}
    if owners is not None:
        meta["ownerReferences"] = owners
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": {}}


def revision_label(pod: Object) -> str:
    """The revision a pod was made from."""
    return str(pod["metadata"]["labels"][LABEL])


def names(objects: list[Object]) -> list[str]:
    """Their names."""
    return [one["metadata"]["name"] for one in objects]


__all__ = ["UID", "claim_of", "names", "owner_of", "pod_of", "revision_label", "stateful_set"]
