"""What a converged operator writes when it looks at everything again: nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from controllers.cluster.reconciler import ClusterReconciler
from controllers.pipeline.reconciler import PipelineReconciler
from controllers.service.reconciler import ServiceReconciler
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE, TRANSFORM
from informers.cache.view import View, view_of_object
from informers.objects import Object, ObjectKey
from tests.controllers.world import NAMESPACE, StoreInformer, World

RESYNCS = 100
_SERVICES = ((SOURCE, "in"), (TRANSFORM, "filter"), (SINK, "out"))


def steady_state(pipelines: int) -> dict[str, float]:
    """Writes to the API server and mutations of the router in 100 resyncs of so many converged pipelines, of
    their services and of their cluster. The reconcilers are the operator's, the world around them is the one
    they are tested with."""
    return asyncio.run(_steady_state(pipelines))


class _Reader:
    """The informer of the test world, but for speed: while nothing is written, nothing is read anew."""

    def __init__(self, informer: StoreInformer) -> None:
        self._informer = informer
        self.resource = informer.resource
        self._serial = -1
        self._views: dict[ObjectKey, View] = {}
        self._filed: dict[tuple[str, str], list[View]] = {}

    def get(self, key: ObjectKey) -> View | None:
        return self._current().get(key)

    def list(self, namespace: str | None = None) -> Sequence[View]:
        return [view for view in self._current().values() if namespace in (None, view.namespace)]

    def by_index(self, index: str, value: str) -> Sequence[View]:
        views = self._current().values()
        if (index, value) not in self._filed:
            function: Callable[[Any], Iterable[str]] = self._informer._indexes[index]
            self._filed[index, value] = [view for view in views if value in function(view)]
        return self._filed[index, value]

    def written(self, obj: Object) -> None:
        """Reads see the store itself."""

    def _current(self) -> dict[ObjectKey, View]:
        store = self._informer._store
        if self._serial != store._serial:
            self._serial = store._serial
            self._filed.clear()
            objects = store.objects.items()
            self._views = {
                key: view
                for (kind, key), obj in objects
                if kind == self.resource and (view := view_of_object(obj)) is not None
            }
        return self._views


async def _steady_state(pipelines: int) -> dict[str, float]:
    world = World()
    informers: Any = world.context.informers
    for resource, informer in list(informers.items()):
        informers[resource] = _Reader(informer)
    store = world.store
    store.put(CLUSTER, "prod", {"replicas": 3, "image": "etl-router:1", "storage": {"size": "10Gi"}})
    for resource, name in _SERVICES:
        store.put(resource, name, {"grpc": {"endpoint": f"{name}:50051"}})
    spec = {"source": "in", "steps": ["filter"], "sink": "out", "enabled": True}
    for index in range(pipelines):
        store.put(PIPELINE, f"p-{index:05d}", spec)
    work: list[tuple[Any, ObjectKey]] = [(ClusterReconciler(world.context), ObjectKey(NAMESPACE, "prod"))]
    for resource, name in _SERVICES:
        work.append((ServiceReconciler(world.context, resource), ObjectKey(NAMESPACE, name)))
    reconciler = PipelineReconciler(world.context)
    work += [(reconciler, ObjectKey(NAMESPACE, f"p-{index:05d}")) for index in range(pipelines)]
    await _resync(work)
    world.run_stateful_set("prod")
    for _ in range(3):
        await _resync(work)
    conditions = store.condition(PIPELINE, "p-00000", "Ready")
    assert conditions.get("status") == "True", f"must be converged: {conditions}"
    store.writes.clear()
    world.routers.mutations.clear()
    for _ in range(RESYNCS):
        await _resync(work)
    return {
        "steady_writes": float(len(store.writes)),
        "steady_mutations": float(len(world.routers.mutations)),
        "steady_objects": float(len(work)),
    }


async def _resync(work: list[tuple[Any, ObjectKey]]) -> None:
    for reconciler, key in work:
        await reconciler.reconcile(key)
