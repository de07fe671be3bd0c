"""A world with one cluster and its reconciler."""

from __future__ import annotations

from typing import Any

from controllers.cluster.reconciler import ClusterReconciler
from controllers.objects.kinds import POD, STATEFUL_SET
from etl_operator.api import CLUSTER
from informers.objects import ObjectKey
from tests.controllers.store import NAMESPACE
from tests.controllers.world import World

NAME = "prod"
KEY = ObjectKey(NAMESPACE, NAME)
GRACE = 6.0
"""Three times the longest election of the default spec, in seconds."""


class Running:
    """A world with one cluster and its reconciler."""

    def __init__(self, replicas: int = 3, **spec: Any) -> None:
        self.world = World()
        self.store = self.world.store
        self.store.put(
            CLUSTER,
            NAME,
            {"replicas": replicas, "image": "etl-router:1", "storage": {"size": "10Gi"}, **spec},
        )
        self.reconciler = ClusterReconciler(self.world.context)
        self.seen: dict[str, float] = {}
        """When a pod, by uid, was first seen."""

    async def once(self) -> float | None:
        result = await self.reconciler.reconcile(KEY)
        return result.requeue_after

    async def later(self, seconds: float) -> float | None:
        """A pass after some seconds."""
        self.store.now += seconds
        return await self.once()

    async def started(self) -> Running:
        """Created, running and Ready."""
        await self.once()
        self.world.run_stateful_set(NAME)
        await self.once()
        assert self.condition("Ready")["status"] == "True", self.condition("Ready")
        return self

    async def settle(self, passes: int = 60) -> list[str]:
        """Reconcile and let pods be replaced until Ready; returns the pods in the order they went."""
        gone: list[str] = []
        for _ in range(passes):
            before = {view.key.name: view.uid for view in self.world.context.informers[POD].list(NAMESPACE)}
            await self.once()
            after = {view.key.name for view in self.world.context.informers[POD].list(NAMESPACE)}
            gone += sorted(before.keys() - after)
            self.world.run_stateful_set(NAME)
            if self.condition("Ready").get("status") == "True" and not before.keys() - after:
                break
        return gone

    def is_new(self, pod: str) -> bool:
        """Whether the pod runs the current template."""
        revision = self.store.of(STATEFUL_SET, NAME)["status"]["updateRevision"]
        return bool(self.store.of(POD, pod)["metadata"]["labels"]["controller-revision-hash"] == revision)

    def condition(self, kind: str) -> Any:
        return self.store.condition(CLUSTER, NAME, kind)

    @property
    def status(self) -> Any:
        return self.store.of(CLUSTER, NAME)["status"]
