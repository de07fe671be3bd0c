"""A world with a cluster, one source, and its reconciler."""

from __future__ import annotations

from typing import Any

from controllers.service.reconciler import ServiceReconciler
from etl_operator.api import SOURCE
from informers.objects import ObjectKey, Resource
from tests.controllers.pipeline.running import add_cluster
from tests.controllers.store import NAMESPACE
from tests.controllers.world import World

NAME = "kafka"
KEY = ObjectKey(NAMESPACE, NAME)
ADDRESSES = [f"prod-{i}.prod-headless.etl.svc.cluster.local:50051" for i in range(3)]


class Running:
    """A world with a running cluster and one source."""

    def __init__(self, **spec: Any) -> None:
        self.world = World()
        self.store = self.world.store
        add_cluster(self.world, "prod")
        self.add(SOURCE, NAME, **spec)
        self.reconciler = ServiceReconciler(self.world.context, SOURCE)

    def add(self, resource: Resource, name: str, *, created: str | None = None, **spec: Any) -> None:
        stamp = {"creationTimestamp": created} if created else {}
        self.store.put(resource, name, {"grpc": {"endpoint": f"{name}-svc:50051"}} | spec, **stamp)

    async def once(self) -> float | None:
        return (await self.reconciler.reconcile(KEY)).requeue_after

    async def started(self) -> Running:
        await self.once()
        assert self.condition("Ready")["status"] == "True", self.condition("Ready")
        self.world.events.seen.clear()
        return self

    def condition(self, kind: str, resource: Resource = SOURCE, name: str = NAME) -> Any:
        return self.store.condition(resource, name, kind)

    @property
    def status(self) -> Any:
        return self.store.of(SOURCE, NAME)["status"]

    @property
    def exists(self) -> bool:
        return self.store.has(SOURCE, NAME)

    def registered(self) -> list[str]:
        return sorted(a for a, ids in self.world.routers.registered.items() if f"{NAMESPACE}/{NAME}" in ids)
