"""What a ReplicaSet needs next. Pure: objects in, actions and a status out.

The rules are those of the real controller (``pkg/controller/replicaset``): as many pods as wanted, of those
that its selector selects and that it owns or nobody does; surplus pods go in the order in which their loss
matters least.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from etl_operator.sandbox.loops import pods as p
from etl_operator.sandbox.loops.kinds import POD, REPLICA_SET
from etl_operator.sandbox.loops.owners import owner_reference
from etl_operator.sandbox.loops.workloads import count_available, next_available, wanted
from informers.objects import Object

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_BURST = 500
"""Pods created or deleted in one step."""
_PHASES = ("Pending", "", "Unknown", "Running")


@dataclass(slots=True)
class PodPlan:
    """What to do now, in this order: adoptions, releases, pods to create and delete, status.

    :param create: bodies of pods, all alike.
    :param look_again_in: seconds until time alone changes the answer, or ``None``.
    """

    adopt: list[Object] = field(default_factory=list)
    release: list[Object] = field(default_factory=list)
    create: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    status: dict[str, Any] = field(default_factory=dict)
    look_again_in: float | None = None


def plan_pods(replica_set: Object, pods: Iterable[Object], now: float) -> PodPlan:
    """The next step for a ReplicaSet.

    :param pods: the namespace's.
    :param now: seconds since the epoch.
    """
    result = PodPlan()
    deleting = p.is_terminating(replica_set)
    uid, selector = replica_set["metadata"]["uid"], replica_set["spec"].get("selector")
    own: list[Object] = []
    for pod in pods:
        selected = p.matches(selector, pod["metadata"].get("labels") or {})
        if p.controller_uid(pod) == uid:
            if selected:
                own.append(pod)
            elif not deleting:
                result.release.append(pod)
        elif selected and not deleting and p.is_orphan(pod) and not p.is_finished(pod):
            result.adopt.append(pod)
    own += result.adopt
    active = [pod for pod in own if not p.is_finished(pod) and not p.is_terminating(pod)]
    if not deleting:
        difference = wanted(replica_set) - len(active)
        if difference > 0:
            result.create = [_new_pod(replica_set)] * min(difference, _BURST)
        else:
            ranked = _by_importance(active, own, now)
            result.delete = ranked[: min(-difference, _BURST)]
    result.status = _status(replica_set, active, now)
    result.look_again_in = next_available(replica_set, active, now)
    return result


def failed_condition(
    status: dict[str, Any], before: Object, problem: str | None, now: str
) -> list[dict[str, Any]]:
    """The conditions of a ReplicaSet: ``ReplicaFailure`` while pods cannot be created or deleted.

    :param problem: ``reason: message``, or ``None`` when nothing failed.
    """
    others = [dict(one) for one in status.get("conditions") or () if one["type"] != "ReplicaFailure"]
    if problem is None:
        return others
    reason, _, message = problem.partition(": ")
    known = p.condition(before, "ReplicaFailure")
    since = known.get("lastTransitionTime") if known.get("reason") == reason else None
    return [
        *others,
        {
            "type": "ReplicaFailure",
            "status": "True",
            "reason": reason,
            "message": message,
            "lastTransitionTime": since or now,
        },
    ]


def _new_pod(replica_set: Object) -> Object:
    template = replica_set["spec"]["template"]
    template_meta = template.get("metadata") or {}
    meta: dict[str, Any] = {
        "generateName": f"{replica_set['metadata']['name']}-",
        "namespace": replica_set["metadata"]["namespace"],
        "ownerReferences": [owner_reference(replica_set, REPLICA_SET)],
    }
    for name in ("labels", "annotations", "finalizers"):
        if template_meta.get(name):
            meta[name] = template_meta[name]
    return {"apiVersion": POD.api_version, "kind": POD.kind, "metadata": meta, "spec": template["spec"]}


def _by_importance(active: Sequence[Object], own: Sequence[Object], now: float) -> list[Object]:
    """The least important first, as ``ActivePodsWithRanks`` of the real controller sorts them."""
    crowd: dict[str, int] = {}
    for pod in own:
        if not p.is_finished(pod):
            node = str(pod["spec"].get("nodeName") or "")
            crowd[node] = crowd.get(node, 0) + 1

    def rank(pod: Object) -> tuple[Any, ...]:
        node = str(pod["spec"].get("nodeName") or "")
        ready = p.is_ready(pod)
        cost = str((pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0"))
        return (
            bool(node),
            _PHASES.index(p.phase(pod)) if p.phase(pod) in _PHASES else 0,
            ready,
            int(cost) if cost.lstrip("-").isdecimal() else 0,
            -crowd.get(node, 0),
            # Shorter ready, and created later, first; without a time: before all others.
            -(p.available_at(pod, 0) or now) if ready else 0.0,
            -_restarts(pod),
            -_created(pod, now),
            str(pod["metadata"].get("uid")),
        )

    return sorted(active, key=rank)


def _restarts(pod: Object) -> int:
    return max(
        (int(one.get("restartCount") or 0) for one in p.status_of(pod).get("containerStatuses") or ()),
        default=0,
    )


def _created(pod: Object, now: float) -> float:
    created = pod["metadata"].get("creationTimestamp")
    return p.seconds(str(created)) if created else now


def _status(replica_set: Object, active: Sequence[Object], now: float) -> dict[str, Any]:
    labels = (replica_set["spec"]["template"].get("metadata") or {}).get("labels") or {}
    ready = [pod for pod in active if p.is_ready(pod)]
    labelled = [
        pod for pod in active if p.matches({"matchLabels": labels}, pod["metadata"].get("labels") or {})
    ]
    return {
        "replicas": len(active),
        "fullyLabeledReplicas": len(labelled),
        "readyReplicas": len(ready),
        "availableReplicas": count_available(replica_set, ready, now),
        "observedGeneration": replica_set["metadata"].get("generation", 1),
    }
