"""Services that want the same name, and which of them has it."""

from __future__ import annotations

from controllers.references.services import namesakes
from controllers.service.reconciler import ServiceReconciler
from controllers.service.registration import registration, winner_of
from etl_operator.api import CLUSTER, SINK, SOURCE
from informers.objects import ObjectKey
from tests.controllers.service.running import ADDRESSES, KEY, NAME, Running
from tests.controllers.store import NAMESPACE


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
