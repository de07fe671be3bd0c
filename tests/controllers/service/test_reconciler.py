"""Registration and readiness of a service."""

from __future__ import annotations

import pytest

from controllers.objects.kinds import POD, SECRET
from controllers.service.reconciler import FINALIZER
from controllers.service.registration import readiness_or_reach_changed, split_endpoint
from etl_operator.api import CLUSTER, SOURCE
from informers.cache.informer import Delta
from informers.errors import Forbidden
from informers.objects import ObjectKey
from tests.controllers.pipeline.running import add_cluster
from tests.controllers.service.running import ADDRESSES, KEY, NAME, Running
from tests.controllers.store import NAMESPACE


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


async def test_how_a_service_is_called_with_tls_goes_along_as_labels() -> None:
    tls = {"enabled": True, "caSecretName": "ca", "clientSecretName": "me", "insecureSkipVerify": True}
    forged = {"etl.router/tls.ca-secret": "other", "etl.router/tls.more": "x", "tier": "gold"}
    running = Running(grpc={"endpoint": "kafka-svc:50051", "tls": tls}, labels=forged)
    await running.once()
    registration, _ = running.world.keeper.wanted["etl/kafka"]
    assert registration.use_tls
    assert registration.labels == {
        "tier": "gold",
        "etl.router/tls.ca-secret": "ca",
        "etl.router/tls.client-secret": "me",
        "etl.router/tls.insecure-skip-verify": "true",
    }
    running.store.edit(SOURCE, NAME, {"spec": {"grpc": {"tls": {"enabled": False}}}})
    await running.once()
    registration, _ = running.world.keeper.wanted["etl/kafka"]
    assert not registration.use_tls
    assert registration.labels == {"tier": "gold"}


async def test_a_service_is_ready_when_every_member_mounts_its_secrets() -> None:
    tls = {"enabled": True, "caSecretName": "ca", "clientSecretName": "me"}
    running = Running(grpc={"endpoint": "kafka-svc:50051", "tls": tls})
    running.store.no_secrets = Forbidden(403)
    await running.once()
    assert running.registered() == ADDRESSES
    assert running.condition("Ready")["status"] == "False"
    assert running.condition("Ready")["reason"] == "Progressing"
    assert running.condition("Ready")["message"] == (
        "registered with 0 of 3 ready members; members are restarted one at a time to mount Secret ca"
    )
    for number in range(3):
        mounts = {"annotations": {"etl.router/service-secrets": "another,ca,me"}}
        running.store.edit(POD, f"prod-{number}", {"metadata": mounts})
    await running.once()
    assert running.condition("Ready")["status"] == "True"


async def test_a_secret_that_is_missing_is_named_where_it_can_be_looked_for() -> None:
    tls = {"enabled": True, "caSecretName": "ca", "clientSecretName": "me"}
    running = Running(grpc={"endpoint": "kafka-svc:50051", "tls": tls})
    for number in range(3):
        mounts = {"annotations": {"etl.router/service-secrets": "ca,me"}}
        running.store.edit(POD, f"prod-{number}", {"metadata": mounts})
    running.store.put(SECRET, "ca")
    running.store.edit(SECRET, "ca", {"data": {"ca.crt": "eA=="}})
    assert await running.once() == 15.0
    assert running.condition("Registered")["status"] == "True"
    assert running.condition("Ready")["reason"] == "TLSNotReady"
    assert running.condition("Ready")["message"] == (
        "spec.grpc.tls.clientSecretName: Secret me does not exist in namespace etl"
    )
    running.store.put(SECRET, "me")
    running.store.edit(SECRET, "me", {"data": {"tls.crt": "eA=="}})
    await running.once()
    assert running.condition("Ready")["message"].endswith("Secret me has no tls.key")
    running.store.edit(SECRET, "me", {"data": {"tls.key": "eA=="}})
    await running.once()
    assert running.condition("Ready")["status"] == "True"


async def test_a_service_of_another_namespace_cannot_name_secrets() -> None:
    running = Running()
    running.store.edit(CLUSTER, "prod", {"spec": {"allowedNamespaces": ["*"]}})
    tls = {"enabled": True, "caSecretName": "ca"}
    running.store.put(
        SOURCE,
        NAME,
        {"grpc": {"endpoint": "s:1", "tls": tls}, "clusterRef": {"name": "prod", "namespace": NAMESPACE}},
        namespace="tenant",
    )
    running.store.remove(SOURCE, NAME)
    key = ObjectKey("tenant", NAME)
    await running.reconciler.reconcile(key)
    obj = running.store.objects[SOURCE, key]
    ready = next(one for one in obj["status"]["conditions"] if one["type"] == "Ready")
    assert ready["reason"] == "CrossNamespaceNotAllowed"
    assert "members mount only Secrets of their own namespace" in ready["message"]
    obj["spec"]["grpc"]["tls"] = {"enabled": True}
    running.store._store(SOURCE, obj)
    await running.reconciler.reconcile(key)
    obj = running.store.objects[SOURCE, key]
    assert next(one for one in obj["status"]["conditions"] if one["type"] == "Ready")["status"] == "True"
