"""A pipeline's life: references, submission, change, drift, deletion."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.members.reach import readiness_or_freeze_changed
from controllers.objects.kinds import POD, STATEFUL_SET
from controllers.pipeline.graph import OWNER_UID
from controllers.pipeline.reconciler import FINALIZER, PipelineReconciler
from controllers.references.clusters import choose_cluster
from controllers.references.services import SERVICES, pipelines_using
from controllers.service.registration import split_endpoint
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE, TRANSFORM
from etl_operator.router.errors import (
    Faulty,
    Overloaded,
    Rejected,
    RouterAdminUnavailable,
    RouterError,
    Unreachable,
)
from etl_operator.router.pb import router_pb2 as pb
from informers.cache.informer import Delta
from informers.objects import ObjectKey, Resource
from tests.controllers.world import NAMESPACE, STARTED_AT, Pipeline, World, router_status

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


async def test_a_pipeline_is_submitted_enabled_and_described() -> None:
    running = Running()
    assert await running.once() == running.world.context.settings.drift_interval
    assert running.world.routers.mutations == ["create", "enable"]
    assert running.remote.enabled
    status = running.status
    assert status["pipelineId"] == ID
    assert status["cluster"] == "etl/prod"
    assert status["enabled"] is True
    assert status["phase"] == "Running"
    assert [stage["id"] for stage in status["stages"]] == [
        "analytics-source",
        "analytics-transform-0",
        "analytics-transform-1",
        "analytics-sink",
    ]
    assert status["stages"][0]["endpoints"] == ["in-svc:50051"]
    for kind in ("ReferencesResolved", "Accepted", "Running", "Ready"):
        assert running.condition(kind)["status"] == "True"
    assert running.store.of(PIPELINE, NAME)["metadata"]["finalizers"] == [FINALIZER]
    assert running.world.events.reasons() == ["PipelineSubmitted"]


async def test_the_graph_is_linear_and_says_whose_it_is() -> None:
    running = await Running(dlq={"enabled": True, "maxRetries": 7, "sink": "out"}).started()
    config = running.remote.config
    assert [(edge.from_stage, edge.to_stage) for edge in config.edges] == [
        ("analytics-source", "analytics-transform-0"),
        ("analytics-transform-0", "analytics-transform-1"),
        ("analytics-transform-1", "analytics-sink"),
    ]
    assert config.stages[-1].id == "analytics-dlq"
    assert config.metadata["etl.router/dlq.max-retries"] == "7"
    assert config.metadata["etl.router/dlq.sink"] == "out"
    assert config.metadata[OWNER_UID] == running.store.of(PIPELINE, NAME)["metadata"]["uid"]


async def test_dead_letters_travel_in_the_metadata() -> None:
    dlq = {"enabled": True, "maxRetries": 7, "retryBackoffMs": 5, "maxRetryBackoffMs": 50, "sink": "out"}
    running = await Running(dlq=dlq).started()
    metadata = running.remote.config.metadata
    assert {key: value for key, value in metadata.items() if key.startswith("etl.router/dlq.")} == {
        "etl.router/dlq.enabled": "true",
        "etl.router/dlq.max-retries": "7",
        "etl.router/dlq.retry-backoff-ms": "5",
        "etl.router/dlq.max-retry-backoff-ms": "50",
        "etl.router/dlq.sink": "out",
    }
    assert [stage.id for stage in running.remote.config.stages][-1] == f"{NAME}-dlq"
    assert not [edge for edge in running.remote.config.edges if "dlq" in edge.from_stage + edge.to_stage]


async def test_an_ipv6_endpoint_is_shown_as_it_is_written() -> None:
    running = Running()
    running.world.routers.hosts["in"] = "fd00::7"
    await running.once()
    shown = running.status["stages"][0]["endpoints"]
    assert shown == ["[fd00::7]:50051"]
    assert split_endpoint(shown[0]) == ("fd00::7", 50051)


async def test_a_hundred_passes_of_a_converged_pipeline_write_nothing() -> None:
    running = await Running().started()
    running.store.writes.clear()
    for _ in range(100):
        await running.once()
    assert running.store.writes == []
    assert running.world.routers.mutations == []
    assert running.world.events.seen == []


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


async def test_a_pipeline_keeps_running_on_its_last_good_spec() -> None:
    running = await Running().started()
    before = running.remote.config
    running.store.edit(PIPELINE, NAME, {"spec": {"sink": "nowhere"}})
    await running.once()
    assert running.condition("Ready")["status"] == "False"
    assert running.condition("Running")["status"] == "True"
    assert running.remote.config == before
    assert running.remote.enabled


async def test_a_changed_spec_is_an_update_and_nothing_else() -> None:
    running = await Running().started()
    running.store.edit(PIPELINE, NAME, {"spec": {"steps": ["enrich"]}})
    await running.once()
    assert running.world.routers.mutations == ["update"]
    assert running.status["version"] == 2
    assert running.world.events.reasons() == ["PipelineUpdated"]


@pytest.mark.parametrize(("first", "then", "call"), [(True, False, "disable"), (False, True, "enable")])
async def test_the_switch_is_only_a_switch(first: bool, then: bool, call: str) -> None:
    running = await Running(enabled=first).started()
    running.store.edit(PIPELINE, NAME, {"spec": {"enabled": then}})
    await running.once()
    assert running.world.routers.mutations == [call]
    assert running.remote.enabled is then
    assert running.condition("Ready")["status"] == "True"
    assert running.condition("Running")["status"] == str(then)
    assert "DriftCorrected" not in running.world.events.reasons()


@pytest.mark.parametrize("damage", ["lost", "changed", "switched"])
async def test_drift_in_the_router_is_corrected(damage: str) -> None:
    running = await Running().started()
    if damage == "lost":
        running.world.routers.pipelines.clear()
    elif damage == "changed":
        running.remote.config.metadata["etl.router/spec-hash"] = "old"
    else:
        running.remote.enabled = False
    await running.once()
    assert running.remote.enabled
    assert running.world.events.reasons() == ["DriftCorrected"]
    assert running.condition("Ready")["status"] == "True"


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda config: config.stages.pop(1), "stages"),
        (lambda config: config.edges.add(from_stage="a", to_stage="b"), "edges"),
        (lambda config: setattr(config.stages[2], "parallelism", 9), "stages[2].parallelism"),
        (
            lambda config: setattr(config.stages[0].service_selector, "service_name", "spy"),
            "stages[0].service_selector.service_name",
        ),
        (lambda config: config.edges[0].condition.CopyFrom(pb.Condition(always="x")), "edges[0].condition"),
        (lambda config: config.metadata.pop("etl.router/owner-uid"), ""),
        (
            lambda config: config.metadata.update({"etl.router/dlq.enabled": "true"}),
            "metadata[etl.router/dlq",
        ),
        (lambda config: setattr(config, "description", "mine"), "description"),
    ],
)
async def test_drift_behind_an_unchanged_hash_is_seen(damage: Any, named: str) -> None:
    running = await Running().started()
    wanted = pb.PipelineConfig()
    wanted.CopyFrom(running.remote.config)
    held = pb.PipelineConfig()
    held.CopyFrom(wanted)
    damage(held)
    running.remote.config = held
    await running.once()
    if not named:
        # Without an owner it is somebody else's.
        assert running.condition("Ready")["reason"] == "NameConflict"
        return
    assert running.world.routers.mutations == ["update"]
    assert running.remote.config == wanted
    ((_, reason, note),) = running.world.events.seen
    assert reason == "DriftCorrected"
    assert named in note


async def test_a_router_that_keeps_fields_in_a_form_of_its_own_has_not_drifted() -> None:
    running = await Running().started()
    running.world.routers.habit = lambda config: setattr(config.stages[1], "parallelism", 4)
    running.world.routers.pipelines[ID].config.stages[1].parallelism = 4
    await running.once()
    # One try, as it might have been drift; after that the router is known.
    assert running.world.routers.mutations == ["update"]
    for _ in range(5):
        await running.once()
    assert running.world.routers.mutations == ["update"]
    assert running.world.events.seen == []
    assert running.condition("Ready")["status"] == "True"
    assert "stages[1].parallelism" in running.condition("Accepted")["message"]
    running.remote.config.stages[1].parallelism = 7
    await running.once()
    assert running.world.events.reasons() == ["DriftCorrected"]
    assert running.remote.config.stages[1].parallelism == 4


async def test_metadata_of_others_are_no_drift() -> None:
    running = await Running().started()
    running.remote.config.metadata["router.example/seen"] = "today"
    await running.once()
    assert running.world.routers.mutations == []


async def test_somebody_elses_pipeline_is_refused_then_adopted() -> None:
    running = Running()
    foreign = running.world.routers.pipelines
    await running.once()
    config = foreign[ID].config
    del config.metadata[OWNER_UID]
    running.world.routers.mutations.clear()
    await running.once()
    assert running.condition("Ready")["reason"] == "NameConflict"
    assert running.world.routers.mutations == []
    running.store.edit(PIPELINE, NAME, {"metadata": {"annotations": {"etl.router/adopt": "true"}}})
    await running.once()
    assert running.condition("Ready")["status"] == "True"
    assert running.remote.config.metadata[OWNER_UID]
    assert running.world.events.reasons()[-2:] == ["Adopted", "PipelineUpdated"]


async def test_what_a_former_object_of_the_name_left_is_taken_over() -> None:
    """Volumes outlive the cluster, and the pipelines in them their objects."""
    running = await Running().started()
    left = running.world.routers
    again = Running(enabled=False)
    again.world.routers.pipelines = left.pipelines
    left.pipelines[ID].config.metadata[OWNER_UID] = "uid-of-the-former"
    await again.once()
    assert again.condition("Ready")["status"] == "True"
    assert again.world.routers.mutations == ["update", "disable"]
    uid = again.store.of(PIPELINE, NAME)["metadata"]["uid"]
    assert again.remote.config.metadata[OWNER_UID] == uid
    assert again.world.events.reasons() == ["Adopted", "PipelineUpdated"]


async def test_the_router_says_no() -> None:
    running = Running()
    running.world.routers.errors["CreatePipeline"] = Rejected("no such stage type")
    await running.once()
    assert running.condition("Accepted")["reason"] == "RejectedByRouter"
    assert "no such stage type" in running.condition("Ready")["message"]
    assert running.world.events.reasons() == ["SubmitFailed"]


@pytest.mark.parametrize("error", [Overloaded("buffer full"), Faulty("disk full")])
async def test_an_answer_is_no_outage(error: RouterError) -> None:
    running = Running()
    running.world.routers.errors["CreatePipeline"] = error
    await running.once()
    assert running.condition("Ready")["reason"] == "ProgressingWithRetry"
    assert error.message in running.condition("Ready")["message"]


async def test_a_router_without_admin_is_a_condition_and_not_a_storm() -> None:
    running = Running()
    running.world.routers.errors["GetPipeline"] = RouterAdminUnavailable("UNIMPLEMENTED")
    assert await running.once() == running.world.context.settings.retry_limit
    assert running.condition("Ready")["reason"] == "RouterAdminUnavailable"


async def test_an_unreachable_router_is_asked_less_and_less_often() -> None:
    running = Running()
    warn_after = running.world.context.settings.warn_after
    running.world.routers.down = {"prod-0", "prod-1", "prod-2"}
    pauses = [await running.once() for _ in range(5)]
    # The fifth try is brought forward: by then a warning is due.
    assert pauses == [1.0, 2.0, 4.0, 8.0, warn_after]
    assert running.condition("Ready")["reason"] == "ClusterUnreachable"
    assert running.world.events.seen == []
    running.store.now += warn_after
    pauses = [await running.once() for _ in range(2)]
    assert pauses == [30.0, 30.0]
    assert running.world.events.reasons() == ["ClusterUnreachable"]
    running.world.routers.down = set()
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


async def test_a_durable_buffer_that_cannot_be_used_is_named_and_does_not_withdraw_ready() -> None:
    running = await Running().started()
    for resource, name in ((SOURCE, "in"), (TRANSFORM, "filter"), (TRANSFORM, "enrich"), (SINK, "out")):
        running.ready(resource, name, True)
    running.world.routers.buffer_troubles = {1: "member 1: NATS at nats://nats:4222: refused"}
    await running.once()
    assert running.condition("Ready")["status"] == "True"
    assert running.condition("Degraded")["reason"] == "BufferUnavailable"
    for kind in ("Ready", "Degraded"):
        assert "NATS at nats://nats:4222: refused" in running.condition(kind)["message"]
    running.world.routers.buffer_troubles = {}
    await running.once()
    assert not running.condition("Degraded")
    assert running.condition("Ready")["message"] == "accepted and running"


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


# -- deletion ----------------------------------------------------------------------------------------


async def test_deleting_takes_the_pipeline_out_of_the_router() -> None:
    running = await Running().started()
    running.delete()
    await running.once()
    assert running.world.routers.mutations == ["disable", "delete"]
    assert running.world.routers.pipelines == {}
    assert not running.exists
    assert running.world.events.reasons() == ["Deleted"]


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


async def test_a_name_lost_to_another_service_is_no_reference() -> None:
    running = Running(missing=("in",))
    running.store.put(SINK, "in", {"grpc": {"endpoint": "x:1"}}, creationTimestamp="2020-01-01T00:00:00Z")
    running.store.put(SOURCE, "in", {"grpc": {"endpoint": "y:1"}})
    await running.once()
    assert running.condition("Ready")["reason"] == "DependencyNotReady"
    assert "EtlSource in has the same name" in running.condition("Ready")["message"]
    assert running.world.routers.mutations == []


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


def test_every_service_kind_is_watched() -> None:
    assert {resource.kind for resource in SERVICES} == {"EtlSource", "EtlTransform", "EtlSink"}
