"""What a converged operator writes when it looks at everything again: nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from controllers.cluster.reconciler import ClusterReconciler
from controllers.pipeline.reconciler import PipelineReconciler
from controllers.service.reconciler import ServiceReconciler
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE, TRANSFORM
from informers.objects import ObjectKey
from tests.controllers.store import NAMESPACE
from tests.controllers.world import World

RESYNCS = 100
_SERVICES = ((SOURCE, "in"), (TRANSFORM, "filter"), (SINK, "out"))


def steady_state(pipelines: int) -> dict[str, float]:
    """Writes to the API server and mutations of the router in 100 resyncs of so many converged pipelines, of
    their services and of their cluster. The reconcilers are the operator's, the world around them is the one
    they are tested with."""
    return asyncio.run(_steady_state(pipelines))


async def _steady_state(pipelines: int) -> dict[str, float]:
    world = World()
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
