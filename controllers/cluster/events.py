"""Events of a cluster: one per transition, one warning per generation of a doubtful spec."""

from __future__ import annotations

from typing import Literal

from controllers.status import reasons as r
from controllers.status.conditions import Conditions
from etl_operator.api import EtlRouterCluster
from informers.events import EventRecorder
from informers.objects import Object

_QUORUM_TROUBLE = {r.QUORUM_LOST, r.NO_LEADER, r.SPLIT_BRAIN, r.UNREACHABLE, r.ADMIN_UNAVAILABLE}


def record_transitions(
    events: EventRecorder, obj: Object, conditions: Conditions, *, led: bool, own: bool
) -> None:
    """Record events for what changed between the conditions as read and as written.

    :param led: whether the cluster is known to have had a leader: a first quorum is not a restored one.
    :param own: whether the operator itself restarts a member without which there is no quorum.
    """
    for kind, reason, action, note in transitions(conditions, led=led, own=own):
        events.event(obj, type=kind, reason=reason, action=action, note=note)


def transitions(
    conditions: Conditions, *, led: bool, own: bool = False
) -> list[tuple[Literal["Normal", "Warning"], str, str, str]]:
    """Type, reason, action and note of every event a status change is worth. Pure."""
    found: list[tuple[Literal["Normal", "Warning"], str, str, str]] = []
    quorum = conditions.turned(r.QUORUM_HEALTHY)
    before = conditions.before(r.QUORUM_HEALTHY)
    had_quorum = before is not None and before["status"] == "True"
    if quorum and quorum["reason"] in _QUORUM_TROUBLE and (had_quorum or quorum["reason"] == r.SPLIT_BRAIN):
        # One reason for people to look for: the condition has the exact one.
        reason = r.SPLIT_BRAIN if quorum["reason"] == r.SPLIT_BRAIN else r.QUORUM_LOST
        if reason == r.SPLIT_BRAIN or not own:
            found.append(("Warning", reason, "Observe", quorum["message"]))
    elif led and quorum and quorum["status"] == "True" and before and before["status"] == "False":
        found.append(("Normal", r.QUORUM_RESTORED, "Observe", quorum["message"]))
    config = conditions.turned(r.CONFIG_APPLIED)
    if config and config["reason"] == r.ROLLING:
        found.append(("Normal", r.ROLLING, "Restart", config["message"]))
    paused = conditions.turned(r.PAUSED)
    if paused:
        found.append(("Normal", r.PAUSED, "Pause", paused["message"]))
    elif conditions.before(r.PAUSED) and not conditions.has(r.PAUSED):
        found.append(("Normal", r.RESUMED, "Resume", "the annotation etl.router/paused was removed"))
    ready = conditions.turned(r.READY)
    stalled = (
        r.TLS_NOT_READY,
        r.NAME_CONFLICT,
        r.VALIDATION_FAILED,
        r.SCALE_DOWN_UNSUPPORTED,
        r.SHRINK_UNSUPPORTED,
    )
    if ready and ready["reason"] in stalled:
        found.append(("Warning", ready["reason"], "Reconcile", ready["message"]))
    volumes = conditions.turned(r.VOLUMES_RESIZED)
    if volumes and volumes["reason"] == r.EXPANSION_UNSUPPORTED:
        found.append(("Warning", r.EXPANSION_FAILED, "Resize", volumes["message"]))
    return found


def record_warnings(events: EventRecorder, obj: Object, cluster: EtlRouterCluster) -> None:
    """Warn of a doubtful spec once per generation: when its first status is written."""
    if (obj.get("status") or {}).get("observedGeneration") == cluster.metadata.generation:
        return
    for reason, note in doubts(cluster):
        events.event(obj, type="Warning", reason=reason, action="Validate", note=note)


def doubts(cluster: EtlRouterCluster) -> list[tuple[str, str]]:
    """What is legal but probably not meant. Pure."""
    found: list[tuple[str, str]] = []
    replicas, raft = cluster.spec.replicas, cluster.spec.raft
    if replicas % 2 == 0:
        note = f"{replicas} members tolerate no more failures than {replicas - 1}; use an odd number"
        found.append((r.EVEN_REPLICAS, note))
    if raft.election_timeout_ms < 5 * raft.heartbeat_interval_ms:
        note = (
            f"spec.raft.electionTimeoutMs ({raft.election_timeout_ms}) is less than five times "
            f"heartbeatIntervalMs ({raft.heartbeat_interval_ms}); a short delay can cause an election"
        )
        found.append((r.TIGHT_ELECTION, note))
    return found
