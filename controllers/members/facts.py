"""What was observed of a cluster, as plain values, and what the nodes' answers mean together. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controllers.members import naming
from controllers.members.troubles import trouble
from informers.objects import Object

DEFAULT_GRPC_PORT = 50051


def quorum(members: int) -> int:
    """Votes a Raft group of this size needs."""
    return members // 2 + 1


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One router pod, by its container ``router``: other containers of the pod are other people's."""

    name: str
    ordinal: int
    uid: str
    ready: bool
    """The router container is ready, whatever other containers are, and nothing else withdraws the pod."""
    running: bool
    """The router container runs; it need not be ready."""
    terminating: bool
    revision: str
    members: int | None
    """Member count this pod was configured for, from its annotation."""
    grpc_port: int = DEFAULT_GRPC_PORT
    """Where this very pod listens: while a changed port is rolled out, pods differ."""
    trouble: str = ""
    """Why the router container waits, such as ``CrashLoopBackOff``; "" when it does not."""
    image: str = ""
    """Of the router container, as the spec of the pod has it."""
    created: str = ""
    """Its creationTimestamp."""
    withheld: bool = False
    """The router is ready and the pod is not, so that Services leave the member out."""
    tls: str = naming.PLAIN
    """How its ports are secured, from its annotation."""
    service_secrets: tuple[str, ...] = ()
    """Secrets for calls to services that it mounts, from its annotation."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node's answer to GetClusterStatus, or why there is none."""

    ordinal: int
    address: str
    node_id: int = 0
    leader_id: int = 0
    term: int = 0
    commit_index: int = 0
    applied_index: int = 0
    match: Mapping[int, int] = field(default_factory=dict)
    """Match index of every node this node knows of; only a leader's figures mean something."""
    roles: Mapping[int, str] = field(default_factory=dict)
    answered: bool = False
    unimplemented: bool = False
    """The router serves no RouterAdmin."""
    members: int | None = None
    """Member count its pod was configured for."""
    error: str = ""
    buffer_trouble: str = ""
    """Why the node cannot use its durable buffer; empty if it can."""


@dataclass(frozen=True, slots=True)
class Consensus:
    """What the members' answers say together."""

    members: int
    voters: int = 0
    """Members the leader was configured with: while a cluster grows, older members do not list the newest."""
    answered: int = 0
    leader_id: int = 0
    """Zero when nobody leads, or when the leader does not answer."""
    term: int = 0
    commit_index: int = 0
    following: frozenset[int] = frozenset()
    """Node ids, the leader's included, that answered and agree on the leader."""
    split: tuple[int, ...] = ()
    """Two or more nodes that claim to lead in the same term."""
    match: Mapping[int, int] = field(default_factory=dict)
    roles: Mapping[int, str] = field(default_factory=dict)
    unimplemented: bool = False
    error: str = ""
    """Of the first node that did not answer."""

    @property
    def quorate(self) -> bool:
        """A leader answers, and a majority of the members it counts follows it."""
        voters = self.voters or self.members
        followers = sum(node <= voters for node in self.following)
        return bool(self.leader_id) and not self.split and followers >= quorum(voters)

    @property
    def complete(self) -> bool:
        """Every member follows one leader."""
        return self.quorate and len(self.following) >= self.members

    @property
    def health(self) -> str:
        """``Healthy``, ``Degraded``, ``Unhealthy``, or ``Unknown`` when nobody could be asked."""
        if not self.answered:
            return "Unknown" if self.unimplemented or not self.error else "Unhealthy"
        if self.complete:
            return "Healthy"
        return "Degraded" if self.quorate else "Unhealthy"


def judge(nodes: Sequence[NodeFacts], members: int) -> Consensus:
    """Put the answers together.

    Two nodes may name different leaders for a moment while an election spreads; only two nodes that each
    claim to lead *in one term* break Raft's promise.
    """
    answers = [node for node in nodes if node.answered]
    errors = [node.error for node in nodes if node.error]
    claims: dict[int, set[int]] = defaultdict(set)
    for node in answers:
        if node.leader_id and node.leader_id == node.node_id:
            claims[node.term].add(node.node_id)
    split = max((ids for ids in claims.values() if len(ids) > 1), key=len, default=set())
    term = max((node.term for node in answers), default=0)
    leader = _leader(answers, claims)
    return Consensus(
        members=members,
        voters=(leader.members if leader else None) or members,
        answered=len(answers),
        leader_id=leader.node_id if leader and not split else 0,
        term=leader.term if leader else term,
        commit_index=leader.commit_index if leader else max((n.commit_index for n in answers), default=0),
        following=frozenset(n.node_id for n in answers if leader and n.leader_id == leader.node_id),
        split=tuple(sorted(split)),
        match=_progress(answers, leader),
        roles=_roles(answers),
        unimplemented=any(node.unimplemented for node in nodes),
        error=errors[0] if errors else "",
    )


def _leader(answers: Sequence[NodeFacts], claims: Mapping[int, set[int]]) -> NodeFacts | None:
    """The claimant of the highest term; one of an older term has not heard of its successor yet."""
    if not claims:
        return None
    term = max(claims)
    return next((n for n in answers if n.node_id in claims[term] and n.term == term), None)


def _progress(answers: Sequence[NodeFacts], leader: NodeFacts | None) -> dict[int, int]:
    """How far each member's log is known to reach: by its own word or by the leader's."""
    progress = dict(leader.match) if leader else {}
    for node in answers:
        progress[node.node_id] = max(progress.get(node.node_id, 0), node.commit_index)
    return progress


def _roles(answers: Sequence[NodeFacts]) -> dict[int, str]:
    """Every node's role by its own word: nobody knows it better."""
    return {
        node.node_id: "Leader"
        if node.leader_id == node.node_id
        else node.roles.get(node.node_id) or ("Follower" if node.leader_id else "Candidate")
        for node in answers
    }


def pod_facts(pod: Object, cluster: str) -> PodFacts | None:
    """Read a pod; ``None`` for one that is not named like a member."""
    meta = pod["metadata"]
    ordinal = naming.ordinal_of(meta["name"], cluster)
    if ordinal is None:
        return None
    status = pod.get("status") or {}
    router = _router(status.get("containerStatuses"))
    annotations = meta.get("annotations") or {}
    members = annotations.get(naming.MEMBERS_ANNOTATION, "")
    terminating = "deletionTimestamp" in meta
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    ready = _ready(router, conditions) and not terminating
    return PodFacts(
        name=meta["name"],
        ordinal=ordinal,
        uid=meta.get("uid", ""),
        ready=ready,
        running="running" in (router.get("state") or {}),
        terminating=terminating,
        revision=(meta.get("labels") or {}).get("controller-revision-hash", ""),
        members=int(members) if members.isdigit() else None,
        grpc_port=_grpc_port(pod),
        trouble=trouble(router, status),
        image=str(_router(pod["spec"].get("containers")).get("image") or ""),
        created=str(meta.get("creationTimestamp") or ""),
        withheld=ready and conditions.get("Ready") != "True",
        tls=annotations.get(naming.TLS_ANNOTATION, naming.PLAIN),
        service_secrets=naming.service_secrets(annotations),
    )


def _router(containers: Sequence[Mapping[str, Any]] | None) -> Mapping[str, Any]:
    """The router's entry in a list of containers or of their statuses; empty while there is none."""
    return next((one for one in containers or () if one.get("name") == naming.CONTAINER), {})


def _ready(router: Mapping[str, Any], conditions: Mapping[str, str]) -> bool:
    """Whether the member is ready.

    A pod whose containers are all ready and which is not Ready itself is withdrawn by something else: a
    readiness gate, or its node does not answer (the node controller sets this one condition and leaves the
    container statuses as they were). Where a container is not ready, that may be a helper: then the router's
    own word counts.
    """
    if not router.get("ready"):
        return False
    return conditions.get("Ready") == "True" or conditions.get("ContainersReady") != "True"


def _grpc_port(pod: Object) -> int:
    ports = _router(pod["spec"].get("containers")).get("ports") or ()
    return next((int(p["containerPort"]) for p in ports if p.get("name") == "grpc"), DEFAULT_GRPC_PORT)
