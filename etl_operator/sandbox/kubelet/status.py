"""A pod's status, from what its containers are doing. Pure; times move only when what they time moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from informers.objects import Object


@dataclass(slots=True)
class ContainerRecord:
    """What is known of one container.

    :param state: as in the API: one of ``waiting``, ``running``, ``terminated``.
    :param finished: ended, and will not be started again.
    """

    spec: Mapping[str, Any]
    state: dict[str, Any] = field(default_factory=lambda: {"waiting": {"reason": "PodInitializing"}})
    last_state: dict[str, Any] = field(default_factory=dict)
    restarts: int = 0
    runs: int = 0
    started: bool = False
    ready: bool = False
    finished: bool = False
    container_id: str = ""

    @property
    def name(self) -> str:
        """Unique in its pod."""
        return str(self.spec["name"])

    def wait(self, reason: str, message: str = "") -> None:
        """It is not running, and this is why."""
        if "terminated" in self.state:
            self.last_state = self.state
        self.state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        self.started = self.ready = False

    def run(self, now: str, container_id: str) -> None:
        """It was started."""
        if "terminated" in self.state:
            self.last_state = self.state
        self.state = {"running": {"startedAt": now}}
        self.container_id = container_id
        self.runs += 1

    def end(self, now: str, code: int, reason: str = "", message: str = "") -> None:
        """It ended."""
        started = (self.state.get("running") or {}).get("startedAt", now)
        self.state = {
            "terminated": {
                "exitCode": code,
                "reason": reason or ("Completed" if code == 0 else "Error"),
                "startedAt": started,
                "finishedAt": now,
                "containerID": self.container_id,
                **({"message": message} if message else {}),
            }
        }
        self.started = self.ready = False

    @property
    def failed(self) -> bool:
        """Whether it ended with an error, permanently."""
        return self.finished and bool(self.state["terminated"]["exitCode"])

    def status(self) -> dict[str, Any]:
        """Its entry in ``containerStatuses``."""
        image = self.spec.get("image", "")
        entry: dict[str, Any] = {
            "name": self.name,
            "image": image,
            "imageID": f"sandbox://{image}" if self.runs else "",
            "state": self.state,
            "lastState": self.last_state,
            "restartCount": self.restarts,
            "ready": self.ready,
            "started": self.started,
        }
        if self.container_id:
            entry["containerID"] = self.container_id
        return entry


def recall(spec: Mapping[str, Any], statuses: Sequence[Mapping[str, Any]]) -> ContainerRecord:
    """A container's record when the node starts: what an earlier node ran has ended with it."""
    record = ContainerRecord(spec)
    before = next((entry for entry in statuses if entry["name"] == spec["name"]), None)
    if before is None:
        return record
    record.restarts = int(before.get("restartCount") or 0)
    record.last_state = dict(before.get("lastState") or {})
    record.container_id = str(before.get("containerID") or "")
    state = before.get("state") or {}
    if "running" in state:
        record.restarts += 1
        record.last_state = {
            "terminated": {
                "exitCode": 137,
                "reason": "Error",
                "message": "the sandbox stopped",
                "startedAt": state["running"].get("startedAt"),
                "containerID": record.container_id,
            }
        }
    elif "terminated" in state:
        record.state = dict(state)
        record.runs = 1
    return record


def pod_status(
    pod: Object,
    host: str,
    init: Sequence[ContainerRecord],
    containers: Sequence[ContainerRecord],
    now: str,
    started_at: str,
) -> dict[str, Any]:
    """The whole status.

    :param host: the pod's address.
    :param started_at: when the node took the pod on.
    """
    phase = _phase(init, containers)
    before = pod.get("status") or {}
    status: dict[str, Any] = {
        "phase": phase,
        "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}],
        "podIP": host,
        "podIPs": [{"ip": host}],
        "qosClass": before.get("qosClass", "BestEffort"),
        "startTime": before.get("startTime") or started_at,
        "conditions": _conditions(pod, phase, init, containers, now),
        "containerStatuses": [record.status() for record in containers],
    }
    if init:
        status["initContainerStatuses"] = [record.status() for record in init]
    return status


def _conditions(
    pod: Object,
    phase: str,
    init: Sequence[ContainerRecord],
    containers: Sequence[ContainerRecord],
    now: str,
) -> list[Any]:
    """The conditions of the kubelet, and after them those that others wrote."""
    before = pod.get("status") or {}
    unready = [record.name for record in containers if not record.ready]
    uninitialized = [record.name for record in init if not _passed(record)]
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or ()]
    closed = [kind for kind in gates if _condition(before, kind).get("status") != "True"]
    message = f"containers with unready status: [{' '.join(unready)}]" if unready else ""
    gate_message = (
        f'corresponding condition of pod readiness gate "{closed[0]}" is not True' if closed else ""
    )
    reason = "PodCompleted" if phase == "Succeeded" else "ContainersNotReady"
    facts: list[tuple[str, bool, str, str]] = [
        ("PodReadyToStartContainers", phase not in ("Succeeded", "Failed"), "", ""),
        (
            "Initialized",
            not uninitialized,
            "ContainersNotInitialized",
            f"containers with incomplete status: [{' '.join(uninitialized)}]",
        ),
        ("Ready", not unready and not closed, reason, message or gate_message),
        ("ContainersReady", not unready, reason, message),
        ("PodScheduled", True, "", ""),
    ]
    own = [_moved(_condition(before, kind), kind, holds, why, text, now) for kind, holds, why, text in facts]
    kinds = {kind for kind, *_ in facts}
    return own + [entry for entry in before.get("conditions") or () if entry["type"] not in kinds]


def _passed(record: ContainerRecord) -> bool:
    if record.spec.get("restartPolicy") == "Always":
        return record.started
    return record.finished and not record.failed


def _phase(init: Sequence[ContainerRecord], containers: Sequence[ContainerRecord]) -> str:
    if any(record.failed for record in init):
        return "Failed"
    if containers and all(record.finished for record in containers):
        return "Failed" if any(record.failed for record in containers) else "Succeeded"
    # Pending until every container was started once; a crash does not take a pod back.
    return "Running" if all(record.runs or record.restarts for record in containers) else "Pending"


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((entry for entry in status.get("conditions") or () if entry["type"] == kind), {})


def _moved(
    before: Mapping[str, Any], kind: str, holds: bool, reason: str, message: str, now: str
) -> dict[str, Any]:
    status = "True" if holds else "False"
    since = before.get("lastTransitionTime") if before.get("status") == status else None
    entry: dict[str, Any] = {"type": kind, "status": status, "lastTransitionTime": since or now}
    if not holds and reason:
        entry["reason"] = reason
    if not holds and message:
        entry["message"] = message
    return entry
