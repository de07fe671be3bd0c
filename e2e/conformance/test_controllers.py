"""What controllers do: the sandbox's loops and a real controller manager, watched by the same tests.

There is no node: a pod's status is written by the test, as a kubelet would.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from e2e.conformance.place import (
    ACCOUNT,
    BUDGET,
    MAP,
    NAMESPACE,
    NODE,
    POD,
    SERVICE,
    SET,
    SLICE,
    Place,
    becomes,
)
from e2e.conformance.test_stateful_sets import stateful_set
from informers.client import Client
from informers.errors import AlreadyExists, ApiError, NotFound, TooManyRequests
from informers.objects import Object, ObjectKey


def owner(obj: Object, **more: Any) -> Object:
    reference = {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
    }
    return {"ownerReferences": [{**reference, **more}]}


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
