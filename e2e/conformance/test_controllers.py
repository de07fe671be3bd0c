"""What controllers do: the sandbox's loops and a real controller manager, watched by the same tests.

There is no node: a pod's status is written by the test, as a kubelet would.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import pytest

from informers.client import Client
from informers.errors import AlreadyExists, ApiError, NotFound, TooManyRequests
from informers.objects import Object, ObjectKey, Resource

T = TypeVar("T")

NAMESPACE = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODE = Resource("", "v1", "nodes", "Node", namespaced=False)
MAP = Resource("", "v1", "configmaps", "ConfigMap")
POD = Resource("", "v1", "pods", "Pod")
ACCOUNT = Resource("", "v1", "serviceaccounts", "ServiceAccount")
SERVICE = Resource("", "v1", "services", "Service")
CLAIM = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SET = Resource("apps", "v1", "statefulsets", "StatefulSet")
REVISION = Resource("apps", "v1", "controllerrevisions", "ControllerRevision")
BUDGET = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
SLICE = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
WITHIN = 60.0
SINCE = "2026-01-01T00:00:00Z"


async def becomes(check: Callable[[], Awaitable[T]], what: str) -> T:
    """Wait until a check gives something true."""
    try:
        async with asyncio.timeout(WITHIN):
            while not (found := await check()):  # noqa: ASYNC110 (a server has no event)
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {WITHIN:.0f} s: {what}") from None
    return found


class Place:
    """A namespace of one test."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name

    def key(self, name: str) -> ObjectKey:
        return ObjectKey(self.name, name)

    async def create(self, resource: Resource, name: str, **parts: Any) -> Object:
        metadata = {"name": name, "namespace": self.name, **parts.pop("metadata", {})}
        kind = {"apiVersion": resource.api_version, "kind": resource.kind}
        return await self.client.create(resource, {**kind, "metadata": metadata, **parts})

    async def get(self, resource: Resource, name: str) -> Object | None:
        try:
            return await self.client.get(resource, self.key(name))
        except NotFound:
            return None

    async def all(self, resource: Resource, labels: str = "") -> list[Object]:
        page = await self.client.list(resource, namespace=self.name, label_selector=labels)
        return sorted(page.items, key=lambda one: str(one["metadata"]["name"]))

    async def names(self, resource: Resource, labels: str = "") -> list[str]:
        return [one["metadata"]["name"] for one in await self.all(resource, labels)]

    async def gone(self, resource: Resource, name: str) -> None:
        async def check() -> bool:
            return await self.get(resource, name) is None

        await becomes(check, f"{resource.kind} {name} goes away")

    async def pods_are(self, *names: str) -> list[Object]:
        """Wait until there are just these pods, and none on its way out."""

        async def check() -> bool:
            return [one["metadata"]["name"] for one in await self.all(POD)] == list(names)

        await becomes(check, f"the pods are {', '.join(names) or 'none'}")
        return await self.all(POD)

    async def bind(self, name: str, node: str) -> None:
        """Put a pod on a node, as a scheduler would."""
        binding = {"metadata": {"name": name}, "target": {"kind": "Node", "name": node}}
        await self.client.raw("POST", f"{POD.path(self.name, name)}/binding", body=binding)

    async def run(self, name: str, *, ready: bool = True, address: str = "") -> None:
        """Say of a pod what a kubelet would."""
        status = {
            "phase": "Running",
            "conditions": [
                {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}
            ],
        }
        if address:
            status |= {"podIP": address, "podIPs": [{"ip": address}]}
        await self.client.patch(POD, self.key(name), {"status": status}, subresource="status")


@pytest.fixture
async def place(client: Client) -> AsyncIterator[Place]:
    """A new namespace, with the account that pods need."""
    made = Place(client, f"controllers-{secrets.token_hex(3)}")
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made.name}}
    await client.create(NAMESPACE, body)
    await becomes(lambda: made.get(ACCOUNT, "default"), "the namespace has its service account")
    yield made
    for one in await made.all(MAP):
        if one["metadata"].get("finalizers"):
            await client.patch(MAP, ObjectKey.of(one), {"metadata": {"finalizers": None}})
    with contextlib.suppress(NotFound):
        await client.delete(NAMESPACE, ObjectKey("", made.name))


def owner(obj: Object, **more: Any) -> Object:
    reference = {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
    }
    return {"ownerReferences": [{**reference, **more}]}


# -- garbage ------------------------------------------------------------------------------------------------


async def test_children_go_after_their_owner_in_the_background(place: Place) -> None:
    parent = await place.create(MAP, "parent")
    child = await place.create(MAP, "child", metadata=owner(parent))
    await place.create(MAP, "grandchild", metadata=owner(child))
    await place.client.delete(MAP, place.key("parent"), propagation="Background")
    assert await place.get(MAP, "parent") is None
    await place.gone(MAP, "child")
    await place.gone(MAP, "grandchild")


async def test_in_the_foreground_the_owner_waits_for_children_that_block(place: Place) -> None:
    parent = await place.create(MAP, "parent")
    held = {"finalizers": ["conformance.example.com/held"]}
    await place.create(MAP, "child", metadata={**owner(parent, blockOwnerDeletion=True), **held})
    await place.create(MAP, "other", metadata=owner(parent))
    await place.client.delete(MAP, place.key("parent"), propagation="Foreground")

    async def child_is_deleted() -> bool:
        child = await place.get(MAP, "child")
        return child is not None and "deletionTimestamp" in child["metadata"]

    await becomes(child_is_deleted, "the child is deleted")
    waiting = await place.get(MAP, "parent")
    assert waiting is not None
    assert waiting["metadata"]["finalizers"] == ["foregroundDeletion"]
    await place.client.patch(MAP, place.key("child"), {"metadata": {"finalizers": None}})
    await place.gone(MAP, "parent")
    assert await place.get(MAP, "child") is None


async def test_orphans_stay_and_forget_their_owner(place: Place) -> None:
    parent = await place.create(MAP, "parent")
    await place.create(MAP, "child", metadata=owner(parent))
    await place.client.delete(MAP, place.key("parent"), propagation="Orphan")
    await place.gone(MAP, "parent")
    child = await place.get(MAP, "child")
    assert child is not None
    assert not child["metadata"].get("ownerReferences")


async def test_a_child_of_nobody_is_collected(place: Place) -> None:
    parent = await place.create(MAP, "parent")
    reference = owner(parent)
    reference["ownerReferences"][0]["uid"] = "00000000-0000-4000-8000-000000000000"
    await place.create(MAP, "child", metadata=reference)
    await place.gone(MAP, "child")
    assert await place.get(MAP, "parent") is not None


async def test_a_child_of_two_stays_with_the_one_that_is_left(place: Place) -> None:
    first, second = await place.create(MAP, "first"), await place.create(MAP, "second")
    both = {"ownerReferences": owner(first)["ownerReferences"] + owner(second)["ownerReferences"]}
    await place.create(MAP, "child", metadata=both)
    await place.client.delete(MAP, place.key("first"), propagation="Background")

    async def forgets() -> bool:
        child = await place.get(MAP, "child")
        assert child is not None
        return [one["name"] for one in child["metadata"]["ownerReferences"]] == ["second"]

    await becomes(forgets, "the child forgets the owner that is gone")


async def test_an_owner_that_comes_back_is_another_one(place: Place) -> None:
    parent = await place.create(MAP, "parent")
    await place.client.delete(MAP, place.key("parent"), propagation="Background")
    await place.create(MAP, "parent")
    await place.create(MAP, "child", metadata=owner(parent))
    await place.gone(MAP, "child")


# -- namespaces ---------------------------------------------------------------------------------------------


async def test_a_namespace_goes_when_it_is_empty(place: Place) -> None:
    await place.create(MAP, "plain")
    await place.create(MAP, "held", metadata={"finalizers": ["conformance.example.com/held"]})
    await place.client.delete(NAMESPACE, ObjectKey("", place.name))
    await place.gone(MAP, "plain")
    namespace = await place.client.get(NAMESPACE, ObjectKey("", place.name))
    assert namespace["status"]["phase"] == "Terminating"
    with pytest.raises(ApiError, match="because it is being terminated"):
        await place.create(MAP, "late")

    async def conditions() -> bool:
        found = await place.client.get(NAMESPACE, ObjectKey("", place.name))
        told = {one["type"]: one["status"] for one in found["status"].get("conditions", ())}
        return told.get("NamespaceFinalizersRemaining") == "True"

    await becomes(conditions, "the namespace says what it waits for")
    await place.client.patch(MAP, place.key("held"), {"metadata": {"finalizers": None}})

    async def gone() -> bool:
        try:
            await place.client.get(NAMESPACE, ObjectKey("", place.name))
        except NotFound:
            return True
        return False

    await becomes(gone, "the namespace goes")


async def test_the_default_account_comes_back(place: Place) -> None:
    account = await place.get(ACCOUNT, "default")
    assert account is not None
    await place.client.delete(ACCOUNT, place.key("default"))

    async def another() -> bool:
        found = await place.get(ACCOUNT, "default")
        return found is not None and found["metadata"]["uid"] != account["metadata"]["uid"]

    await becomes(another, "there is another default account")


# -- stateful sets ------------------------------------------------------------------------------------------


def stateful_set(replicas: int, **spec: Any) -> Object:
    container = {"name": "c", "image": "none", "ports": [{"containerPort": 80}]}
    return {
        "replicas": replicas,
        "serviceName": "web",
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
        **spec,
    }


async def status_says(place: Place, **wanted: int) -> Object:
    async def check() -> Object | None:
        found = await place.get(SET, "web")
        assert found is not None
        status = found["status"]
        settled = status.get("observedGeneration") == found["metadata"]["generation"]
        return (
            found if settled and all(status.get(key, 0) == value for key, value in wanted.items()) else None
        )

    found = await becomes(check, f"the set's status says {wanted}")
    assert found is not None
    return found


async def test_an_ordered_set_starts_one_pod_after_the_other(place: Place) -> None:
    await place.create(SET, "web", spec=stateful_set(3))
    await place.pods_are("web-0")
    await place.run("web-0", ready=False)
    await status_says(place, replicas=1, readyReplicas=0)
    assert await place.names(POD) == ["web-0"]
    await place.run("web-0")
    await place.pods_are("web-0", "web-1")
    await place.run("web-1")
    await place.pods_are("web-0", "web-1", "web-2")
    await place.run("web-2")
    await status_says(place, replicas=3, readyReplicas=3, availableReplicas=3, updatedReplicas=3)


async def test_what_a_pod_of_a_set_looks_like(place: Place) -> None:
    made = await place.create(SET, "web", spec=stateful_set(1))
    (pod,) = await place.pods_are("web-0")
    metadata, spec = pod["metadata"], pod["spec"]
    found = await status_says(place, replicas=1)
    revision = found["status"]["currentRevision"]
    assert found["status"]["updateRevision"] == revision
    assert metadata["labels"] == {
        "app": "web",
        "apps.kubernetes.io/pod-index": "0",
        "controller-revision-hash": revision,
        "statefulset.kubernetes.io/pod-name": "web-0",
    }
    assert metadata["generateName"] == "web-"
    (reference,) = metadata["ownerReferences"]
    assert reference == {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "name": "web",
        "uid": made["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    assert (spec["hostname"], spec["subdomain"]) == ("web-0", "web")
    assert await place.names(REVISION) == [revision]


async def test_a_parallel_set_starts_all_pods_at_once(place: Place) -> None:
    await place.create(SET, "web", spec=stateful_set(3, podManagementPolicy="Parallel"))
    await place.pods_are("web-0", "web-1", "web-2")
    await status_says(place, replicas=3, readyReplicas=0)


async def test_a_set_shrinks_from_its_end(place: Place) -> None:
    await place.create(SET, "web", spec=stateful_set(3, podManagementPolicy="Parallel"))
    await place.pods_are("web-0", "web-1", "web-2")
    for name in ("web-0", "web-1", "web-2"):
        await place.run(name)
    await status_says(place, readyReplicas=3)
    await place.client.patch(SET, place.key("web"), {"spec": {"replicas": 1}}, subresource="scale")
    await place.pods_are("web-0")
    await status_says(place, replicas=1, readyReplicas=1)


async def test_a_lost_pod_comes_back_under_its_name(place: Place) -> None:
    await place.create(SET, "web", spec=stateful_set(2, podManagementPolicy="Parallel"))
    before = await place.pods_are("web-0", "web-1")
    await place.client.delete(POD, place.key("web-0"))

    async def another() -> bool:
        found = await place.get(POD, "web-0")
        return found is not None and found["metadata"]["uid"] != before[0]["metadata"]["uid"]

    await becomes(another, "another pod of that name")


async def test_a_rolling_update_begins_at_the_end_and_stops_at_the_partition(place: Place) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    spec = stateful_set(3, podManagementPolicy="Parallel", updateStrategy=rolling)
    await place.create(SET, "web", spec=spec)
    await place.pods_are("web-0", "web-1", "web-2")
    for name in ("web-0", "web-1", "web-2"):
        await place.run(name)
    old = (await status_says(place, readyReplicas=3))["status"]["currentRevision"]
    template = {"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}}
    await place.client.patch(SET, place.key("web"), template)

    def renewed(name: str) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            found = await place.get(POD, name)
            return found is not None and found["metadata"]["labels"]["controller-revision-hash"] != old

        return check

    await becomes(renewed("web-2"), "the last pod is renewed")
    assert not await renewed("web-1")()
    await place.run("web-2")
    await becomes(renewed("web-1"), "the one before it is renewed")
    await place.run("web-1")
    found = await status_says(place, readyReplicas=3, updatedReplicas=2)
    assert found["status"]["currentRevision"] == old != found["status"]["updateRevision"]
    assert not await renewed("web-0")()
    assert len(await place.names(REVISION)) == 2


async def test_a_set_on_delete_leaves_its_pods_alone(place: Place) -> None:
    spec = stateful_set(1, updateStrategy={"type": "OnDelete"})
    await place.create(SET, "web", spec=spec)
    await place.pods_are("web-0")
    await place.run("web-0")
    found = await status_says(place, readyReplicas=1)
    template = {"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}}
    await place.client.patch(SET, place.key("web"), template)
    new = await status_says(place, readyReplicas=1, updatedReplicas=0)
    assert new["status"]["updateRevision"] != found["status"]["updateRevision"]
    await place.client.delete(POD, place.key("web-0"))
    await status_says(place, updatedReplicas=1)


async def test_claims_are_made_and_stay(place: Place) -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    await place.create(SET, "web", spec=stateful_set(1, volumeClaimTemplates=[claim]))
    (pod,) = await place.pods_are("web-0")
    assert await place.names(CLAIM) == ["data-web-0"]
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "data-web-0"
    (found,) = await place.all(CLAIM)
    assert found["metadata"]["labels"] == {"app": "web"}
    assert found["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    await place.client.patch(SET, place.key("web"), {"spec": {"replicas": 0}})
    await place.pods_are()
    assert await place.names(CLAIM) == ["data-web-0"]


async def test_a_deleted_set_takes_its_pods_along(place: Place) -> None:
    await place.create(SET, "web", spec=stateful_set(2, podManagementPolicy="Parallel"))
    await place.pods_are("web-0", "web-1")
    await place.client.delete(SET, place.key("web"), propagation="Foreground")
    await place.gone(SET, "web")
    assert await place.names(POD) == []


# -- budgets ------------------------------------------------------------------------------------------------


async def _pods_with_budget(place: Place, **budget: Any) -> None:
    await place.create(SET, "web", spec=stateful_set(3, podManagementPolicy="Parallel"))
    await place.pods_are("web-0", "web-1", "web-2")
    for name in ("web-0", "web-1", "web-2"):
        await place.run(name)
    await place.create(BUDGET, "web", spec={"selector": {"matchLabels": {"app": "web"}}, **budget})


async def budget_says(place: Place, **wanted: int) -> None:
    async def check() -> bool:
        found = await place.get(BUDGET, "web")
        assert found is not None
        status = found.get("status") or {}
        return all(status.get(key) == value for key, value in wanted.items())

    await becomes(check, f"the budget says {wanted}")


@pytest.mark.parametrize(
    "budget",
    [{"minAvailable": 2}, {"maxUnavailable": 1}, {"minAvailable": "60%"}, {"maxUnavailable": "33%"}],
    ids=str,
)
async def test_a_budget_counts(place: Place, budget: Object) -> None:
    await _pods_with_budget(place, **budget)
    healthy = {"currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3, "disruptionsAllowed": 1}
    await budget_says(place, **healthy, observedGeneration=1)
    await place.run("web-2", ready=False)
    await budget_says(place, currentHealthy=2, disruptionsAllowed=0)


async def test_evictions_are_granted_as_the_budget_allows(place: Place) -> None:
    await _pods_with_budget(place, maxUnavailable=1)
    await budget_says(place, disruptionsAllowed=1)
    before = await place.get(POD, "web-0")
    await place.client.evict(place.key("web-0"))
    with pytest.raises(TooManyRequests, match="violate the pod's disruption budget"):
        await place.client.evict(place.key("web-1"))

    async def another() -> bool:
        found = await place.get(POD, "web-0")
        assert before is not None
        return found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]

    await becomes(another, "the evicted pod comes back")
    await place.run("web-0")
    await budget_says(place, disruptionsAllowed=1)


# -- endpoints ----------------------------------------------------------------------------------------------


async def _addresses(place: Place) -> dict[str, bool]:
    slices = await place.all(SLICE, "kubernetes.io/service-name=web")
    return {
        endpoint["addresses"][0]: endpoint["conditions"]["ready"]
        for one in slices
        for endpoint in one["endpoints"] or ()
    }


async def addresses_are(place: Place, wanted: dict[str, bool]) -> None:
    found: dict[str, bool] = {}

    async def check() -> bool:
        nonlocal found
        found = await _addresses(place)
        return found == wanted

    try:
        await becomes(check, f"the endpoints are {wanted}")
    except AssertionError as error:
        raise AssertionError(f"{error}; they are {found}") from None


@pytest.fixture
async def node(client: Client) -> AsyncIterator[str]:
    """A node: endpoints of pods that are on none may be left out."""
    name = "conformance"
    with contextlib.suppress(AlreadyExists):
        await client.create(NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    yield name
    with contextlib.suppress(NotFound):
        await client.delete(NODE, ObjectKey("", name))


@pytest.mark.parametrize("early", [False, True], ids=["when ready", "not ready too"])
async def test_endpoints_follow_pods(place: Place, node: str, early: bool) -> None:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    spec = {
        "clusterIP": "None",
        "selector": {"app": "web"},
        "ports": ports,
        "publishNotReadyAddresses": early,
    }
    await place.create(SERVICE, "web", spec=spec)
    await place.create(SET, "web", spec=stateful_set(2, podManagementPolicy="Parallel"))
    await place.pods_are("web-0", "web-1")
    for name in ("web-0", "web-1"):
        await place.bind(name, node)
    await place.run("web-0", address="10.1.2.3")
    await place.run("web-1", address="10.1.2.4", ready=False)
    await addresses_are(place, {"10.1.2.3": True, "10.1.2.4": early})
    (found,) = await place.all(SLICE, "kubernetes.io/service-name=web")
    assert found["addressType"] == "IPv4"
    assert found["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    by_name = {one["targetRef"]["name"]: one for one in found["endpoints"]}
    assert by_name["web-0"]["hostname"] == "web-0"
    assert by_name["web-1"]["conditions"] == {"ready": early, "serving": False, "terminating": False}
    (reference,) = found["metadata"]["ownerReferences"]
    assert (reference["kind"], reference["name"], reference["controller"]) == ("Service", "web", True)
    await place.client.delete(POD, place.key("web-0"), grace_period=0)
    await addresses_are(place, {"10.1.2.4": early})
    await place.client.delete(SERVICE, place.key("web"))
    await place.gone(SLICE, found["metadata"]["name"])
