"""Taking one step: children first, then at most one change of the volumes, the pods or the size."""

from __future__ import annotations

from dataclasses import replace

from controllers.cluster.ensuring import ChildEnsurer
from controllers.cluster.growth import grow_claim
from controllers.cluster.memory import Memory, Refusal
from controllers.cluster.observation import Observation
from controllers.cluster.planning import Patience, next_step
from controllers.cluster.rollout import Step, plan_members
from controllers.members import naming
from controllers.members.facts import PodFacts
from controllers.objects.kinds import POD
from controllers.status import reasons as r
from controllers.wiring.context import Context
from etl_operator.api import EtlRouterCluster
from informers.errors import NotFound
from informers.objects import Object, ObjectKey

_ASK_AGAIN = 60.0
"""Seconds after which claims that could not grow are tried again: a class may have been changed."""


class Steps:
    """Takes the steps of clusters.

    :param manager: the field manager of changes to claims.
    """

    def __init__(self, context: Context, children: ChildEnsurer, manager: str) -> None:
        self._context = context
        self._children = children
        self._manager = manager

    async def take(
        self, obj: Object, cluster: EtlRouterCluster, seen: Observation, memory: Memory
    ) -> Observation:
        """Children always; then at most one change of the volumes, the pods or the size."""
        after = await self._children.ensured(obj, cluster, seen)
        if after is not seen:
            return after
        step = self._next_step(cluster, seen, memory)
        if step.grow:
            grown, problem = await self._grow_volumes(obj, cluster, seen, memory)
            seen = replace(seen, volumes_error=problem)
            if grown:
                return replace(seen, step=step)
            step = self._next_step(cluster, seen, memory)
        seen = replace(seen, step=step)
        if step.restart.pod is not None:
            await self._restart(obj, step.restart.pod, seen, memory)
        if not step.add_member:
            return seen
        members = plan_members(cluster.spec.replicas, seen.members.target, settled=True)
        return await self._children.ensured(obj, cluster, replace(seen, members=members))

    def _next_step(self, cluster: EtlRouterCluster, seen: Observation, memory: Memory) -> Step:
        settings = self._context.settings
        now = self._context.clock.monotonic()
        refused = memory.refusal is not None and now - memory.refusal.at < _ASK_AGAIN
        pods = (seen.update_revision, *((pod.uid, pod.revision, pod.ready) for pod in seen.pods))
        return next_step(
            seen,
            wanted=cluster.spec.replicas,
            on_delete=cluster.spec.update_strategy == "OnDelete",
            patience=Patience(
                pods=memory.sights.lasted("pods", pods, now) >= settings.blocked_after,
                volumes=memory.sights.lasted("volumes", seen.volumes.growing, now) >= settings.resize_limit,
                refused=refused and bool(seen.volumes_error),
            ),
            due=memory.due(seen.at_start(cluster.metadata.name), now, settings.resize_online),
        )

    async def _restart(self, obj: Object, pod: PodFacts, seen: Observation, memory: Memory) -> None:
        key = ObjectKey(obj["metadata"]["namespace"], pod.name)
        try:
            await self._context.client.delete(POD, key, uid=pod.uid)
        except NotFound:
            return
        memory.deleted_pods.add(pod.uid)
        memory.restarting.add(pod.name)
        leads = " (the leader, last)" if naming.node_id(pod.ordinal) == seen.consensus.leader_id else ""
        old = pod.revision != seen.update_revision
        why = "it runs an older template" if old else "its volume is resized at a restart"
        note = f"deleted pod {pod.name}{leads}: {why}"
        self._context.events.event(obj, type="Normal", reason=r.POD_RESTARTED, action="Restart", note=note)

    async def _grow_volumes(
        self, obj: Object, cluster: EtlRouterCluster, seen: Observation, memory: Memory
    ) -> tuple[int, str]:
        """Patch the claims that are too small; how many of them grow, and why one cannot, or ""."""
        names, size = seen.volumes.grow, str(cluster.spec.storage.size)
        memory.refusal = None
        for grown, name in enumerate(names):
            key = ObjectKey(obj["metadata"]["namespace"], name)
            problem = await grow_claim(self._context, key, size, self._manager)
            if problem:
                problem = f"{name} cannot be resized to {size}: {problem}"
                memory.refusal = Refusal(names, size, problem, self._context.clock.monotonic())
                return grown, problem
        return len(names), ""
