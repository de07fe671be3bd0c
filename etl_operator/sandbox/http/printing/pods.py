"""What ``kubectl get pods`` shows: one word for the state of all containers together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from etl_operator.sandbox.http.printing.cells import AGE, NAME, NONE, Column, meta, spec, status, text
from etl_operator.sandbox.http.printing.duration import age
from informers.objects import Object

_GATES = "readinessGates"


def _statuses(pod: Object, field: str = "containerStatuses") -> Sequence[Mapping[str, Any]]:
    return list(status(pod).get(field) or ())


def _beside(pod: Object) -> set[str]:
    """Init containers that continue beside the others."""
    init = spec(pod).get("initContainers") or ()
    return {str(one["name"]) for one in init if one.get("restartPolicy") == "Always"}


def _holds(pod: Object, kind: str) -> bool:
    conditions = status(pod).get("conditions") or ()
    return any(one.get("type") == kind and one.get("status") == "True" for one in conditions)


def _end(terminated: Mapping[str, Any]) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _initializing(pod: Object) -> str:
    """What the first init container that has not done its part is at; "" when all have."""
    beside, init = _beside(pod), spec(pod).get("initContainers") or ()
    for index, one in enumerate(_statuses(pod, "initContainerStatuses")):
        state = one.get("state") or {}
        terminated, waiting = state.get("terminated"), (state.get("waiting") or {}).get("reason")
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if one["name"] in beside and one.get("started"):
            continue
        if terminated is not None:
            return f"Init:{_end(terminated)}"
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        return f"Init:{index}/{len(init)}"
    return ""


def _of_containers(pod: Object) -> str:
    reason, running = "", False
    for one in reversed(_statuses(pod)):
        state = one.get("state") or {}
        if waiting := (state.get("waiting") or {}).get("reason"):
            reason = waiting
        elif state.get("terminated") is not None:
            reason = _end(state["terminated"])
        elif one.get("ready") and "running" in state:
            running = True
    if reason == "Completed" and running:
        return "Running" if _holds(pod, "Ready") else "NotReady"
    return reason


def _status(pod: Object, _: float) -> str:
    phase = status(pod).get("phase") or "Unknown"
    if meta(pod).get("deletionTimestamp") and phase not in ("Succeeded", "Failed"):
        # Nobody knows whether it still runs.
        return "Unknown" if status(pod).get("reason") == "NodeLost" else "Terminating"
    for condition in status(pod).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            return "SchedulingGated"
    reason = _initializing(pod)
    if not reason or _holds(pod, "Initialized"):
        reason = _of_containers(pod) or reason
    return reason or status(pod).get("reason") or phase


def _ready(pod: Object, _: float) -> str:
    beside = _beside(pod)
    counted = [one for one in _statuses(pod, "initContainerStatuses") if one["name"] in beside]
    ready = sum(1 for one in (*counted, *_statuses(pod)) if one.get("ready"))
    return f"{ready}/{len(spec(pod).get('containers') or ()) + len(beside)}"


def _restarts(pod: Object, now: float) -> str:
    init, beside = _statuses(pod, "initContainerStatuses"), _beside(pod)
    counted: Iterable[Mapping[str, Any]] = init
    if not _initializing(pod) or _holds(pod, "Initialized"):
        counted = [*(one for one in init if one["name"] in beside), *_statuses(pod)]
    restarts, ended = 0, []
    for one in counted:
        restarts += int(one.get("restartCount") or 0)
        ended.append(((one.get("lastState") or {}).get("terminated") or {}).get("finishedAt"))
    latest = max((when for when in ended if when), default=None)
    return f"{restarts} ({age(latest, now)} ago)" if restarts and latest else str(restarts)


def _gates(pod: Object, _: float) -> str:
    gates = spec(pod).get(_GATES) or ()
    return f"{sum(_holds(pod, gate['conditionType']) for gate in gates)}/{len(gates)}" if gates else NONE


POD = (
    NAME,
    Column("Ready", _ready),
    Column("Status", _status),
    Column("Restarts", _restarts),
    AGE,
    text("IP", "status", "podIP", wide=True),
    text("Node", "spec", "nodeName", wide=True),
    text("Nominated Node", "status", "nominatedNodeName", wide=True),
    Column("Readiness Gates", _gates, wide=True),
)
"""The columns of a pod."""
