"""What a pass has seen of a cluster. Pure values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from controllers.cluster.certificates import Certificates
from controllers.cluster.encryption import Encryption
from controllers.cluster.rollout import Members, Step, outdated
from controllers.cluster.volumes import VolumePlan
from controllers.members import naming
from controllers.members.facts import Consensus, NodeFacts, PodFacts
from informers.objects import Object


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything a status is made of."""

    stateful_set: Object | None
    pods: Sequence[PodFacts]
    nodes: Sequence[NodeFacts]
    consensus: Consensus
    members: Members
    volumes: VolumePlan
    step: Step = field(default_factory=Step)
    """What was done in this pass, or what it waits for."""
    volumes_error: str = ""
    conflict: str = ""
    """A child's name is taken by someone else."""
    encryption: Encryption = field(default_factory=Encryption)
    """What the template of the pods is to say about TLS."""
    certificates: Certificates = field(default_factory=Certificates)
    """Those of ``spec.tls``. While they cannot be used, nothing is changed: a member that restarts with them
    could not reach the others."""
    in_vain: frozenset[str] = frozenset()
    """Pods that have started again for the sake of their volumes, which have not grown."""
    absent: str = ""
    """Why pods that there should be cannot be created, as far as events say so."""
    silent: frozenset[str] = frozenset()
    """Ready pods whose routers have not answered for a while."""
    momentary: bool = False
    """That the members do not agree, or that there is no quorum, has not lasted longer than an election."""
    refused: str = ""
    """The API server refused a child."""
    paused: bool = False
    held_back: bool = False
    """Paused, and there is something to do."""
    superseded: bool = False
    """A new template was applied in this very pass: what was observed is about the previous one."""
    protocol: str = ""
    """Protobuf package that the members serve; "" before one has answered."""
    domain: str = "cluster.local"

    @property
    def blind(self) -> str:
        """Why members cannot be called, although they may be well; "" if they can."""
        encrypted = any(pod.tls == naming.ENCRYPTED for pod in self.pods)
        return self.certificates.unread if encrypted else ""

    @property
    def update_revision(self) -> str:
        """Revision of the current template, or "" while the StatefulSet controller has not seen it."""
        live = self.stateful_set
        if live is None or self.superseded:
            return ""
        status = live.get("status") or {}
        if status.get("observedGeneration", 0) < live["metadata"].get("generation", 0):
            return ""
        return str(status.get("updateRevision") or "")

    @property
    def current(self) -> bool:
        """Every member there should be runs the current template."""
        return self.complete and not outdated(self.pods, self.update_revision)

    @property
    def complete(self) -> bool:
        """Every member that there should be exists, and none will come up with an older template."""
        return (
            bool(self.update_revision)
            and len(self.pods) == self.members.target
            and not any(pod.terminating for pod in self.pods)
        )

    @property
    def answering(self) -> list[PodFacts]:
        """Ready pods, but for those whose routers have been silent for a while."""
        return [pod for pod in self.pods if pod.ready and pod.name not in self.silent]

    def at_start(self, cluster: str) -> dict[str, str]:
        """Uid by name of the pods whose volumes wait for their start."""
        waiting = self.volumes.at_start
        return {pod.name: pod.uid for pod in self.pods if naming.claim_name(cluster, pod.ordinal) in waiting}

    @property
    def settled(self) -> bool:
        """All pods are current and ready, and all members follow the same leader."""
        return self.current and all(pod.ready for pod in self.pods) and self.consensus.complete


def live_members(live: Object | None) -> int | None:
    """Members of a StatefulSet: as the operator last wrote, not as someone may have scaled it since."""
    if live is None:
        return None
    written = (live["metadata"].get("annotations") or {}).get(naming.MEMBERS_ANNOTATION, "")
    return int(written) if written.isdigit() else int(live["spec"].get("replicas", 1))
