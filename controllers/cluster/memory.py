"""What one operator process remembers of a cluster between passes; losing it costs nothing but time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from controllers.cluster.certificates import Reading
from controllers.cluster.explaining import Explanations
from controllers.cluster.sights import FirstSight
from controllers.members.facts import PodFacts
from controllers.members.troubles import lasting


@dataclass(slots=True)
class Refusal:
    """Claims that could not grow, and why. Asked again after a while."""

    claims: tuple[str, ...]
    size: str
    problem: str
    at: float


@dataclass(slots=True)
class Memory:
    """Of one cluster."""

    moved_at: float
    """When its status changed last, on the monotonic clock."""
    deleted_pods: set[str] = field(default_factory=set)
    """Uids this process has asked to delete: the cache may still show them as healthy."""
    restarting: set[str] = field(default_factory=set)
    """Names of the pods this process has deleted and not seen ready since."""
    leader_id: int = 0
    told_blocked: bool = False
    sights: FirstSight = field(default_factory=FirstSight)
    explanations: Explanations = field(default_factory=Explanations)
    """Why something does not start, as far as events say so."""
    troubles: dict[tuple[str, str], str] = field(default_factory=dict)
    """Why a pod waited in the pass before, by its uid and image."""
    certificates: Reading = field(default_factory=Reading)
    """What was read of the Secrets of ``spec.tls``."""
    refusal: Refusal | None = None
    at_start: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Pod whose volume waits for its start, to its uid when that was first seen, and when that was."""

    def lasting(self, pods: Sequence[PodFacts]) -> list[PodFacts]:
        """The pods, with what was known before of why an image cannot be pulled; see :func:`lasting`."""
        known = [
            replace(pod, trouble=lasting(pod.trouble, self.troubles.get((pod.uid, pod.image), "")))
            for pod in pods
        ]
        self.troubles = {(pod.uid, pod.image): pod.trouble for pod in known}
        return known

    def in_vain(self, waiting: Mapping[str, str]) -> frozenset[str]:
        """Names of the pods that have started again and whose volumes still wait for a start."""
        return frozenset(
            name for name, uid in waiting.items() if self.at_start.get(name, (uid, 0.0))[0] != uid
        )

    def due(self, waiting: Mapping[str, str], now: float, patience: float) -> set[str]:
        """Names of the pods to start again for the sake of their volumes.

        :param waiting: uid by name of every pod whose volume waits for its start.
        :param patience: seconds a node has to grow the file system while the pod runs, as most drivers can.
            A pod that has been replaced since is not restarted again: it was no help.
        """
        self.at_start = {name: self.at_start.get(name, (uid, now)) for name, uid in waiting.items()}
        return {
            name
            for name, (uid, since) in self.at_start.items()
            if uid == waiting[name] and now - since >= patience
        }
