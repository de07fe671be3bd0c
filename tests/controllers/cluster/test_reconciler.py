"""A cluster's children, status and end."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.objects.kinds import CONFIG_MAP, DISRUPTION_BUDGET, SERVICE, SERVICE_ACCOUNT, STATEFUL_SET
from etl_operator.api import CLUSTER
from informers.errors import Forbidden
from tests.controllers.cluster.running import NAME, Running


async def test_children_are_created_and_owned() -> None:
    running = Running()
    await running.once()
    for resource, name in [
        (CONFIG_MAP, "prod-config"),
        (SERVICE, "prod-headless"),
        (SERVICE, "prod"),
        (SERVICE_ACCOUNT, "prod"),
        (DISRUPTION_BUDGET, "prod"),
        (STATEFUL_SET, "prod"),
    ]:
        (owner,) = running.store.of(resource, name)["metadata"]["ownerReferences"]
        assert owner["controller"]
        assert owner["uid"] == running.store.of(CLUSTER, NAME)["metadata"]["uid"]
    assert running.condition("Ready")["status"] == "Unknown"
    assert running.condition("Reconciling")["status"] == "True"


async def test_a_running_cluster_is_ready_and_says_who_leads() -> None:
    running = await Running().started()
    assert running.status["leaderId"] == 1
    assert running.status["leaderPod"] == "prod-0"
    assert running.status["clusterHealth"] == "Healthy"
    assert running.status["readyReplicas"] == running.status["updatedReplicas"] == 3
    assert running.status["endpoint"] == "prod.etl.svc.cluster.local:50051"
    assert [node["role"] for node in running.status["nodes"]] == ["Leader", "Follower", "Follower"]
    for absent in ("Reconciling", "Stalled"):
        assert not running.condition(absent)
    for present in ("Available", "QuorumHealthy", "ConfigApplied", "VolumesResized"):
        assert running.condition(present)["status"] == "True"


async def test_a_hundred_passes_of_a_converged_cluster_write_nothing() -> None:
    running = await Running().started()
    running.store.writes.clear()
    running.world.events.seen.clear()
    for _ in range(100):
        assert await running.once() == running.world.context.settings.poll_interval
    assert running.store.writes == []
    assert running.world.events.seen == []


async def test_drift_of_a_child_is_put_back_and_nothing_else_is_written() -> None:
    running = await Running().started()
    running.store.edit(SERVICE, "prod", {"spec": {"selector": {"app.kubernetes.io/name": "stolen"}}})
    running.store.writes.clear()
    await running.once()
    assert running.store.writes == [("apply", "Service", "etl/prod")]
    selector = running.store.of(SERVICE, "prod")["spec"]["selector"]
    assert selector["app.kubernetes.io/name"] == "etl-router"


async def test_a_foreign_annotation_is_none_of_our_business() -> None:
    running = await Running().started()
    running.store.edit(SERVICE, "prod", {"metadata": {"annotations": {"foreign": "yes"}}})
    running.store.writes.clear()
    await running.once()
    assert running.store.writes == []


async def test_somebody_elses_object_is_refused_then_adopted_on_request() -> None:
    running = Running()
    running.store.put(CONFIG_MAP, "prod-config", None)
    await running.once()
    assert running.condition("Ready")["reason"] == "NameConflict"
    assert running.condition("Stalled")["status"] == "True"
    assert not running.store.has(STATEFUL_SET, NAME)
    running.store.edit(CONFIG_MAP, "prod-config", {"metadata": {"annotations": {"etl.router/adopt": "true"}}})
    await running.once()
    assert running.store.has(STATEFUL_SET, NAME)
    assert not running.condition("Stalled")


async def test_what_another_controller_holds_is_not_adopted_even_on_request() -> None:
    running = Running()
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "uid": "u", "controller": True}
    consent = {"etl.router/adopt": "true"}
    running.store.put(CONFIG_MAP, "prod-config", None, ownerReferences=[owner], annotations=consent)
    await running.once()
    assert running.condition("Stalled")["reason"] == "NameConflict"
    assert (
        "ConfigMap etl/prod-config is controlled by Deployment x" in running.condition("Stalled")["message"]
    )
    assert running.store.of(CONFIG_MAP, "prod-config")["metadata"]["ownerReferences"] == [owner]


async def test_children_of_a_former_cluster_of_the_name_are_waited_for() -> None:
    running = await Running().started()
    running.store.remove(CLUSTER, NAME)
    running.store.put(CLUSTER, NAME, {"replicas": 3, "image": "etl-router:1"})
    running.store.writes.clear()
    await running.once()
    assert {verb for verb, _, _ in running.store.writes} == {"status"}
    assert running.condition("Ready")["status"] == "Unknown"
    assert "NameConflict" not in running.world.events.reasons()


async def test_the_status_knows_the_revision_before_and_the_protocol() -> None:
    running = await Running().started()
    first = running.status["updateRevision"]
    assert running.status["currentRevision"] == first
    assert running.status["protocol"] == "etl"
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "etl-router:2"}})
    await running.once()
    running.world.run_stateful_set(NAME)
    await running.once()
    assert running.status["currentRevision"] == first != running.status["updateRevision"]
    await running.settle()
    assert running.status["currentRevision"] == running.status["updateRevision"] != first
    running.world.routers.down = {"prod-0", "prod-1", "prod-2"}
    await running.once()
    assert running.status["protocol"] == "etl"


async def test_the_status_says_which_members_cannot_use_the_durable_buffer() -> None:
    nats = {"urls": ["nats://nats:4222"]}
    running = await Running().started()
    assert running.status["buffer"] == {"type": "Memory"}
    running.store.edit(CLUSTER, NAME, {"spec": {"buffer": {"type": "Nats", "nats": nats}}})
    await running.settle()
    assert running.status["buffer"] == {"type": "Nats", "healthy": True}
    running.world.routers.buffer_troubles = {2: "stream s: maximum bytes exceeded"}
    await running.once()
    assert running.status["buffer"] == {
        "type": "Nats",
        "healthy": False,
        "message": "prod-1: stream s: maximum bytes exceeded",
    }
    running.world.routers.buffer_troubles = {}
    await running.once()
    assert running.status["buffer"] == {"type": "Nats", "healthy": True}


@pytest.mark.parametrize(("replicas", "budget"), [(1, None), (2, 1), (3, 1), (5, 2)])
async def test_the_disruption_budget_follows_the_quorum(replicas: int, budget: int | None) -> None:
    running = Running(replicas)
    await running.once()
    assert running.store.has(DISRUPTION_BUDGET, NAME) is (budget is not None)
    if budget is not None:
        assert running.store.of(DISRUPTION_BUDGET, NAME)["spec"]["maxUnavailable"] == budget


async def test_a_doubtful_spec_is_warned_of_once_per_generation() -> None:
    running = Running(4, raft={"electionTimeoutMs": 300, "heartbeatIntervalMs": 100})
    for _ in range(3):
        await running.once()
    assert running.world.events.reasons().count("EvenReplicas") == 1
    assert running.world.events.reasons().count("ElectionTimeoutTight") == 1


async def test_the_end_of_the_namespace_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running()
    causes = [{"reason": "NamespaceTerminating"}]

    async def refuse(*_: Any, **__: Any) -> None:
        raise Forbidden(403, "Forbidden", "being terminated", {"causes": causes})

    monkeypatch.setattr(running.store, "apply", refuse)
    assert await running.once() is None


async def test_a_child_that_may_not_be_made_is_told_in_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running()

    async def refuse(*_: Any, **__: Any) -> None:
        raise Forbidden(403, "Forbidden", "exceeded quota: services=0")

    with monkeypatch.context() as refused:
        refused.setattr(running.store, "apply", refuse)
        assert await running.once() is not None
    assert running.condition("Ready")["reason"] == "ValidationFailed"
    assert "exceeded quota" in running.condition("Stalled")["message"]
    await running.started()
    assert running.condition("Stalled") == {}


async def test_an_obsolete_child_goes() -> None:
    running = await Running().started()
    running.store.edit(CLUSTER, NAME, {"spec": {"serviceAccountName": "mine"}})
    await running.once()
    assert not running.store.has(SERVICE_ACCOUNT, NAME)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_what_a_user_made_under_the_name_of_an_obsolete_child_stays(when: str) -> None:
    if when == "before":
        running = Running(serviceAccountName=NAME)
        running.store.put(SERVICE_ACCOUNT, NAME)
    else:
        running = await Running().started()
        running.store.informers[SERVICE_ACCOUNT].fall_behind()
        running.store.remove(SERVICE_ACCOUNT, NAME)
        running.store.put(SERVICE_ACCOUNT, NAME)
        running.store.edit(CLUSTER, NAME, {"spec": {"serviceAccountName": "mine"}})
    await running.once()
    assert running.store.has(SERVICE_ACCOUNT, NAME)
    assert ("delete", "ServiceAccount", "etl/prod") not in running.store.writes


async def test_a_deleted_cluster_is_left_to_garbage_collection() -> None:
    running = await Running().started()
    running.store.edit(CLUSTER, NAME, {"metadata": {"finalizers": ["foregroundDeletion"]}})
    running.store.remove(CLUSTER, NAME)
    running.store.writes.clear()
    assert await running.once() is None
    assert running.store.writes == []
    assert (running.reconciler._memory, running.reconciler._children._applier._children) == ({}, {}), (
        "nothing is left"
    )
