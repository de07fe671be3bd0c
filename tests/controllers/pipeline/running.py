"""A world with one pipeline, what it refers to, and its reconciler."""

from __future__ import annotations

from typing import Any

from controllers.objects.kinds import STATEFUL_SET
from controllers.pipeline.reconciler import PipelineReconciler
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE, TRANSFORM
from informers.objects import ObjectKey, Resource
from tests.controllers.routers import Pipeline
from tests.controllers.store import NAMESPACE, STARTED_AT
from tests.controllers.world import World

NAME = "analytics"
KEY = ObjectKey(NAMESPACE, NAME)
ID = f"{NAMESPACE}/{NAME}"


class Running:
    """A world with a running cluster, a pipeline and, unless told otherwise, what it refers to."""

    def __init__(self, *, missing: tuple[str, ...] = (), **spec: Any) -> None:
        self.world = World()
        self.store = self.world.store
        add_cluster(self.world, "prod")
        for resource, name in ((SOURCE, "in"), (TRANSFORM, "filter"), (TRANSFORM, "enrich"), (SINK, "out")):
            if name not in missing:
                self.store.put(resource, name, {"grpc": {"endpoint": f"{name}:50051"}})
        base = {"source": "in", "steps": ["filter", "enrich"], "sink": "out", "enabled": True}
        self.store.put(PIPELINE, NAME, base | spec)
        self.reconciler = PipelineReconciler(self.world.context)

    async def once(self) -> float | None:
        return (await self.reconciler.reconcile(KEY)).requeue_after

    async def started(self) -> Running:
        await self.once()
        assert self.condition("Ready")["status"] == "True", self.condition("Ready")
        self.world.routers.mutations.clear()
        self.world.events.seen.clear()
        return self

    def condition(self, kind: str) -> Any:
        return self.store.condition(PIPELINE, NAME, kind)

    @property
    def status(self) -> Any:
        return self.store.of(PIPELINE, NAME)["status"]

    @property
    def remote(self) -> Pipeline:
        return self.world.routers.pipelines[ID]

    def services_to(self, cluster: str) -> None:
        """Everything the pipeline refers to is told to go to one cluster."""
        for resource, name in ((SOURCE, "in"), (TRANSFORM, "filter"), (TRANSFORM, "enrich"), (SINK, "out")):
            self.store.edit(resource, name, {"spec": {"clusterRef": {"name": cluster}}})

    def ready(self, resource: Resource, name: str, ready: bool) -> None:
        """A service's own controller has judged it."""
        reason = "ReconciliationSucceeded" if ready else "ProbeFailed"
        verdict = {"type": "Ready", "status": str(ready), "reason": reason, "message": ""}
        self.store.edit(resource, name, {"status": {"conditions": [verdict]}})

    def delete(self, *, at: str = STARTED_AT) -> None:
        self.store.remove(PIPELINE, NAME, at=at)

    @property
    def exists(self) -> bool:
        return self.store.has(PIPELINE, NAME)


def add_cluster(world: World, name: str, namespace: str = NAMESPACE) -> None:
    """A cluster with three running pods."""
    world.store.put(CLUSTER, name, {"replicas": 3}, namespace=namespace)
    template = {"metadata": {"labels": {"etl.router/cluster": name}, "annotations": {}}}
    claims = [{"spec": {"resources": {"requests": {"storage": "1Gi"}}}}]
    spec = {"replicas": 3, "template": template, "volumeClaimTemplates": claims}
    world.store.put(STATEFUL_SET, name, spec, namespace=namespace)
    if namespace == NAMESPACE:
        world.run_stateful_set(name)
