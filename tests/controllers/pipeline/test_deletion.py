"""Deletion: draining, outages, orphans, and what is not waited for."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.objects.kinds import POD
from controllers.pipeline.graph import OWNER_UID
from controllers.pipeline.reconciler import FINALIZER
from etl_operator.api import CLUSTER, PIPELINE
from etl_operator.router.pb import router_pb2 as pb
from tests.controllers.pipeline.running import ID, NAME, Running
from tests.controllers.routers import Pipeline
from tests.controllers.store import NAMESPACE
from tests.controllers.world import router_status


async def test_deleting_takes_the_pipeline_out_of_the_router() -> None:
    running = await Running().started()
    running.delete()
    await running.once()
    assert running.world.routers.mutations == ["disable", "delete"]
    assert running.world.routers.pipelines == {}
    assert not running.exists
    assert running.world.events.reasons() == ["Deleted"]


async def test_draining_is_waited_for_but_not_for_ever() -> None:
    running = await Running(drainTimeoutSeconds=30).started()
    running.remote.pending = 12
    running.delete()
    assert await running.once() is not None
    assert running.exists
    assert running.status["phase"] == "Deleting"
    running.world.store.now += 31
    await running.once()
    assert not running.exists
    assert running.world.events.reasons() == ["Deleted"]
    assert running.world.routers.forced == [ID]


@pytest.mark.parametrize("minutes", [-2, 2])
async def test_draining_is_measured_on_the_operators_own_clock(minutes: int) -> None:
    """With a server two minutes ahead a pipeline with records inside was deleted at once."""
    running = await Running(drainTimeoutSeconds=30).started()
    running.remote.pending = 150
    running.delete(at=f"2027-01-15T0{8 if minutes > 0 else 7}:{minutes % 60:02}:00Z")
    await running.once()
    running.world.store.now += 29
    await running.once()
    assert running.exists
    assert ID in running.world.routers.pipelines
    running.world.store.now += 1
    await running.once()
    assert not running.exists


async def test_an_outage_takes_no_time_from_the_records() -> None:
    running = await Running(drainTimeoutSeconds=30).started()
    running.remote.pending = 150
    running.world.routers.down = {"prod-0", "prod-1", "prod-2"}
    running.delete()
    await running.once()
    running.world.store.now += 100
    running.world.routers.down = set()
    await running.once()
    assert running.exists
    assert not running.remote.enabled


async def test_the_end_of_draining_is_told() -> None:
    running = await Running(drainTimeoutSeconds=30).started()
    running.remote.pending = 12
    running.delete()
    await running.once()
    running.remote.pending = 0
    await running.once()
    assert not running.exists
    assert running.world.events.reasons() == ["Drained", "Deleted"]
    assert running.world.routers.forced == [], "the router itself still looks for records inside"


@pytest.mark.parametrize("how", ["gone", "terminating"])
async def test_a_cluster_that_goes_holds_nobody(how: str) -> None:
    running = await Running().started()
    if how == "terminating":
        running.store.edit(CLUSTER, "prod", {"metadata": {"finalizers": ["foregroundDeletion"]}})
    running.store.remove(CLUSTER, "prod")
    running.delete()
    await running.once()
    assert not running.exists
    assert running.world.events.reasons() == ["Released"]
    assert running.world.routers.mutations == []


async def test_an_unreachable_router_holds_for_a_bounded_time() -> None:
    running = await Running().started()
    running.world.routers.down = {"prod-0", "prod-1", "prod-2"}
    running.delete()
    assert await running.once() is not None
    assert running.exists
    assert "ClusterUnreachable" in running.condition("Ready")["message"]
    assert "etl.router/force-delete" in running.condition("Ready")["message"]
    running.world.store.now += running.world.context.settings.release_deadline
    await running.once()
    assert not running.exists
    assert running.world.events.seen[-1][:2] == ("Warning", "Orphaned")


async def test_a_long_drain_takes_nothing_from_the_time_for_an_outage() -> None:
    running = await Running(drainTimeoutSeconds=3600).started()
    running.remote.pending = 3
    running.delete()
    await running.once()
    running.world.store.now += running.world.context.settings.release_deadline + 1
    await running.once()
    running.world.routers.down = {"prod-0", "prod-1", "prod-2"}
    await running.once()
    assert running.exists
    running.world.store.now += running.world.context.settings.release_deadline
    await running.once()
    assert not running.exists


async def test_the_end_of_the_namespace_asks_nobody() -> None:
    running = await Running().started()
    running.remote.pending = 12
    running.world.end_namespace()
    running.delete()
    await running.once()
    assert not running.exists
    assert running.world.routers.mutations == []
    assert running.world.events.seen[-1][:2] == ("Normal", "Released")


@pytest.mark.parametrize("cluster", [True, False])
async def test_at_the_end_of_the_definition_nothing_is_waited_for(cluster: bool) -> None:
    running = await Running().started()
    running.remote.pending = 12
    running.world.end_definitions(PIPELINE, *([CLUSTER] if cluster else []))
    running.delete()
    await running.once()
    assert not running.exists
    # A cluster that stays would go on with it.
    assert running.world.routers.mutations == ([] if cluster else ["disable", "delete"])
    assert running.world.events.seen[-1][:2] == ("Normal", "Released" if cluster else "Deleted")


@pytest.mark.parametrize("down", [False, True])
async def test_at_the_end_of_the_namespace_a_cluster_elsewhere_is_asked_once(down: bool) -> None:
    running = Running()
    running.store.edit(PIPELINE, NAME, {"metadata": {"finalizers": [FINALIZER]}})
    running.store.put(CLUSTER, "far", {"replicas": 1}, namespace="other")
    running.store.edit(PIPELINE, NAME, {"status": {"cluster": "other/far"}})
    pod = running.store.put(POD, "far-0", {}, namespace="other", labels={"etl.router/cluster": "far"})
    pod["status"] = router_status(ready=False)
    running.store._store(POD, pod)
    config = pb.PipelineConfig(
        id=ID, metadata={OWNER_UID: running.store.of(PIPELINE, NAME)["metadata"]["uid"]}
    )
    running.world.routers.pipelines[ID] = Pipeline(config, enabled=True, pending=12)
    running.world.routers.down = {"far-0"} if down else set()
    running.world.end_namespace()
    running.delete()
    await running.once()
    assert not running.exists
    assert (ID in running.world.routers.pipelines) is down
    told = ("Warning", "Orphaned") if down else ("Normal", "Deleted")
    assert running.world.events.seen[-1][:2] == told


async def test_force_delete_asks_nobody() -> None:
    running = await Running().started()
    running.world.routers.down = {"prod-0", "prod-1", "prod-2"}
    running.store.edit(PIPELINE, NAME, {"metadata": {"annotations": {"etl.router/force-delete": "true"}}})
    running.delete()
    await running.once()
    assert not running.exists
    assert running.world.events.reasons()[-1] == "FinalizerForced"


async def test_orphan_leaves_the_pipeline_running() -> None:
    running = await Running(deletionPolicy="Orphan").started()
    running.delete()
    await running.once()
    assert not running.exists
    assert running.remote.enabled


async def test_orphan_is_noted_in_the_router_even_at_the_last_moment() -> None:
    """What is found there without an object is removed, unless it says that it is to stay."""
    running = await Running().started()
    running.store.edit(PIPELINE, NAME, {"spec": {"deletionPolicy": "Orphan"}})
    running.delete()
    await running.once()
    assert not running.exists
    assert running.remote.config.metadata["etl.router/deletion-policy"] == "Orphan"
    assert running.remote.enabled
    assert running.world.events.seen[-1][:2] == ("Normal", "Orphaned")


@pytest.mark.parametrize(
    "spec",
    [
        {"drainTimeoutSeconds": "soon"},
        {"drainTimeoutSeconds": True},
        {"drainTimeoutSeconds": -1},
        {"deletionPolicy": ["Orphan"]},
        {"clusterRef": "prod"},
        {"steps": "abc", "source": 5, "dlq": "yes"},
    ],
)
async def test_a_spec_that_is_not_valid_holds_nobody(spec: Any) -> None:
    running = await Running().started()
    running.store.edit(PIPELINE, NAME, {"spec": spec})
    await running.once()
    assert running.condition("Stalled")["reason"] == "ValidationFailed"
    assert f"spec.{next(iter(spec))}" in running.condition("Ready")["message"]
    assert running.remote.enabled, "the last good spec stays in force"
    running.delete()
    await running.once()
    assert not running.exists
    assert running.world.routers.pipelines == {}
    (told,) = [note for _, reason, note in running.world.events.seen if "defaults" in note]
    assert f"spec.{next(iter(spec))}" in told


async def test_deleting_does_not_touch_another_owners_pipeline() -> None:
    running = await Running().started()
    del running.remote.config.metadata[OWNER_UID]
    running.delete()
    await running.once()
    assert not running.exists
    assert ID in running.world.routers.pipelines


async def test_another_owners_pipeline_is_not_marked_as_ours_to_stay() -> None:
    running = await Running().started()
    del running.remote.config.metadata[OWNER_UID]
    running.store.edit(PIPELINE, NAME, {"spec": {"deletionPolicy": "Orphan"}})
    running.delete()
    await running.once()
    assert not running.exists
    assert running.world.routers.mutations == []


async def test_a_cluster_without_members_holds_nobody() -> None:
    running = await Running().started()
    running.store.edit(CLUSTER, "prod", {"spec": {"replicas": 0}})
    for ordinal in range(3):
        running.store.remove(POD, f"prod-{ordinal}")
    running.delete()
    await running.once()
    assert not running.exists
    assert running.world.events.seen[-1] == ("Normal", "Released", f"cluster {NAMESPACE}/prod has no members")
