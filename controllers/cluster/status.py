"""The status of a router cluster, computed from facts. Pure; reasons and messages are decided here."""

from __future__ import annotations

from typing import Any

from controllers.cluster.children import key_of, ports
from controllers.cluster.observation import Observation
from controllers.cluster.rollout import Members, outdated
from controllers.members import naming
from controllers.members.facts import Consensus, NodeFacts
from controllers.status import reasons as r
from controllers.status.conditions import Conditions
from etl_operator.api import EtlRouterCluster
from etl_operator.api.cluster import ClusterStatus
from etl_operator.api.fitting import fitted
from informers.clock import timestamp


def cluster_status(cluster: EtlRouterCluster, seen: Observation, conditions: Conditions) -> dict[str, Any]:
    """The whole ``status``; sets the conditions on the way."""
    _quorum_conditions(seen, conditions)
    _config_condition(cluster, seen, conditions)
    _volume_condition(cluster, seen, conditions)
    if seen.paused:
        conditions.set(r.PAUSED, True, r.PAUSED, "etl.router/paused is set: the operator makes no changes")
    else:
        conditions.clear(r.PAUSED)
    _ready_condition(cluster, seen, conditions)
    return fitted(ClusterStatus, _figures(cluster, seen) | {"conditions": conditions.items()})


def _figures(cluster: EtlRouterCluster, seen: Observation) -> dict[str, Any]:
    key = key_of(cluster)
    consensus = seen.consensus
    live_status = (seen.stateful_set or {}).get("status") or {}
    revision = seen.update_revision
    leader = consensus.leader_id
    return {
        "observedGeneration": cluster.metadata.generation,
        "replicas": len(seen.pods),
        "readyReplicas": len(seen.answering),
        "updatedReplicas": sum(bool(revision) and pod.revision == revision for pod in seen.pods),
        "selector": naming.selector_string(naming.selector_labels(key.name)),
        "leaderId": leader or None,
        "leaderPod": naming.pod_name(key.name, leader - 1) if leader else None,
        "term": consensus.term if consensus.answered else None,
        "commitIndex": consensus.commit_index if consensus.answered else None,
        "clusterHealth": consensus.health,
        "nodes": [_node(key.name, node, seen) for node in seen.nodes],
        "certificates": [
            {"name": one.secret, "key": one.key, "notAfter": timestamp(one.not_after)}
            for one in seen.certificates.known
        ]
        or None,
        "endpoint": f"{key.name}.{key.namespace}.svc.{seen.domain}:{ports(cluster)['grpc']}",
        "protocol": seen.protocol or None,
        "buffer": _buffer(cluster, seen),
        "currentRevision": _revision_before(seen) or live_status.get("currentRevision"),
        "updateRevision": live_status.get("updateRevision"),
    }


def _buffer(cluster: EtlRouterCluster, seen: Observation) -> dict[str, Any]:
    kind, answered = cluster.spec.buffer.type, [node for node in seen.nodes if node.answered]
    if kind == "Memory" or not answered:
        return {"type": kind}
    troubles = [
        f"{naming.pod_name(cluster.metadata.name, node.ordinal)}: {node.buffer_trouble}"
        for node in answered
        if node.buffer_trouble
    ]
    return {"type": kind, "healthy": not troubles} | ({"message": "; ".join(troubles)} if troubles else {})


def _revision_before(seen: Observation) -> str:
    """The template that pods still run. With OnDelete the StatefulSet itself never moves its word on it."""
    old = outdated(seen.pods, seen.update_revision) if seen.update_revision else []
    return old[0].revision if old else seen.update_revision


def _node(cluster: str, node: NodeFacts, seen: Observation) -> dict[str, Any]:
    number = naming.node_id(node.ordinal)
    return {
        "nodeId": number,
        "podName": naming.pod_name(cluster, node.ordinal),
        "address": node.address,
        "role": seen.consensus.roles.get(number, "Unknown"),
        "healthy": number in seen.consensus.following,
        "matchIndex": seen.consensus.match.get(number, 0),
    }


def _quorum_conditions(seen: Observation, conditions: Conditions) -> None:
    ok, reason, message = quorum_verdict(seen.consensus)
    if seen.blind:
        ok, reason, message = None, r.TLS_NOT_READY, f"members cannot be called: {seen.blind}"
    if ok is False and seen.momentary and conditions.is_true(r.QUORUM_HEALTHY):
        ok, reason, message = True, r.QUORUM_HEALTHY, f"an election can be in progress: {message}"
    conditions.set(r.QUORUM_HEALTHY, ok, reason, message)
    conditions.set(r.AVAILABLE, ok, r.AVAILABLE if ok else reason, message)


def quorum_verdict(consensus: Consensus) -> tuple[bool | None, str, str]:
    """Status, reason and message of ``QuorumHealthy``."""
    if consensus.split:
        nodes = " and ".join(map(str, consensus.split))
        return (
            False,
            r.SPLIT_BRAIN,
            f"nodes {nodes} both report that they lead in the same term; until this ends, no pipeline is "
            "changed and no member restarted",
        )
    if consensus.quorate:
        following, members = len(consensus.following), consensus.members
        return True, r.QUORUM_HEALTHY, f"{following} of {members} members follow node {consensus.leader_id}"
    if consensus.unimplemented and not consensus.answered:
        return None, r.ADMIN_UNAVAILABLE, f"the router does not serve RouterAdmin: {consensus.error}"
    if not consensus.answered:
        if consensus.error:
            return False, r.UNREACHABLE, f"no member answers: {consensus.error}"
        return None, r.PROGRESSING, "no member is running yet"
    counted = f"{consensus.answered} of {consensus.members} members answer"
    if consensus.leader_id:
        return False, r.QUORUM_LOST, f"{counted}, too few follow node {consensus.leader_id}"
    return False, r.NO_LEADER, f"{counted}, there is no leader"


def _config_condition(cluster: EtlRouterCluster, seen: Observation, conditions: Conditions) -> None:
    if seen.stateful_set is None or not seen.update_revision:
        conditions.set(
            r.CONFIG_APPLIED,
            None,
            r.PROGRESSING,
            "the StatefulSet controller has not observed the new template yet",
        )
        return
    old = outdated(seen.pods, seen.update_revision)
    if not old:
        conditions.set(r.CONFIG_APPLIED, True, r.CONFIG_APPLIED, "every pod runs the current template")
        return
    counted = f"{len(old)} of {len(seen.pods)} pods run an older template"
    if cluster.spec.update_strategy == "OnDelete":
        conditions.set(r.CONFIG_APPLIED, False, r.WAITING_FOR_DELETE, _on_delete_message(seen))
    elif seen.step.restart.blocked and not seen.paused:
        message = f"{counted}; waiting: {seen.step.restart.blocked}"
        conditions.set(r.CONFIG_APPLIED, False, r.ROLLING, message)
    else:
        conditions.set(r.CONFIG_APPLIED, False, r.ROLLING, counted)


def _on_delete_message(seen: Observation) -> str:
    old = outdated(seen.pods, seen.update_revision)
    names = ", ".join(pod.name for pod in old)
    counted = f"{len(old)} of {len(seen.pods)} pods run an older template"
    return f"{counted}; updateStrategy is OnDelete: delete {names}"


def _volume_condition(cluster: EtlRouterCluster, seen: Observation, conditions: Conditions) -> None:
    size = cluster.spec.storage.size
    plan = seen.volumes
    if plan.shrink:
        message = f"{', '.join(plan.shrink)} are larger than {size}; volumes cannot shrink"
        conditions.set(r.VOLUMES_RESIZED, False, r.SHRINK_UNSUPPORTED, message)
    elif seen.volumes_error:
        conditions.set(r.VOLUMES_RESIZED, False, r.EXPANSION_UNSUPPORTED, seen.volumes_error)
    elif plan.growing:
        conditions.set(r.VOLUMES_RESIZED, False, r.RESIZING, _growth_message(cluster, seen))
    else:
        conditions.set(r.VOLUMES_RESIZED, True, r.VOLUMES_RESIZED, f"every volume has {size}")


def _growth_message(cluster: EtlRouterCluster, seen: Observation) -> str:
    plan = seen.volumes
    parts = [f"{', '.join(plan.growing)} are being resized to {cluster.spec.storage.size}"]
    if plan.grow and seen.step.waiting:
        parts.append(f"waiting: {seen.step.waiting}")
    if plan.unbound:
        parts.append(f"{', '.join(plan.unbound)} when bound")
    if plan.at_start:
        parts.append(f"the file system of {', '.join(plan.at_start)} is resized when the pod starts")
        pods = ", ".join(name for name in seen.at_start(cluster.metadata.name) if name not in seen.in_vain)
        if pods and cluster.spec.update_strategy == "OnDelete":
            parts.append(f"updateStrategy is OnDelete: delete {pods}")
        elif pods:
            parts.append(f"{pods} are restarted one at a time")
        if seen.in_vain:
            names = ", ".join(sorted(seen.in_vain))
            parts.append(f"{names} were restarted, but not resized: check the storage driver")
    return "; ".join(parts)


def _ready_condition(cluster: EtlRouterCluster, seen: Observation, conditions: Conditions) -> None:
    if seen.certificates.problem:
        # What is missing may be on its way: nobody is to give up for that.
        say = conditions.working if seen.certificates.missing else conditions.stalled
        return say(r.TLS_NOT_READY, seen.certificates.problem)
    if seen.blind:
        return conditions.stalled(r.TLS_NOT_READY, seen.blind)
    if seen.conflict:
        return conditions.stalled(r.NAME_CONFLICT, seen.conflict)
    if seen.refused:
        return conditions.stalled(r.VALIDATION_FAILED, seen.refused)
    if seen.consensus.split:
        return conditions.stalled(r.SPLIT_BRAIN, quorum_verdict(seen.consensus)[2])
    if seen.members.refused:
        return conditions.stalled(r.SCALE_DOWN_UNSUPPORTED, scale_down_message(cluster, seen.members))
    if seen.volumes.shrink or seen.volumes_error:
        reason = r.SHRINK_UNSUPPORTED if seen.volumes.shrink else r.EXPANSION_UNSUPPORTED
        why = seen.volumes_error or f"volumes cannot shrink to {cluster.spec.storage.size}"
        return conditions.stalled(reason, why)
    if seen.held_back:
        return conditions.stalled(r.PAUSED, "etl.router/paused is set, and changes are pending")
    return _progress_condition(cluster, seen, conditions)


def _progress_condition(cluster: EtlRouterCluster, seen: Observation, conditions: Conditions) -> None:
    wanted = cluster.spec.replicas
    ready = len(seen.answering)
    if seen.absent and len(seen.pods) < seen.members.target:
        absent = f"{seen.members.target - len(seen.pods)} of {wanted} pods cannot be created: {seen.absent}"
    else:
        absent = ""
    if not seen.pods and not absent:
        return conditions.working(r.PROGRESSING, f"creating {seen.members.target} members", unknown=True)
    trouble = f"; {absent}" if absent else ""
    trouble += "".join(f"; {pod.name}: {pod.trouble}" for pod in seen.pods if pod.trouble)
    trouble += "".join(f"; {name} does not answer" for name in sorted(seen.silent))
    quorate, reason, message = quorum_verdict(seen.consensus)
    # Ready is not withdrawn for the length of an election.
    steady = seen.momentary and conditions.was_ready()
    if (
        not quorate
        and not steady
        and sum(p.ready for p in seen.pods) == len(seen.pods) == seen.members.target
    ):
        return conditions.working(reason, message)
    if seen.members.target < wanted or (ready < wanted and _grows(seen)):
        members = f"{seen.members.target} of {wanted} members"
        return conditions.working(r.SCALING_UP, f"{members} in place, {ready} ready{trouble}{_waiting(seen)}")
    old = outdated(seen.pods, seen.update_revision)
    if old and seen.update_revision and len(seen.pods) == seen.members.target:
        if cluster.spec.update_strategy == "OnDelete":
            return conditions.stalled(r.WAITING_FOR_DELETE, _on_delete_message(seen))
        rolling = f"{len(seen.pods) - len(old)} of {wanted} pods updated"
        return conditions.working(r.ROLLING, f"{rolling}{trouble}{_waiting(seen)}")
    if ready < wanted:
        return conditions.working(r.PODS_NOT_READY, f"{ready} of {wanted} members are ready{trouble}")
    if not seen.settled and not steady:
        return conditions.working(r.PROGRESSING, message)
    if seen.volumes.growing:
        return conditions.working(r.RESIZING, _growth_message(cluster, seen))
    number = seen.consensus.leader_id
    leader = naming.pod_name(cluster.metadata.name, number - 1) if number else "none"
    message = f"{ready} of {wanted} members are ready, the leader is {leader}{_withheld(cluster, seen)}"
    return conditions.ready(r.SUCCEEDED, message)


def _withheld(cluster: EtlRouterCluster, seen: Observation) -> str:
    """Which members other people's containers keep out of the Service. The members serve all the same."""
    names = ", ".join(pod.name for pod in seen.pods if pod.withheld)
    if not names:
        return ""
    return f"; Service {cluster.metadata.name} leaves out {names}: another container there is not ready"


def _waiting(seen: Observation) -> str:
    """What holds up a roll or the next member, other than the pods that the message names anyway."""
    volumes = seen.volumes.growing
    why = seen.step.restart.blocked or seen.step.waiting
    return f"; waiting: {why}" if volumes and why else ""


def _grows(seen: Observation) -> bool:
    """Some pod was configured for fewer members than there are to be."""
    return any(pod.members is not None and pod.members < seen.members.target for pod in seen.pods)


def scale_down_message(cluster: EtlRouterCluster, members: Members) -> str:
    """Why the cluster keeps its size."""
    return (
        f"spec.replicas is {cluster.spec.replicas}, the cluster has {members.target} members: the router "
        f"cannot remove a member; set spec.replicas back to {members.target}"
    )
