"""A pipeline that moves to another cluster."""

from __future__ import annotations

import pytest

from controllers.pipeline.reconciler import PipelineReconciler
from etl_operator.api import CLUSTER, PIPELINE
from etl_operator.router.errors import Faulty, Unreachable
from tests.controllers.pipeline.running import NAME, Running, add_cluster
from tests.controllers.store import NAMESPACE


async def test_a_pipeline_that_moves_leaves_the_old_cluster_first() -> None:
    running = await Running(clusterRef={"name": "prod"}).started()
    add_cluster(running.world, "other")
    running.services_to("prod")
    running.world.routers.down = {"prod-0", "prod-1", "prod-2"}
    running.store.edit(PIPELINE, NAME, {"spec": {"clusterRef": {"name": "other"}}})
    await running.once()
    assert f"EtlSource in belongs to cluster {NAMESPACE}/prod" in running.condition("Ready")["message"]
    running.services_to("other")
    assert await running.once() == running.world.context.settings.retry_base
    assert f"cluster {NAMESPACE}/prod still has" in running.condition("Ready")["message"]
    assert running.status["cluster"] == f"{NAMESPACE}/prod"
    assert running.world.routers.mutations == []
    running.world.routers.down = set()
    await running.once()
    assert running.world.routers.mutations == ["disable", "delete", "create", "enable"]
    assert running.condition("Ready")["status"] == "True"
    assert running.status["cluster"] == f"{NAMESPACE}/other"
    assert "DriftCorrected" not in running.world.events.reasons()


async def test_records_have_their_time_with_every_move() -> None:
    running = await Running(clusterRef={"name": "prod"}, drainTimeoutSeconds=30).started()
    add_cluster(running.world, "other")
    for target in ("other", "prod", "other"):
        running.remote.pending = 3
        running.services_to(target)
        running.store.edit(PIPELINE, NAME, {"spec": {"clusterRef": {"name": target}}})
        await running.once()
        assert "drains 3 records" in running.condition("Ready")["message"]
        running.remote.pending = 0
        await running.once()
        assert running.status["cluster"] == f"{NAMESPACE}/{target}"
        running.world.store.now += 1000
    assert running.world.routers.forced == []


async def test_records_have_their_time_after_a_move_that_was_taken_back() -> None:
    running = await Running(clusterRef={"name": "prod"}, drainTimeoutSeconds=30).started()
    add_cluster(running.world, "other")
    running.remote.pending = 3
    for target in ("other", "prod"):
        running.services_to(target)
        running.store.edit(PIPELINE, NAME, {"spec": {"clusterRef": {"name": target}}})
        await running.once()
    running.world.store.now += 1000
    running.remote.pending = 3
    running.services_to("other")
    running.store.edit(PIPELINE, NAME, {"spec": {"clusterRef": {"name": "other"}}})
    await running.once()
    assert "drains 3 records" in running.condition("Ready")["message"]
    assert running.world.routers.forced == []


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_move_that_was_taken_back_is_no_drift(restarted: bool) -> None:
    running = await Running(clusterRef={"name": "prod"}).started()
    add_cluster(running.world, "other")
    running.remote.pending = 3
    for target in ("other", "prod"):
        running.services_to(target)
        running.store.edit(PIPELINE, NAME, {"spec": {"clusterRef": {"name": target}}})
        if restarted:
            running.reconciler = PipelineReconciler(running.world.context)
        await running.once()
    assert running.remote.enabled
    assert running.status["enabled"] is True
    assert running.world.events.reasons() == ["Resumed"]
    # From now on it is drift again.
    running.remote.enabled = False
    await running.once()
    assert running.world.events.reasons() == ["Resumed", "DriftCorrected"]


@pytest.mark.parametrize("method", ["CreatePipeline", "DeletePipeline"])
async def test_a_move_that_failed_half_way_and_was_taken_back_is_no_drift(method: str) -> None:
    """The old cluster had disabled the pipeline, or had lost it already."""
    running = await Running(clusterRef={"name": "prod"}).started()
    add_cluster(running.world, "other")
    running.world.routers.errors[method] = Unreachable("connection refused", address="a", method=method)
    for target in ("other", "prod"):
        running.services_to(target)
        running.store.edit(PIPELINE, NAME, {"spec": {"clusterRef": {"name": target}}})
        await running.once()
        running.world.routers.errors.clear()
    assert running.remote.enabled
    assert "DriftCorrected" not in running.world.events.reasons()


async def test_a_registry_that_does_not_answer_fails_no_pipeline() -> None:
    running = Running()
    running.world.routers.errors["GetServiceEndpoints"] = Faulty("registry is busy")
    await running.once()
    assert running.condition("Ready")["status"] == "True"
    assert {tuple(stage.get("endpoints") or ()) for stage in running.status["stages"]} == {()}


async def test_a_pipeline_whose_cluster_is_gone_does_not_claim_to_run() -> None:
    running = await Running().started()
    running.store.remove(CLUSTER, "prod")
    await running.once()
    assert running.condition("Ready")["reason"] == "ClusterNotFound"
    assert running.condition("Running")["status"] == running.condition("Accepted")["status"] == "False"
    assert (running.status["enabled"], running.status["phase"]) == (False, "Pending")
    running.world.routers.pipelines.clear()
    running.store.put(CLUSTER, "prod", {"replicas": 3})
    await running.once()
    assert running.condition("Ready")["status"] == "True"
    assert running.world.events.reasons()[-1] == "PipelineSubmitted", "a new cluster has lost nothing"


@pytest.mark.parametrize("how", ["gone", "terminating"])
async def test_a_pipeline_moves_away_from_a_cluster_that_goes(how: str) -> None:
    running = await Running(clusterRef={"name": "prod"}).started()
    add_cluster(running.world, "other")
    if how == "terminating":
        running.store.edit(CLUSTER, "prod", {"metadata": {"finalizers": ["foregroundDeletion"]}})
    running.store.remove(CLUSTER, "prod")
    running.store.edit(PIPELINE, NAME, {"spec": {"clusterRef": {"name": "other"}}})
    await running.once()
    assert running.status["cluster"] == f"{NAMESPACE}/other"
    assert "delete" not in running.world.routers.mutations
