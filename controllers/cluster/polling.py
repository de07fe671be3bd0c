"""Asking every pod of a cluster, and turning the answers into facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from controllers.members import naming
from controllers.members.facts import NodeFacts, PodFacts
from etl_operator.router.cluster import NodeReport, RouterCluster
from etl_operator.router.errors import RouterAdminUnavailable
from informers.objects import ObjectKey

_ROLES = {1: "Leader", 2: "Follower", 3: "Candidate", 4: "Learner"}


async def poll(
    cluster: RouterCluster, key: ObjectKey, pods: Sequence[PodFacts], domain: str
) -> list[NodeFacts]:
    """One fact per pod, in order of ordinal. Pods that do not run are not dialled.

    :param cluster: set to the addresses of the running pods, see :func:`addresses`.
    """
    answers = {report.address: report for report in await cluster.poll()} if _running(pods) else {}
    facts: list[NodeFacts] = []
    for pod in sorted(pods, key=lambda pod: pod.ordinal):
        address = naming.address(key, pod.ordinal, domain, pod.grpc_port)
        report = answers.get(address)
        if report is None:
            facts.append(NodeFacts(pod.ordinal, address))
        else:
            facts.append(replace(node_facts(pod.ordinal, report), members=pod.members))
    return facts


def addresses(key: ObjectKey, pods: Sequence[PodFacts], domain: str) -> list[str]:
    """Where the running pods are asked."""
    return [naming.address(key, pod.ordinal, domain, pod.grpc_port) for pod in _running(pods)]


def node_facts(ordinal: int, report: NodeReport) -> NodeFacts:
    """One node's answer, or its error."""
    status = report.status
    if status is None:
        return NodeFacts(
            ordinal,
            report.address,
            unimplemented=isinstance(report.error, RouterAdminUnavailable),
            error=str(report.error),
        )
    return NodeFacts(
        ordinal,
        report.address,
        node_id=status.node_id,
        leader_id=status.leader_id,
        term=status.term,
        commit_index=status.commit_index,
        applied_index=status.applied_index,
        match={node.node_id: node.match_index for node in status.nodes},
        roles={node.node_id: _ROLES.get(int(node.role), "Unknown") for node in status.nodes},
        answered=True,
        buffer_trouble=report.buffer_trouble,
    )


def _running(pods: Sequence[PodFacts]) -> list[PodFacts]:
    return sorted((p for p in pods if p.running and not p.terminating), key=lambda pod: pod.ordinal)
