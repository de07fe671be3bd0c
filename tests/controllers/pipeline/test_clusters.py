"""Which cluster a pipeline runs in, and what its services must be."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.members.reach import readiness_or_freeze_changed
from controllers.references.clusters import choose_cluster
from controllers.references.services import SERVICES, pipelines_using
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE, TRANSFORM
from informers.cache.informer import Delta
from informers.objects import ObjectKey
from tests.controllers.pipeline.running import KEY, NAME, Running, add_cluster
from tests.controllers.store import NAMESPACE
from tests.controllers.world import World


async def test_missing_references_are_named_and_found_again() -> None:
    running = Running(missing=("enrich", "out"))
    await running.once()
    message = running.condition("ReferencesResolved")["message"]
    assert "EtlTransform enrich" in message
    assert "EtlSink out" in message
    assert "filter" not in message
    assert running.condition("Ready")["reason"] == "ReferenceNotFound"
    assert running.world.routers.mutations == []
    assert "finalizers" not in running.store.of(PIPELINE, NAME)["metadata"]
    for resource, name in ((TRANSFORM, "enrich"), (SINK, "out")):
        running.store.put(resource, name, {"grpc": {"endpoint": "x:1"}})
        informers = running.world.context.informers
        view = informers[resource].get(ObjectKey(NAMESPACE, name))
        assert view is not None
        assert list(pipelines_using(resource, informers[PIPELINE])(view)) == [KEY]
    await running.once()
    assert running.condition("Ready")["status"] == "True"


async def test_without_a_cluster_it_says_so() -> None:
    running = Running()
    running.store.remove(CLUSTER, "prod")
    await running.once()
    assert running.condition("Ready")["reason"] == "ClusterNotFound"


async def test_several_clusters_need_a_word_or_a_default() -> None:
    running = Running()
    add_cluster(running.world, "second")
    await running.once()
    assert running.condition("Ready")["reason"] == "AmbiguousCluster"
    assert "prod, second" in running.condition("Ready")["message"]
    running.store.edit(PIPELINE, NAME, {"spec": {"clusterRef": {"name": "prod"}}})
    await running.once()
    assert running.condition("Ready")["reason"] == "DependencyNotReady"
    assert "EtlSource in has no cluster" in running.condition("ReferencesResolved")["message"]
    assert running.world.events.seen == []
    running.services_to("prod")
    await running.once()
    assert running.status["cluster"] == "etl/prod"


@pytest.mark.parametrize("reference", ["none", "removed"])
async def test_a_second_cluster_does_not_end_what_works_with_the_first(reference: str) -> None:
    named: dict[str, Any] = {"clusterRef": {"name": "prod"}} if reference == "removed" else {}
    running = await Running(**named).started()
    running.services_to("prod")
    add_cluster(running.world, "default")
    running.store.edit(PIPELINE, NAME, {"spec": {"clusterRef": None}})
    await running.once()
    assert running.condition("Ready")["status"] == "True"
    assert running.status["cluster"] == f"{NAMESPACE}/prod"
    assert running.world.routers.mutations == []


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"source": "nowhere"}, "ReferenceNotFound"),
        ({"clusterRef": {"name": "nowhere"}}, "ClusterNotFound"),
        ({"clusterRef": {"name": "shared", "namespace": "platform"}}, "CrossNamespaceNotAllowed"),
        ({}, "AmbiguousCluster"),
    ],
)
async def test_each_trouble_that_lasts_has_its_own_event(spec: Any, reason: str) -> None:
    running = Running(**spec)
    if reason == "AmbiguousCluster":
        add_cluster(running.world, "second")
    assert await running.once() == running.world.context.settings.warn_after
    assert running.condition("Ready")["reason"] == reason
    resolved = running.condition("ReferencesResolved")
    assert resolved["status"] == ("False" if reason == "ReferenceNotFound" else "Unknown")
    assert resolved["reason"] == reason
    assert running.world.events.seen == [], "it may be on its way: objects come in any order"
    running.store.now += running.world.context.settings.warn_after
    assert await running.once() is None
    assert [one[:2] for one in running.world.events.seen] == [("Warning", reason)]


async def test_services_that_are_not_ready_are_not_passed_over() -> None:
    running = await Running().started()
    assert "EtlSource in (no status yet)" in running.condition("Degraded")["message"]
    for resource, name in ((SOURCE, "in"), (TRANSFORM, "filter"), (TRANSFORM, "enrich"), (SINK, "out")):
        running.ready(resource, name, True)
    await running.once()
    assert not running.condition("Degraded")
    assert running.condition("Ready")["message"] == "accepted and running"
    running.ready(SOURCE, "in", False)
    await running.once()
    assert running.condition("Ready")["status"] == "True"
    for kind in ("Ready", "Degraded"):
        assert "EtlSource in (ProbeFailed)" in running.condition(kind)["message"]
        assert "out" not in running.condition(kind)["message"]
    assert "running" not in running.condition("Ready")["message"]


async def test_the_one_named_default_is_the_default() -> None:
    running = Running()
    add_cluster(running.world, "default")
    await running.once()
    assert running.status["cluster"] == "etl/default"


@pytest.mark.parametrize("exists", [True, False])
async def test_another_namespaces_cluster_needs_consent_and_is_not_revealed(exists: bool) -> None:
    running = Running(clusterRef={"name": "shared", "namespace": "platform"})
    if exists:
        add_cluster(running.world, "shared", "platform")
    await running.once()
    condition = running.condition("Ready")
    assert condition["reason"] == "CrossNamespaceNotAllowed"
    assert "platform/shared" in condition["message"]
    assert "exist" not in condition["message"]


async def test_pipelines_hear_of_a_split_brain_that_begins_and_ends() -> None:
    running = Running()
    status = {"conditions": [{"type": "Ready", "status": "False", "reason": "PodsNotReady", "message": ""}]}
    running.store.edit(CLUSTER, "prod", {"status": status})
    clusters = running.world.context.informers[CLUSTER]
    before = clusters.get(ObjectKey(NAMESPACE, "prod"))
    split = {"type": "QuorumHealthy", "status": "False", "reason": "SplitBrain", "message": "two lead"}
    running.store.edit(CLUSTER, "prod", {"status": {"conditions": [split, *status["conditions"]]}})
    after = clusters.get(ObjectKey(NAMESPACE, "prod"))
    assert readiness_or_freeze_changed(Delta(before, after, False))
    assert readiness_or_freeze_changed(Delta(after, before, False))
    assert not readiness_or_freeze_changed(Delta(after, after, False))


async def test_a_split_brain_freezes_submission() -> None:
    running = Running()
    torn = {"type": "QuorumHealthy", "status": "False", "reason": "SplitBrain", "message": "two"}
    running.store.edit(CLUSTER, "prod", {"status": {"conditions": [torn]}})
    await running.once()
    assert running.condition("Ready")["reason"] == "SplitBrain"
    assert running.world.routers.mutations == []


def test_the_cluster_it_has_is_no_choice_once_it_does_not_admit_the_namespace() -> None:
    world = World()
    add_cluster(world, "own")
    world.store.put(CLUSTER, "far", {"allowedNamespaces": [NAMESPACE]}, namespace="elsewhere")
    clusters = world.context.informers[CLUSTER]

    def chosen() -> str:
        found = choose_cluster(NAMESPACE, {}, clusters, "elsewhere/far").cluster
        return str(found.key) if found else ""

    assert chosen() == "elsewhere/far"
    shut = {**world.store.objects[CLUSTER, ObjectKey("elsewhere", "far")], "spec": {"allowedNamespaces": []}}
    world.store._store(CLUSTER, shut)
    assert chosen() == f"{NAMESPACE}/own"


async def test_a_name_lost_to_another_service_is_no_reference() -> None:
    running = Running(missing=("in",))
    running.store.put(SINK, "in", {"grpc": {"endpoint": "x:1"}}, creationTimestamp="2020-01-01T00:00:00Z")
    running.store.put(SOURCE, "in", {"grpc": {"endpoint": "y:1"}})
    await running.once()
    assert running.condition("Ready")["reason"] == "DependencyNotReady"
    assert "EtlSource in has the same name" in running.condition("Ready")["message"]
    assert running.world.routers.mutations == []


def test_every_service_kind_is_watched() -> None:
    assert {resource.kind for resource in SERVICES} == {"EtlSource", "EtlTransform", "EtlSink"}
