"""What routers hold without an object: removed when it is ours for certain, else left alone and counted."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.members.reach import leader_or_readiness_changed
from controllers.pipeline.graph import DELETION_POLICY, OWNER_UID
from controllers.pipeline.leftovers import DRAIN, LeftoversReconciler
from etl_operator.api import CLUSTER, PIPELINE
from etl_operator.router.pb import router_pb2 as pb
from informers.cache.informer import Delta
from informers.objects import ObjectKey
from tests.controllers.pipeline.running import add_cluster
from tests.controllers.routers import Pipeline
from tests.controllers.store import NAMESPACE
from tests.controllers.world import World

KEY = ObjectKey(NAMESPACE, "prod")
ID = f"{NAMESPACE}/old"


class Left:
    """A cluster, and a pipeline in it that a former object left."""

    def __init__(self, *, id: str = ID, pending: int = 0, enabled: bool = True, **metadata: str) -> None:
        self.world = World()
        add_cluster(self.world, "prod")
        self.counted: list[int] = []
        self.world.context.metrics.unmanaged = self.count  # type: ignore[method-assign]
        self.put(id, pending=pending, enabled=enabled, **{OWNER_UID: "uid-of-the-former", **metadata})
        self.reconciler = LeftoversReconciler(self.world.context)

    def count(self, key: ObjectKey, pipelines: int) -> None:
        self.counted.append(pipelines)

    def put(self, id: str, *, pending: int = 0, enabled: bool = True, **metadata: str) -> None:
        config = pb.PipelineConfig(id=id, name="old", metadata={k: v for k, v in metadata.items() if v})
        self.world.routers.pipelines[id] = Pipeline(config, enabled=enabled, pending=pending)

    async def once(self) -> float | None:
        return (await self.reconciler.reconcile(KEY)).requeue_after

    @property
    def held(self) -> list[str]:
        return sorted(self.world.routers.pipelines)


@pytest.mark.parametrize("enabled", [True, False])
async def test_what_has_no_object_is_removed_and_told(enabled: bool) -> None:
    left = Left(enabled=enabled)
    assert await left.once() == left.world.context.settings.sweep_interval
    assert left.held == []
    ((kind, reason, note),) = left.world.events.seen
    assert (kind, reason) == ("Normal", "PipelineRemoved")
    assert ID in note
    assert "there is no EtlPipeline" in note
    left.world.routers.mutations.clear()
    await left.once()
    assert left.world.routers.mutations == []


async def test_its_records_have_their_time() -> None:
    left = Left(pending=3)
    assert await left.once() == left.world.context.settings.retry_base
    assert left.held == [ID]
    assert not left.world.routers.pipelines[ID].enabled
    left.world.store.now += DRAIN
    await left.once()
    assert left.held == []


@pytest.mark.parametrize(
    "made",
    [
        {OWNER_UID: ""},
        {DELETION_POLICY: "Orphan"},
        {"id": "no-namespace"},
        {"id": "etl/a,metadata.name=b"},
        {"id": "elsewhere/old"},
    ],
)
async def test_anything_else_is_left_alone_and_counted(made: Any) -> None:
    left = Left(**made)
    object.__setattr__(left.world.context.settings, "namespaces", (NAMESPACE,))
    await left.once()
    assert len(left.held) == 1
    assert left.world.routers.mutations == []
    assert left.counted == [1]


@pytest.mark.parametrize("status", [{}, {"cluster": f"{NAMESPACE}/prod"}, {"cluster": "gone/gone"}])
async def test_what_has_an_object_is_its_own_controllers_affair(status: Any) -> None:
    left = Left()
    obj = left.world.store.put(PIPELINE, "old", {"source": "a", "sink": "b"})
    left.world.store._store(PIPELINE, {**obj, "status": status})
    await left.once()
    assert left.held == [ID]


async def test_what_has_moved_is_not_run_twice() -> None:
    left = Left()
    add_cluster(left.world, "other")
    obj = left.world.store.put(PIPELINE, "old", {"source": "a", "sink": "b"})
    left.world.store._store(PIPELINE, {**obj, "status": {"cluster": f"{NAMESPACE}/other"}})
    await left.once()
    assert left.held == []
    assert f"belongs to {NAMESPACE}/other" in left.world.events.seen[0][2]


async def test_what_is_not_accepted_anywhere_yet_may_still_be_meant_to_stay() -> None:
    left = Left()
    add_cluster(left.world, "other")
    left.world.store.put(PIPELINE, "old", {"source": "a", "sink": "b", "clusterRef": {"name": "other"}})
    await left.once()
    assert left.held == [ID]


async def test_a_cache_that_is_behind_removes_nothing() -> None:
    left = Left()
    left.world.store.put(PIPELINE, "old", {"source": "a", "sink": "b"})
    view = left.world.context.informers[PIPELINE].get(ObjectKey(NAMESPACE, "old"))
    assert view is not None
    left.world.store.informers[PIPELINE]._views.remove(view)
    await left.once()
    assert left.held == [ID]


async def test_what_was_taken_over_meanwhile_is_not_removed() -> None:
    left = Left()
    listed = left.world.context.client.list

    async def late(*args: Any, **named: Any) -> Any:
        page = await listed(*args, **named)
        left.world.routers.pipelines[ID].config.metadata[OWNER_UID] = "uid-of-the-new"
        return page

    left.world.store.list = late  # type: ignore[method-assign]
    await left.once()
    assert left.held == [ID]
    assert left.world.events.seen == []


async def test_nothing_is_done_where_nobody_can_be_sure() -> None:
    left = Left()
    torn = {"type": "QuorumHealthy", "status": "False", "reason": "SplitBrain", "message": "two"}
    left.world.store.edit(CLUSTER, "prod", {"status": {"conditions": [torn]}})
    assert await left.once() is None
    left.world.store.edit(CLUSTER, "prod", {"status": {"conditions": []}})
    left.world.routers.down = {"prod-0", "prod-1", "prod-2"}
    assert [await left.once() for _ in range(2)] == [1.0, 2.0]
    assert left.held == [ID]


def test_a_new_leader_is_asked() -> None:
    left = Left()
    clusters = left.world.context.informers[CLUSTER]
    before = clusters.get(KEY)
    left.world.store.edit(CLUSTER, "prod", {"status": {"leaderId": 2}})
    after = clusters.get(KEY)
    assert leader_or_readiness_changed(Delta(before, after))
    assert not leader_or_readiness_changed(Delta(after, after))
