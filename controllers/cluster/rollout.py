"""Which pod may go next, and how many members to work towards. Pure; fails closed on the unknown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from controllers.members import naming
from controllers.members.facts import Consensus, PodFacts, quorum

MAX_LAG = 100
"""Log entries a member may be behind the leader's commit index and still count as caught up."""


@dataclass(frozen=True, slots=True)
class Restart:
    """The pod to delete now, or why none may be deleted."""

    pod: PodFacts | None = None
    blocked: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """The one change to make now. At most one of the three is there."""

    grow: bool = False
    """Patch the claims that are too small."""
    restart: Restart = field(default_factory=Restart)
    add_member: bool = False
    waiting: str = ""
    """What volumes or the next member wait for."""


@dataclass(frozen=True, slots=True)
class Members:
    """The member count to work towards in this pass."""

    target: int
    refused: bool = False
    """The spec asks for fewer members than there are, which cannot be done safely."""


def plan_members(wanted: int, live: int | None, settled: bool) -> Members:
    """Grow by one member at a time; never shrink.

    Peers are start-up flags, so a membership change is a rolling restart during which old and new lists
    coexist. Majorities of lists that differ by one member always overlap; with a difference of two, two
    leaders could be elected. Shrinking needs the removal of a member: the contract has no call for it.

    :param live: members of the observed StatefulSet; ``None`` before it exists.
    :param settled: whether nothing else is left to do: all live members run the current template, are ready
        and follow one leader, and the volumes have their size.
    """
    if live is None:
        return Members(wanted)
    if wanted < live:
        return Members(live, refused=True)
    if wanted > live and settled:
        return Members(live + 1)
    return Members(live)


def outdated(pods: Sequence[PodFacts], update_revision: str) -> list[PodFacts]:
    """Pods that do not run the current template."""
    return [pod for pod in pods if pod.revision != update_revision]


def joining(pods: Sequence[PodFacts], update_revision: str) -> set[str]:
    """Pods that older members do not list as peers yet. They cannot become ready before those restart."""
    known = [pod.members for pod in outdated(pods, update_revision) if pod.members is not None]
    return {pod.name for pod in pods if known and pod.ordinal >= min(known)}


def next_restart(
    pods: Sequence[PodFacts],
    consensus: Consensus,
    update_revision: str,
    expected: int,
    due: Collection[str] = (),
) -> Restart:
    """The one pod whose restart keeps the quorum, or the reason to wait.

    Order: pods that serve nobody anyway, then followers from the highest ordinal, the leader last.

    :param expected: number of pods there should be.
    :param due: names of pods to restart although they run the current template.
    """
    old = [pod for pod in pods if pod.revision != update_revision or pod.name in due]
    if not old or not update_revision:
        return Restart()
    if any(pod.terminating for pod in pods) or len(pods) < expected:
        return Restart(blocked="a pod is still being replaced")
    broken = next((pod for pod in old if not pod.running), None)
    if broken is not None:
        return Restart(broken)
    return _healthy_restart(pods, old, consensus, update_revision)


def _healthy_restart(
    pods: Sequence[PodFacts], old: Sequence[PodFacts], consensus: Consensus, update_revision: str
) -> Restart:
    newcomers = joining(pods, update_revision)
    late = [pod for pod in pods if not (pod.running if pod.name in newcomers else pod.ready)]
    # An outdated pod that runs without being ready may go when it is the only one in trouble.
    if len(late) == 1 and late[0] in old:
        return _keeping_quorum(late[0], pods, consensus, newcomers)
    if late:
        why = f": {late[0].trouble}" if late[0].trouble else ""
        return Restart(blocked=f"pod {late[0].name} is not ready{why}")
    ordered = sorted(old, key=lambda pod: (_leads(pod, consensus), -pod.ordinal))
    return _keeping_quorum(ordered[0], pods, consensus, newcomers)


def _keeping_quorum(
    candidate: PodFacts, pods: Sequence[PodFacts], consensus: Consensus, newcomers: set[str]
) -> Restart:
    voters = [pod for pod in pods if pod.name not in newcomers]
    if len(voters) == 1:
        return Restart(candidate)
    if consensus.split:
        return Restart(blocked="two members report that they lead in the same term")
    if not consensus.leader_id:
        return Restart(blocked="there is no leader")
    others = [pod for pod in voters if pod is not candidate and _caught_up(pod, consensus)]
    # A pair has no spare member: its restart costs the quorum for a moment whatever the order.
    needed = min(quorum(len(voters)), len(voters) - 1)
    if len(others) < needed:
        return Restart(blocked=f"only {len(others)} of {needed} other members have caught up")
    return Restart(candidate)


def _leads(pod: PodFacts, consensus: Consensus) -> bool:
    return naming.node_id(pod.ordinal) == consensus.leader_id


def _caught_up(pod: PodFacts, consensus: Consensus) -> bool:
    node = naming.node_id(pod.ordinal)
    return (
        pod.ready
        and node in consensus.following
        and consensus.match.get(node, 0) >= consensus.commit_index - MAX_LAG
    )
