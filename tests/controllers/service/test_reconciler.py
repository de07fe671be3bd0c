"""A service's life: registration, readiness, names, deletion."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controllers.objects.kinds import POD
from controllers.pipeline.reconciler import PipelineReconciler
from controllers.references.services import namesakes
from controllers.service.health import EndpointHealth
from controllers.service.prober import ProbeReconciler
from controllers.service.reconciler import FINALIZER, ServiceReconciler
from controllers.service.registration import (
    readiness_or_reach_changed,
    registration,
    split_endpoint,
    winner_of,
)
from controllers.wiring.metrics import ControllerMetrics
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE
from etl_operator.router.errors import Rejected
from etl_operator.router.registry import Health
from informers.cache.informer import Delta
from informers.metrics import Metrics
from informers.objects import ObjectKey, Resource
from tests.controllers.pipeline.test_reconciler import add_cluster
from tests.controllers.world import NAMESPACE, World, router_status

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


async def test_a_service_is_registered_with_every_ready_pod() -> None:
    running = Running(weight=7, maxConcurrentRequests=9, labels={"tier": "gold"})
    assert await running.once() is None
    assert running.registered() == ADDRESSES
    registration, _ = running.world.keeper.wanted["etl/kafka"]
    assert (registration.name, registration.host, registration.port) == (NAME, "kafka-svc", 50051)
    assert (registration.type, registration.weight, registration.max_concurrent_requests) == (1, 7, 9)
    assert registration.labels == {"tier": "gold"}
    status = running.status
    assert (status["serviceId"], status["cluster"]) == ("etl/kafka", "etl/prod")
    assert (status["registeredNodes"], status["totalNodes"]) == (3, 3)
    assert running.condition("Registered")["status"] == "True"
    assert not running.condition("EndpointHealthy")
    assert running.store.of(SOURCE, NAME)["metadata"]["finalizers"] == [FINALIZER]
    assert running.world.events.reasons() == ["Registered"]


async def test_a_hundred_passes_of_a_registered_service_write_nothing() -> None:
    running = await Running().started()
    running.store.writes.clear()
    for _ in range(100):
        await running.once()
    assert running.store.writes == []
    assert running.world.events.seen == []


async def test_a_pod_that_is_not_ready_is_not_waited_for() -> None:
    running = Running()
    running.world.set_ready("prod-1", False)
    await running.once()
    assert running.registered() == [ADDRESSES[0], ADDRESSES[2]]
    assert running.condition("Ready")["status"] == "True"
    assert running.status["registeredNodes"] == 2


async def test_without_a_ready_pod_it_waits() -> None:
    running = Running()
    for ordinal in range(3):
        running.world.set_ready(f"prod-{ordinal}", False)
    await running.once()
    assert running.condition("Ready")["reason"] == "DependencyNotReady"


async def test_a_pod_that_refuses_is_shown_with_its_words() -> None:
    running = Running()
    running.world.keeper.failing[ADDRESSES[1]] = "identity required"
    await running.once()
    assert running.condition("Registered")["reason"] == "ProgressingWithRetry"
    assert "2 of 3" in running.condition("Ready")["message"]
    assert "identity required" in running.condition("Ready")["message"]


async def test_only_a_failure_that_lasts_is_an_alarm() -> None:
    """Every start and every roll has a moment in which a ready member does not answer yet."""
    running = await Running().started()
    running.world.keeper.failing[ADDRESSES[1]] = "connection refused"
    assert await running.once() == running.world.context.settings.warn_after
    del running.world.keeper.failing[ADDRESSES[1]]
    await running.once()
    assert running.world.events.reasons() == ["Registered"]
    running.world.keeper.failing[ADDRESSES[1]] = "connection refused"
    await running.once()
    running.store.now += running.world.context.settings.warn_after
    assert await running.once() is None
    await running.once()
    assert running.world.events.reasons() == ["Registered", "RegistrationFailed"]


async def test_a_member_on_its_way_out_is_no_failure() -> None:
    running = await Running().started()
    running.store.edit(POD, "prod-1", {"metadata": {"finalizers": ["x"]}})
    running.store.remove(POD, "prod-1")
    running.world.keeper.failing[ADDRESSES[1]] = "connection refused"
    assert await running.once() is None
    assert running.condition("Ready")["status"] == "True"
    assert running.registered() == [ADDRESSES[0], ADDRESSES[2]]


async def joined() -> Running:
    """A Ready service, and a member that joins and does not know it yet."""
    running = Running()
    running.world.set_ready("prod-2", False)
    await running.started()
    running.world.set_ready("prod-2", True)
    running.world.keeper.slow = {ADDRESSES[2]}
    running.store.writes.clear()
    return running


async def test_a_joining_member_does_not_take_readiness_away() -> None:
    running = await joined()
    assert await running.once() == running.world.context.settings.join_grace
    assert running.store.writes == []
    running.world.keeper.slow.clear()
    assert await running.once() is None
    assert running.condition("Ready")["status"] == "True"
    assert running.status["registeredNodes"] == 3
    assert len(running.store.writes) == 1


async def test_pipelines_hear_of_a_member_that_has_joined_and_of_none_that_left() -> None:
    running = await joined()
    sources = running.world.context.informers[SOURCE]
    before = sources.get(KEY)
    running.world.keeper.slow.clear()
    await running.once()
    after = sources.get(KEY)
    assert readiness_or_reach_changed(Delta(before, after))
    assert not readiness_or_reach_changed(Delta(after, before))


async def test_a_joining_member_that_takes_long_does() -> None:
    running = await joined()
    await running.once()
    running.store.now += running.world.context.settings.join_grace
    await running.once()
    assert running.condition("Ready")["reason"] == "Progressing"
    assert "2 of 3" in running.condition("Ready")["message"]
    running.world.keeper.slow.clear()
    await running.once()
    assert running.condition("Ready")["status"] == "True"
    # The next member has the whole time again.
    running.world.keeper.slow = {ADDRESSES[0]}
    await running.once()
    assert running.condition("Ready")["status"] == "True"


async def test_a_member_that_refuses_takes_readiness_away_at_once() -> None:
    running = await joined()
    running.world.keeper.failing[ADDRESSES[2]] = "identity required"
    await running.once()
    assert running.condition("Ready")["reason"] == "ProgressingWithRetry"


async def test_a_changed_service_is_not_ready_before_it_is_registered_everywhere() -> None:
    running = await joined()
    running.store.edit(SOURCE, NAME, {"spec": {"weight": 7}})
    await running.once()
    assert running.condition("Ready")["reason"] == "Progressing"


async def test_a_service_that_no_member_knows_is_not_ready() -> None:
    running = await joined()
    running.world.keeper.slow = set(ADDRESSES)
    await running.once()
    assert running.condition("Ready")["reason"] == "Progressing"


async def test_without_a_cluster_it_says_so() -> None:
    running = await Running().started()
    running.store.remove(CLUSTER, "prod")
    await running.once()
    assert running.condition("Ready")["reason"] == "ClusterNotFound"
    assert "etl/kafka" not in running.world.keeper.wanted
    assert running.registered() == []


async def test_the_oldest_holds_a_name_and_the_younger_recovers() -> None:
    running = Running()
    running.add(SINK, NAME, created="2026-01-01T00:00:00Z")
    await running.once()
    assert running.condition("Ready")["reason"] == "NameConflict"
    assert "EtlSink" in running.condition("Ready")["message"]
    assert "etl/kafka" not in running.world.keeper.wanted
    sink = ServiceReconciler(running.world.context, SINK)
    await sink.reconcile(KEY)
    assert running.condition("Ready", SINK)["status"] == "True"
    running.store.remove(SINK, NAME)
    await sink.reconcile(KEY)
    assert not running.store.has(SINK, NAME)
    await running.once()
    assert running.condition("Ready")["status"] == "True"
    assert running.registered() == ADDRESSES


def test_of_two_that_are_equally_old_one_holds_the_name_whoever_looks() -> None:
    running = Running()
    cluster, informers = ObjectKey(NAMESPACE, "prod"), running.world.context.informers
    for first, second in ((SINK, SOURCE), (SOURCE, SINK)):
        name = f"twin-{first.plural}"
        made = [running.store.put(one, name, {"grpc": {"endpoint": "x:1"}}) for one in (first, second)]
        assert made[0]["metadata"]["uid"] < made[1]["metadata"]["uid"]
        winner = winner_of(name, cluster, informers)
        assert winner is not None
        assert winner[0] is first


def test_the_labels_of_the_spec_have_the_last_word() -> None:
    running = Running(labels={"tier": "gold"})
    running.store.edit(SOURCE, NAME, {"metadata": {"labels": {"tier": "lead", "team": "data"}}})
    made = registration(SOURCE, running.store.of(SOURCE, NAME), ObjectKey(NAMESPACE, "prod"), "cluster.local")
    assert made.labels == {"tier": "gold", "team": "data"}


async def test_a_second_cluster_does_not_end_what_works_with_the_first() -> None:
    running = await Running().started()
    add_cluster(running.world, "second")
    await running.once()
    assert running.condition("Ready")["status"] == "True"
    assert running.status["cluster"] == f"{NAMESPACE}/prod"
    assert running.registered() == ADDRESSES
    # One that has no cluster yet has to be told.
    running.add(SOURCE, "late")
    late = ObjectKey(NAMESPACE, "late")
    await running.reconciler.reconcile(late)
    assert running.condition("Ready", name="late")["reason"] == "AmbiguousCluster"
    # What has lost its cluster chooses anew.
    running.store.remove(CLUSTER, "prod")
    await running.once()
    assert running.status["cluster"] == f"{NAMESPACE}/second"


async def test_a_name_lost_to_another_namespace_is_given_back() -> None:
    running = await Running().started()
    old = {"creationTimestamp": "2020-01-01T00:00:00Z", "namespace": "elsewhere"}
    reference = {"name": "prod", "namespace": NAMESPACE}
    running.store.edit(CLUSTER, "prod", {"spec": {"allowedNamespaces": ["elsewhere"]}})
    running.store.put(SINK, NAME, {"grpc": {"endpoint": "x:1"}, "clusterRef": reference}, **old)
    await running.once()
    assert running.condition("Ready")["reason"] == running.condition("Stalled")["reason"] == "NameConflict"
    assert running.registered() == []
    assert running.status["registeredNodes"] == 0


async def test_a_name_is_held_also_by_one_that_only_stays_where_it_was() -> None:
    running = await Running().started()
    old = {"creationTimestamp": "2020-01-01T00:00:00Z", "namespace": "elsewhere"}
    running.store.edit(CLUSTER, "prod", {"spec": {"allowedNamespaces": ["elsewhere"]}})
    for name in ("one", "two"):
        running.store.put(CLUSTER, name, {"replicas": 1}, namespace="elsewhere")
    # It has no reference any more, and two clusters to choose from: it stays registered with the first.
    sink = running.store.put(SINK, NAME, {"grpc": {"endpoint": "x:1"}}, **old)
    sink["status"] = {"cluster": f"{NAMESPACE}/prod"}
    running.store._store(SINK, sink)
    await running.once()
    assert running.condition("Ready")["reason"] == "NameConflict"


def test_only_services_that_may_meet_in_a_cluster_wake_each_other() -> None:
    running = Running()
    for tenant in ("a", "b"):
        running.store.put(SOURCE, NAME, {"grpc": {"endpoint": "x:1"}}, namespace=tenant)
    reference = {"name": "prod", "namespace": NAMESPACE}
    guest = {"grpc": {"endpoint": "x:1"}, "clusterRef": reference}
    running.store.put(SOURCE, NAME, guest, namespace="guest")
    sources = running.world.context.informers[SOURCE]

    def woken(tenant: str) -> set[str]:
        view = sources.get(ObjectKey(tenant, NAME))
        assert view is not None
        return {key.namespace for key in namesakes(sources)(view)}

    assert (woken("a"), woken("b")) == ({"a"}, {"b"})
    assert woken("guest") == woken(NAMESPACE) == {NAMESPACE, "guest"}


async def test_a_loser_that_goes_does_not_take_the_winners_registration_along() -> None:
    running = await Running().started()
    running.add(SINK, NAME, created="2027-12-31T00:00:00Z")
    sink = ServiceReconciler(running.world.context, SINK)
    await sink.reconcile(KEY)
    assert running.condition("Ready", SINK)["reason"] == "NameConflict"
    running.store.remove(SINK, NAME)
    await sink.reconcile(KEY)
    assert running.registered() == ADDRESSES
    assert "etl/kafka" in running.world.keeper.wanted


class Probed(Running):
    """A source whose endpoint is probed, with the answers of a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **spec: Any) -> None:
        super().__init__(healthCheck={"enabled": True, "intervalSeconds": 10}, **spec)
        self.answer = Health(True, "SERVING")
        self.asked: list[Any] = []

        async def probed(*target: Any) -> Health:
            self.asked.append(target)
            return self.answer

        monkeypatch.setattr("controllers.service.prober.probe", probed)
        self.turns = 0
        self.restart()

    def restart(self) -> None:
        """Another process takes over."""
        health = EndpointHealth()
        self.reconciler = ServiceReconciler(self.world.context, SOURCE, health)
        self.prober = ProbeReconciler(self.world.context, health, self._turned)

    def _turned(self, resource: Resource, key: ObjectKey) -> None:
        assert (resource, key) == (SOURCE, KEY)
        self.turns += 1

    async def probe(self, healthy: bool, message: str = "") -> float | None:
        """One probe, and what the service's own controller makes of it if it is told."""
        self.answer = Health(healthy, message or ("SERVING" if healthy else "NOT_SERVING"))
        before = self.turns
        again = (await self.prober.reconcile(KEY)).requeue_after
        if self.turns > before:
            await self.once()
        return again


async def test_an_endpoint_is_unhealthy_after_three_strikes(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Probed(monkeypatch)
    await running.once()
    assert running.condition("Ready")["reason"] == "Progressing", "nothing is claimed before the first probe"
    assert running.world.keeper.health["etl/kafka"] is None
    await running.probe(True)
    assert running.condition("Ready")["status"] == running.condition("EndpointHealthy")["status"] == "True"
    assert running.world.keeper.health["etl/kafka"] == Health(True, "SERVING")
    for _ in range(2):
        await running.probe(False)
        await running.probe(False, "no connection within 3 s")
        await running.probe(True)
    assert running.turns == 1
    await running.probe(False, "one")
    await running.probe(False, "two")
    await running.probe(False, "three")
    assert running.condition("Ready")["message"] == running.condition("EndpointHealthy")["message"] == "three"
    assert running.condition("Registered")["status"] == "True"
    assert running.status["health"] == "Unhealthy"
    assert running.world.keeper.health["etl/kafka"] == Health(False, "three")
    await running.probe(True)
    assert running.condition("Ready")["status"] == "True"
    running.store.edit(SOURCE, NAME, {"spec": {"healthCheck": {"enabled": False}}})
    assert await running.probe(True) is None
    await running.once()
    assert running.condition("EndpointHealthy") == {}
    assert running.condition("Ready")["status"] == "True"
    assert running.status["health"] == "Unknown"
    assert running.world.keeper.health["etl/kafka"] is None


async def test_an_endpoint_that_was_never_healthy_has_no_strikes(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Probed(monkeypatch)
    await running.probe(False)
    assert running.condition("Ready")["reason"] == "ProbeFailed"


async def test_a_text_that_changes_with_every_probe_is_no_write(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Probed(monkeypatch)
    await running.probe(False, "refused")
    running.store.writes.clear()
    for number in range(100):
        await running.probe(False, "no route" if number % 2 else "no connection")
    assert running.store.writes == []
    for _ in range(3):
        await running.probe(False, "no route")
    assert running.condition("EndpointHealthy")["message"] == "no route"


async def test_a_new_process_goes_on_with_the_verdict_before(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Probed(monkeypatch)
    await running.probe(True)
    running.restart()
    running.store.writes.clear()
    await running.once()
    await running.probe(False)
    assert running.store.writes == []
    assert running.condition("Ready")["status"] == "True"
    running.store.edit(SOURCE, NAME, {"spec": {"grpc": {"endpoint": "elsewhere:1"}}})
    await running.once()
    assert running.condition("Ready")["reason"] == "Progressing", "of the new endpoint nothing is known"
    await running.probe(False)
    assert running.condition("Ready")["reason"] == "ProbeFailed"


async def test_probes_mean_the_host_of_the_objects_namespace_and_part_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = Probed(monkeypatch)
    pauses = {await running.probe(True) for _ in range(50)}
    assert running.asked[0][0][0] == "kafka-svc.etl.svc.cluster.local"
    assert len(pauses) > 10
    assert all(pause is not None and 9 <= pause <= 11 for pause in pauses)


async def test_a_probe_that_ends_after_its_object_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Probed(monkeypatch)

    async def slow(*_: Any) -> Health:
        running.store.remove(SOURCE, NAME)
        return Health(True, "SERVING")

    monkeypatch.setattr("controllers.service.prober.probe", slow)
    assert (await running.prober.reconcile(KEY)).requeue_after is None
    assert running.turns == 0


async def test_the_series_of_an_endpoint_ends_with_its_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    running, metrics = Probed(monkeypatch), Metrics(process=False)
    context = replace(running.world.context, metrics=ControllerMetrics(metrics))
    prober = ProbeReconciler(context, EndpointHealth(), lambda *_: None)
    await prober.reconcile(KEY)
    assert 'etl_operator_endpoint_healthy{kind="EtlSource",name="kafka",namespace="etl"} 1.0' in shown(
        metrics
    )
    running.store.remove(SOURCE, NAME)
    await prober.reconcile(KEY)
    assert not [line for line in shown(metrics) if "kafka" in line]


def shown(metrics: Metrics) -> list[str]:
    return metrics.render().decode().splitlines()


async def test_a_pipeline_says_which_service_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Probed(monkeypatch)
    running.add(SINK, "out")
    running.store.put(PIPELINE, "p", {"source": NAME, "sink": "out", "enabled": True})
    await running.probe(True)
    await ServiceReconciler(running.world.context, SINK).reconcile(ObjectKey(NAMESPACE, "out"))
    pipeline, key = PipelineReconciler(running.world.context), ObjectKey(NAMESPACE, "p")
    await pipeline.reconcile(key)
    assert running.condition("Degraded", PIPELINE, "p") == {}
    for _ in range(3):
        await running.probe(False)
    await pipeline.reconcile(key)
    assert "EtlSource kafka (ProbeFailed)" in running.condition("Degraded", PIPELINE, "p")["message"]
    assert running.condition("Ready", PIPELINE, "p")["status"] == "True"


# -- deletion ----------------------------------------------------------------------------------------


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


async def test_a_service_without_an_endpoint_says_so() -> None:
    running = await Running().started()
    running.store.edit(SOURCE, NAME, {"spec": {"grpc": {"endpoint": "nowhere"}}})
    await running.once()
    assert running.condition("Stalled")["reason"] == "ValidationFailed"
    assert "spec.grpc.endpoint" in running.condition("Ready")["message"]
    assert running.registered() == []


async def test_a_guests_service_is_named_so_that_its_host_can_find_it() -> None:
    running = Running()
    running.store.edit(CLUSTER, "prod", {"spec": {"allowedNamespaces": ["guest"]}})
    reference = {"name": "prod", "namespace": NAMESPACE}
    spec = {"grpc": {"endpoint": "svc:1"}, "clusterRef": reference}
    running.store.put(SOURCE, "theirs", spec, namespace="guest")
    await running.reconciler.reconcile(ObjectKey("guest", "theirs"))
    assert running.world.keeper.wanted["guest/theirs"][0].host == "svc.guest.svc.cluster.local"


async def test_a_cluster_that_is_gone_holds_nobody() -> None:
    running = await Running().started()
    running.store.remove(CLUSTER, "prod")
    running.store.remove(SOURCE, NAME)
    await running.once()
    assert not running.exists


@pytest.mark.parametrize(
    ("endpoint", "host", "port"),
    [("svc:50051", "svc", 50051), ("a.b.svc:1", "a.b.svc", 1), ("[::1]:50051", "::1", 50051)],
)
def test_endpoints_are_split_at_the_last_colon(endpoint: str, host: str, port: int) -> None:
    assert split_endpoint(endpoint) == (host, port)


@pytest.mark.parametrize(
    "endpoint", ["svc", "", ":1", "svc:", "svc:0", "svc:65536", "svc:http", "svc:\u0661"]
)
def test_what_is_no_endpoint_is_not_split(endpoint: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        split_endpoint(endpoint)


def test_the_pods_are_there() -> None:
    # The fixtures above would pass vacuously with an empty cluster.
    assert len(Running().world.context.informers[POD].list(NAMESPACE)) == 3
