"""Deletion: pipelines that use the service, registrations, and what is not waited for."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.objects.kinds import POD
from controllers.pipeline.reconciler import PipelineReconciler
from controllers.service.reconciler import ServiceReconciler
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE
from etl_operator.router.errors import Rejected
from informers.objects import ObjectKey
from tests.controllers.service.running import ADDRESSES, KEY, NAME, Running
from tests.controllers.store import NAMESPACE
from tests.controllers.world import router_status


async def test_deleting_deregisters_everywhere() -> None:
    running = await Running().started()
    running.store.remove(SOURCE, NAME)
    await running.once()
    assert running.registered() == []
    assert not running.exists
    assert running.world.events.reasons() == ["Deregistered"]


async def test_deletion_waits_for_pipelines_that_use_it() -> None:
    running = await Running().started()
    running.add(SINK, "out")
    running.store.put(PIPELINE, "p", {"source": NAME, "steps": [], "sink": "out", "enabled": True})
    running.store.remove(SOURCE, NAME)
    await running.once()
    assert running.exists
    assert running.condition("DeletionBlocked")["status"] == "True"
    assert running.condition("DeletionBlocked")["message"] == "used by EtlPipeline p"
    assert running.registered() == ADDRESSES
    assert running.world.events.seen == [], "the pipeline may be about to go as well"
    running.store.now += running.world.context.settings.warn_after
    await running.once()
    await running.once()
    assert running.world.events.reasons() == ["DeletionBlocked"]
    running.store.remove(PIPELINE, "p")
    await running.once()
    assert not running.exists


async def test_a_deletion_that_waits_leaves_a_name_that_it_has_lost_to_its_new_holder() -> None:
    running = await Running().started()
    running.store.put(PIPELINE, "p", {"source": NAME, "steps": [], "sink": "out", "enabled": True})
    running.add(SINK, NAME, created="2020-01-01T00:00:00Z")
    await ServiceReconciler(running.world.context, SINK).reconcile(KEY)
    running.store.remove(SOURCE, NAME)
    await running.once()
    assert running.exists
    registration, _ = running.world.keeper.wanted["etl/kafka"]
    assert registration.type == 3, "the sink's"


async def test_a_member_that_keeps_the_registration_holds_the_deletion() -> None:
    # It is not ready any more, so that only the keeper knows that it was told of the service.
    running = await Running().started()
    running.world.keeper.keeps = {ADDRESSES[2]: Rejected("not now")}
    running.world.set_ready("prod-2", False)
    running.store.remove(SOURCE, NAME)
    await running.once()
    assert running.exists
    assert "not now" in running.condition("Ready")["message"]
    assert "etl/kafka" not in running.world.keeper.wanted
    running.world.keeper.keeps = {}
    await running.once()
    assert not running.exists


async def test_force_delete_breaks_the_block() -> None:
    running = await Running().started()
    running.store.put(PIPELINE, "p", {"source": NAME, "steps": [], "sink": "out"})
    running.store.edit(SOURCE, NAME, {"metadata": {"annotations": {"etl.router/force-delete": "true"}}})
    running.store.remove(SOURCE, NAME)
    await running.once()
    assert not running.exists


@pytest.mark.parametrize("how", ["force", "orphan"])
async def test_what_is_left_as_it_is_stays_registered(how: str) -> None:
    running = await Running(deletionPolicy="Orphan" if how == "orphan" else "Delete").started()
    if how == "force":
        running.store.edit(SOURCE, NAME, {"metadata": {"annotations": {"etl.router/force-delete": "true"}}})
    running.world.routers.errors["Deregister"] = Rejected("nobody may ask")
    running.store.remove(SOURCE, NAME)
    await running.once()
    assert not running.exists
    assert running.registered() == ADDRESSES
    assert "etl/kafka" not in running.world.keeper.wanted, "no heartbeats any more"
    kind, reason, note = running.world.events.seen[-1]
    assert (kind, reason) == (("Warning", "FinalizerForced") if how == "force" else ("Normal", "Orphaned"))
    assert "the router was not called" in note
    assert "lease" in note


async def test_everything_deleted_at_once_goes() -> None:
    running = await Running().started()
    running.add(SINK, "out")
    running.store.put(PIPELINE, "p", {"source": NAME, "steps": [], "sink": "out", "enabled": True})
    pipelines = PipelineReconciler(running.world.context)
    sinks = ServiceReconciler(running.world.context, SINK)
    out, pipeline = ObjectKey(NAMESPACE, "out"), ObjectKey(NAMESPACE, "p")
    await sinks.reconcile(out)
    await pipelines.reconcile(pipeline)
    for resource, name in ((SOURCE, NAME), (SINK, "out"), (PIPELINE, "p"), (CLUSTER, "prod")):
        running.store.remove(resource, name)
    await running.once()
    await sinks.reconcile(out)
    await pipelines.reconcile(pipeline)
    assert not [key for resource, key in running.store.objects if resource in (SOURCE, SINK, PIPELINE)]


async def test_an_unreachable_pod_holds_for_a_bounded_time() -> None:
    running = await Running().started()
    running.world.routers.down = {"prod-2"}
    running.store.remove(SOURCE, NAME)
    assert await running.once() is not None
    assert running.exists
    condition = running.store.condition(SOURCE, NAME, "Ready")
    assert condition["reason"] == "Deleting"
    assert "etl.router/force-delete" in condition["message"]
    running.store.now += running.world.context.settings.release_deadline
    await running.once()
    assert not running.exists
    assert running.world.events.seen[-1][:2] == ("Warning", "Orphaned")


async def test_the_end_of_the_namespace_waits_neither_for_routers_nor_for_users() -> None:
    running = await Running().started()
    running.store.put(PIPELINE, "p", {"source": NAME, "steps": [], "sink": "out"})
    running.world.routers.down = {"prod-2"}
    running.world.end_namespace()
    running.store.remove(SOURCE, NAME)
    await running.once()
    assert not running.exists
    assert running.world.events.seen[-1][:2] == ("Normal", "Released")


async def test_the_end_of_the_definition_waits_neither_for_routers_nor_for_users() -> None:
    running = await Running().started()
    running.store.put(PIPELINE, "p", {"source": NAME, "steps": [], "sink": "out"})
    running.world.routers.down = {"prod-2"}
    running.world.end_definitions(SOURCE)
    running.store.remove(SOURCE, NAME)
    await running.once()
    assert not running.exists
    kind, reason, note = running.world.events.seen[-1]
    assert (kind, reason) == ("Warning", "Orphaned")
    assert "the CRD of EtlSource is being deleted" in note


@pytest.mark.parametrize("down", [False, True])
async def test_at_the_end_of_the_namespace_a_cluster_elsewhere_is_asked_once(down: bool) -> None:
    running = await Running().started()
    running.store.put(CLUSTER, "far", {"replicas": 1}, namespace="other")
    pod = running.store.put(POD, "far-0", {}, namespace="other", labels={"etl.router/cluster": "far"})
    running.store._store(POD, {**pod, "status": router_status(ready=True)})
    running.store.edit(SOURCE, NAME, {"status": {"cluster": "other/far"}})
    running.world.routers.down = {"far-0"} if down else set()
    running.world.end_namespace()
    running.store.remove(SOURCE, NAME)
    await running.once()
    assert not running.exists
    told = ("Warning", "Orphaned") if down else ("Normal", "Deregistered")
    assert running.world.events.seen[-1][:2] == told


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_the_deadline_is_not_the_servers_affair(minutes: int) -> None:
    running = await Running().started()
    running.world.routers.down = {"prod-2"}
    running.store.remove(SOURCE, NAME, at=f"2027-01-15T0{8 if minutes > 0 else 7}:{minutes % 60:02}:00Z")
    await running.once()
    assert running.exists
    running.store.now += running.world.context.settings.release_deadline - 1
    await running.once()
    assert running.exists
    running.store.now += 1
    await running.once()
    assert not running.exists


@pytest.mark.parametrize(
    "spec",
    [
        {"deletionPolicy": 7},
        {"clusterRef": "prod"},
        {"grpc": None},
        {"grpc": {"endpoint": 50051}},
        {"grpc": {"endpoint": "nowhere"}},
        {"labels": ["a"], "weight": "much"},
        {"healthCheck": True},
    ],
)
async def test_a_spec_that_is_not_valid_holds_nobody(spec: Any) -> None:
    running = await Running().started()
    running.store.edit(SOURCE, NAME, {"spec": spec})
    await running.once()
    running.store.remove(SOURCE, NAME)
    await running.once()
    assert not running.exists
    assert running.registered() == []
    (told,) = [note for _, reason, note in running.world.events.seen if "defaults" in note]
    assert f"spec.{next(iter(spec))}" in told


async def test_a_cluster_that_is_gone_holds_nobody() -> None:
    running = await Running().started()
    running.store.remove(CLUSTER, "prod")
    running.store.remove(SOURCE, NAME)
    await running.once()
    assert not running.exists
