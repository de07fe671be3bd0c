"""The status of a Deployment: counts, and the conditions Available, Progressing and ReplicaFailure. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etl_operator.sandbox.loops import pods as p
from etl_operator.sandbox.loops.deployment import Plan, bounds
from etl_operator.sandbox.loops.workloads import wanted
from informers.objects import Object

_NO_DEADLINE = 2**31 - 1
_COMPLETE = "NewReplicaSetAvailable"
_TIMED_OUT = "ProgressDeadlineExceeded"


@dataclass(frozen=True, slots=True)
class Rollout:
    """The whole status, and the seconds after which the progress deadline passes, or ``None``."""

    status: dict[str, Any]
    look_again_in: float | None


def rollout_status(
    deployment: Object, result: Plan, own: Sequence[Object], newest: Object | None, now: float, stamp: str
) -> Rollout:
    """What the status is to say.

    :param result: the step that is carried out.
    :param own: the Deployment's ReplicaSets as they are after it, ``newest`` among them.
    :param now: seconds since the epoch.
    :param stamp: the same as an RFC 3339 time.
    """
    counts = _counts(deployment, own, newest)
    conditions = _Conditions(deployment, stamp)
    _available(deployment, counts, conditions)
    _progressing(deployment, result, newest, counts, conditions, now)
    failures = [p.condition(one, "ReplicaFailure") for one in ([newest] if newest else []) + list(own)]
    failure = next((one for one in failures if one), None)
    if failure is None:
        conditions.drop("ReplicaFailure")
    else:
        conditions.set("ReplicaFailure", "True", str(failure.get("reason")), str(failure.get("message")))
    status = {**counts, "conditions": conditions.all()}
    return Rollout(status, _deadline_in(deployment, conditions.get("Progressing"), now))


class _Conditions:
    """Conditions by type, in the order in which they came; times move as the real controller moves them."""

    def __init__(self, deployment: Object, stamp: str) -> None:
        found = (deployment.get("status") or {}).get("conditions") or ()
        self._by_type: dict[str, dict[str, Any]] = {one["type"]: dict(one) for one in found}
        self._stamp = stamp

    def get(self, kind: str) -> Mapping[str, Any]:
        return self._by_type.get(kind, {})

    def drop(self, kind: str) -> None:
        self._by_type.pop(kind, None)

    def set(self, kind: str, status: str, reason: str, message: str, *, moved: bool = False) -> None:
        """:param moved: something happened, though status and reason are the same."""
        before = self._by_type.get(kind, {})
        if before.get("status") == status and before.get("reason") == reason and not moved:
            return
        since = before.get("lastTransitionTime") if before.get("status") == status else None
        self._by_type.pop(kind, None)
        self._by_type[kind] = {
            "type": kind,
            "status": status,
            "lastUpdateTime": self._stamp,
            "lastTransitionTime": since or self._stamp,
            "reason": reason,
            "message": message,
        }

    def all(self) -> list[dict[str, Any]]:
        return list(self._by_type.values())


def _counts(deployment: Object, own: Sequence[Object], newest: Object | None) -> dict[str, Any]:
    def of(one: Object | None, name: str) -> int:
        return int(((one or {}).get("status") or {}).get(name) or 0)

    def total(name: str) -> int:
        return sum(of(one, name) for one in own)

    counts: dict[str, Any] = {
        "observedGeneration": deployment["metadata"].get("generation", 1),
        "replicas": total("replicas"),
        "updatedReplicas": of(newest, "replicas"),
        "readyReplicas": total("readyReplicas"),
        "availableReplicas": total("availableReplicas"),
        "unavailableReplicas": max(0, sum(wanted(one) for one in own) - total("availableReplicas")),
    }
    collisions = (deployment.get("status") or {}).get("collisionCount")
    return counts if collisions is None else {**counts, "collisionCount": collisions}


def _available(deployment: Object, counts: Mapping[str, Any], conditions: _Conditions) -> None:
    if counts["availableReplicas"] >= wanted(deployment) - bounds(deployment)[1]:
        text = "Deployment has minimum availability."
        conditions.set("Available", "True", "MinimumReplicasAvailable", text)
    else:
        text = "Deployment does not have minimum availability."
        conditions.set("Available", "False", "MinimumReplicasUnavailable", text)


def _progressing(
    deployment: Object,
    result: Plan,
    newest: Object | None,
    counts: Mapping[str, Any],
    conditions: _Conditions,
    now: float,
) -> None:
    if _deadline(deployment) is None:
        conditions.drop("Progressing")
        return
    if _paused(deployment, conditions):
        return
    name = newest["metadata"]["name"] if newest is not None else ""
    known = conditions.get("Progressing")
    if result.create is not None:
        text = f'Created new replica set "{name}"'
        conditions.set("Progressing", "True", "NewReplicaSetCreated", text)
    elif newest is not None and not known:
        conditions.set("Progressing", "True", "FoundNewReplicaSet", f'Found new replica set "{name}"')
    known = conditions.get("Progressing")
    if known.get("reason") == _COMPLETE and counts["replicas"] == counts["updatedReplicas"]:
        return
    what = f'ReplicaSet "{name}"' if name else f'Deployment "{deployment["metadata"]["name"]}"'
    size = wanted(deployment)
    if counts["replicas"] == counts["updatedReplicas"] == counts["availableReplicas"] == size:
        conditions.set("Progressing", "True", _COMPLETE, f"{what} has successfully progressed.")
    elif _progressed(deployment.get("status") or {}, counts):
        conditions.set("Progressing", "True", "ReplicaSetUpdated", f"{what} is progressing.", moved=True)
    elif _deadline_passed(deployment, known, now):
        conditions.set("Progressing", "False", _TIMED_OUT, f"{what} has timed out progressing.")


def _paused(deployment: Object, conditions: _Conditions) -> bool:
    """Note the begin and the end of a pause, which stops the clock of the deadline."""
    known = conditions.get("Progressing")
    if known.get("reason") == _TIMED_OUT:
        return bool(deployment["spec"].get("paused"))
    if deployment["spec"].get("paused"):
        conditions.set("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
        return True
    if known.get("reason") == "DeploymentPaused":
        conditions.set("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed")
    return False


def _progressed(before: Mapping[str, Any], counts: Mapping[str, Any]) -> bool:
    def old(name: str) -> int:
        return int(before.get(name) or 0)

    return bool(
        counts["updatedReplicas"] > old("updatedReplicas")
        or counts["replicas"] - counts["updatedReplicas"] < old("replicas") - old("updatedReplicas")
        or counts["readyReplicas"] > old("readyReplicas")
        or counts["availableReplicas"] > old("availableReplicas")
    )


def _deadline(deployment: Object) -> int | None:
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    return None if seconds is None or seconds == _NO_DEADLINE else int(seconds)


def _deadline_in(deployment: Object, known: Mapping[str, Any], now: float) -> float | None:
    """Seconds until the deadline passes if nothing happens."""
    seconds = _deadline(deployment)
    settled = (_COMPLETE, _TIMED_OUT, "DeploymentPaused")
    if seconds is None or not known or known.get("reason") in settled:
        return None
    return max(0.0, p.seconds(str(known["lastUpdateTime"])) + seconds - now)


def _deadline_passed(deployment: Object, known: Mapping[str, Any], now: float) -> bool:
    left = _deadline_in(deployment, known, now)
    return left is not None and left <= 0
