"""The status of PodDisruptionBudgets, from which evictions are allowed or refused. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from etl_operator.sandbox.loops import pods as p
from etl_operator.sandbox.loops.workloads import wanted
from informers.objects import Object


def budget_status(
    budget: Object, pods: Iterable[Object], scales: Mapping[str, tuple[str, int]], now: str
) -> dict[str, Any]:
    """The whole status of a budget.

    :param pods: those of its namespace.
    :param scales: see :func:`scales_of`.
    :param now: RFC 3339 time for a condition that moves.
    """
    chosen = [
        pod
        for pod in pods
        if not p.is_finished(pod)
        and p.matches(budget["spec"].get("selector"), pod["metadata"].get("labels") or {})
    ]
    healthy = sum(p.is_healthy(pod) for pod in chosen)
    expected, desired = _desired(budget["spec"], chosen, scales)
    allowed = max(0, healthy - desired) if expected else 0
    return {
        "observedGeneration": budget["metadata"].get("generation", 1),
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "disruptionsAllowed": allowed,
        "conditions": [_condition(budget, allowed, now)],
    }


def scales_of(
    stateful_sets: Iterable[Object], replica_sets: Iterable[Object], deployments: Iterable[Object]
) -> dict[str, tuple[str, int]]:
    """By the uid of a pod's controller: the uid of what is scaled, and its replicas.

    Of a ReplicaSet that a Deployment owns, the Deployment is scaled: while it rolls, all its ReplicaSets
    together have its replicas.
    """
    scales = {one["metadata"]["uid"]: (one["metadata"]["uid"], wanted(one)) for one in stateful_sets}
    above = {one["metadata"]["uid"]: wanted(one) for one in deployments}
    for one in replica_sets:
        uid, owner = one["metadata"]["uid"], p.controller_uid(one)
        scales[uid] = (owner, above[owner]) if owner in above else (uid, wanted(one))
    return scales


def _desired(
    spec: Mapping[str, Any], chosen: list[Object], scales: Mapping[str, tuple[str, int]]
) -> tuple[int, int]:
    """Pods there should be, and how many of them must stay healthy."""
    owners = {p.controller_uid(pod) for pod in chosen}
    scaled = sum(dict(scales[uid] for uid in owners if uid in scales).values())
    loose = sum(p.controller_uid(pod) not in scales for pod in chosen)
    if spec.get("maxUnavailable") is not None:
        expected = scaled + loose
        return expected, max(0, expected - _share(spec["maxUnavailable"], expected))
    minimum = spec.get("minAvailable", 1)
    if isinstance(minimum, int):
        return len(chosen), minimum
    expected = scaled + loose
    return expected, _share(minimum, expected)


def _share(value: int | str, total: int) -> int:
    """A number, or a percentage of the total rounded up."""
    if isinstance(value, int):
        return value
    return math.ceil(int(value.removesuffix("%")) * total / 100)


def _condition(budget: Object, allowed: int, now: str) -> dict[str, Any]:
    status = "True" if allowed else "False"
    before = p.condition(budget, "DisruptionAllowed")
    since = before.get("lastTransitionTime") if before.get("status") == status else None
    return {
        "type": "DisruptionAllowed",
        "status": status,
        "reason": "SufficientPods" if allowed else "InsufficientPods",
        "message": "",
        "observedGeneration": budget["metadata"].get("generation", 1),
        "lastTransitionTime": since or now,
    }
