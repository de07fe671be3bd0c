"""What to change next: the volumes, then the running template, then the size. Pure.

One kind of change is under way at a time. What has begun is ended first. Of what has not begun the volumes
come first: a full disk may be why members are in trouble, and a member that starts again or joins finds its
volume as it is to be. Nothing waits forever: a roll that does not move no longer keeps volumes from growing,
and volumes that do not grow no longer keep the rest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from controllers.cluster.observation import Observation
from controllers.cluster.rollout import Restart, Step, next_restart, outdated


@dataclass(frozen=True, slots=True)
class Patience:
    """What has not moved for so long that the rest no longer waits for it."""

    pods: bool = False
    volumes: bool = False
    refused: bool = False
    """The volumes were found unable to grow a short while ago."""


def next_step(
    seen: Observation, *, wanted: int, on_delete: bool, patience: Patience, due: Collection[str]
) -> Step:
    """The change to make now, or what it waits for.

    :param wanted: ``spec.replicas``.
    :param on_delete: whether only the user deletes pods.
    :param due: names of pods that have to start again for the sake of their volumes.
    """
    if seen.consensus.split:
        return Step(waiting="two members report that they lead in the same term")
    waiting = ""
    if seen.volumes.grow and not patience.refused:
        waiting = _under_way(seen, on_delete=on_delete)
        if not waiting or patience.pods:
            return Step(grow=True)
    restart = _restart(seen, on_delete=on_delete, patience=patience, due=due)
    if restart.pod is not None or restart.blocked:
        return Step(restart=restart, waiting=waiting)
    if wanted <= seen.members.target:
        return Step(waiting=waiting)
    waiting = waiting or _unsettled(seen, patience)
    return Step(add_member=not waiting, waiting=waiting)


def _under_way(seen: Observation, *, on_delete: bool) -> str:
    """Which change of the pods has begun and has not ended, or ""."""
    if not seen.update_revision:
        return "the StatefulSet controller has not observed the new template yet"
    if any(pod.terminating for pod in seen.pods) or len(seen.pods) < seen.members.target:
        return "a pod is being replaced"
    late = next((pod for pod in seen.pods if not pod.ready), None)
    if late is not None:
        return f"pod {late.name} is not ready"
    # With OnDelete pods of two templates may live side by side for as long as the user likes.
    if not on_delete and len({pod.revision for pod in seen.pods}) > 1:
        left = len(outdated(seen.pods, seen.update_revision))
        return f"a rollout is in progress, {left} of {len(seen.pods)} pods are outdated"
    return ""


def _restart(seen: Observation, *, on_delete: bool, patience: Patience, due: Collection[str]) -> Restart:
    if on_delete:
        return Restart()
    step = next_restart(seen.pods, seen.consensus, seen.update_revision, seen.members.target, due)
    growing = seen.volumes.pending
    if growing and not patience.volumes and (step.pod is not None or step.blocked):
        # A pod that starts while its volume is being worked on could leave both waiting for each other.
        return Restart(blocked=f"{', '.join(growing)} must be resized first")
    return step


def _unsettled(seen: Observation, patience: Patience) -> str:
    """Why no member can be added, or ""."""
    growing = seen.volumes.growing
    if growing and not seen.volumes_error and not patience.volumes:
        return f"{', '.join(growing)} must be resized first"
    return "" if seen.settled else "the current members are not all ready yet"
