"""The garbage collector and the end of namespaces, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from informers.apiserver.core import ApiServer
from informers.apiserver.errors import StatusError
from informers.objects import Object, ObjectKey, Resource
from informers.testing.clock import VirtualClock, run_virtual

CONFIG = Resource("", "v1", "configmaps", "ConfigMap")
SECRET = Resource("", "v1", "secrets", "Secret")
POD = Resource("", "v1", "pods", "Pod")
NAMESPACE = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
ROLE = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)

SETTLED = 10.0
"""Seconds after which every controller has had its turn."""


def in_server(test: Callable[[ApiServer], Awaitable[None]]) -> None:
    """Run a test against a server whose controllers run."""

    async def run() -> None:
        core = ApiServer(VirtualClock(), rng=random.Random(1))
        running = asyncio.create_task(core.run())
        core.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})
        await test(core)
        assert not running.done()
        running.cancel()

    run_virtual(run())


def config(core: ApiServer, name: str, *owners: Object, block: bool = True, **metadata: Any) -> Object:
    """A ConfigMap owned by others."""
    references = [
        {
            "apiVersion": one["apiVersion"],
            "kind": one["kind"],
            "name": one["metadata"]["name"],
            "uid": one["metadata"]["uid"],
            "blockOwnerDeletion": block,
        }
        for one in owners
    ]
    metadata = {"name": name, "namespace": "n", "ownerReferences": references, **metadata}
    return core.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


def names(core: ApiServer) -> set[str]:
    """The ConfigMaps that are there, without the one every namespace has."""
    return {one["metadata"]["name"] for one in core.all(CONFIG)} - {"kube-root-ca.crt"}


def key(name: str) -> ObjectKey:
    return ObjectKey("n", name)


def test_dependents_go_after_their_owner_but_not_at_once() -> None:
    async def scenario(core: ApiServer) -> None:
        owner = config(core, "owner")
        child = config(core, "child", owner)
        config(core, "grandchild", child)
        await asyncio.sleep(SETTLED)
        core.delete(CONFIG, key("owner"))
        assert names(core) == {"child", "grandchild"}
        await asyncio.sleep(0.015)
        assert "child" in names(core)
        await asyncio.sleep(SETTLED)
        assert names(core) == set()

    in_server(scenario)


def test_an_owner_that_was_never_there_takes_its_dependents_along() -> None:
    async def scenario(core: ApiServer) -> None:
        ghost = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ghost", "uid": "never"}}
        config(core, "child", ghost)
        await asyncio.sleep(SETTLED)
        assert names(core) == set()

    in_server(scenario)


def test_an_owner_made_anew_under_its_name_is_another() -> None:
    async def scenario(core: ApiServer) -> None:
        config(core, "child", config(core, "owner"))
        core.delete(CONFIG, key("owner"))
        config(core, "owner")
        await asyncio.sleep(SETTLED)
        assert names(core) == {"owner"}

    in_server(scenario)


def test_one_owner_left_is_enough_and_the_others_are_forgotten() -> None:
    async def scenario(core: ApiServer) -> None:
        first, second = config(core, "first"), config(core, "second")
        config(core, "child", first, second)
        core.delete(CONFIG, key("first"))
        await asyncio.sleep(SETTLED)
        child = core.find(CONFIG, key("child"))
        assert child is not None
        assert [one["uid"] for one in child["metadata"]["ownerReferences"]] == [second["metadata"]["uid"]]

    in_server(scenario)


@pytest.mark.parametrize("block", [True, False])
def test_foreground_waits_for_dependents_that_block(block: bool) -> None:
    async def scenario(core: ApiServer) -> None:
        owner = config(core, "owner")
        config(core, "child", owner, block=block, finalizers=["example.com/hold"])
        core.delete(CONFIG, key("owner"), propagation="Foreground")
        held = core.find(CONFIG, key("owner"))
        assert held is not None
        assert held["metadata"]["finalizers"] == ["foregroundDeletion"]
        await asyncio.sleep(SETTLED)
        assert names(core) == ({"owner", "child"} if block else {"child"})
        core.edit(CONFIG, key("child"), lambda one: _without_finalizers(one))
        await asyncio.sleep(SETTLED)
        assert names(core) == set()

    in_server(scenario)


def _without_finalizers(obj: Object) -> Object:
    obj["metadata"].pop("finalizers", None)
    return obj


def test_foreground_goes_down_the_tree() -> None:
    async def scenario(core: ApiServer) -> None:
        owner = config(core, "owner")
        child = config(core, "child", owner)
        config(core, "leaf", child, finalizers=["example.com/hold"])
        core.delete(CONFIG, key("owner"), propagation="Foreground")
        await asyncio.sleep(SETTLED)
        middle = core.find(CONFIG, key("child"))
        assert middle is not None
        assert middle["metadata"]["finalizers"] == ["foregroundDeletion"]
        core.edit(CONFIG, key("leaf"), _without_finalizers)
        await asyncio.sleep(SETTLED)
        assert names(core) == set()

    in_server(scenario)


def test_orphans_stay() -> None:
    async def scenario(core: ApiServer) -> None:
        config(core, "child", config(core, "owner"))
        core.delete(CONFIG, key("owner"), propagation="Orphan")
        await asyncio.sleep(SETTLED)
        child = core.find(CONFIG, key("child"))
        assert names(core) == {"child"}
        assert child is not None
        assert not child["metadata"].get("ownerReferences")

    in_server(scenario)


def test_an_owner_of_a_kind_nobody_serves_is_left_in_doubt() -> None:
    async def scenario(core: ApiServer) -> None:
        stranger = {"apiVersion": "e.com/v1", "kind": "Strange", "metadata": {"name": "s", "uid": "u"}}
        config(core, "child", stranger)
        await asyncio.sleep(100)
        assert names(core) == {"child"}

    in_server(scenario)


def test_a_cluster_scoped_owner_is_found_from_within_a_namespace_but_not_the_other_way() -> None:
    async def scenario(core: ApiServer) -> None:
        role = core.create(
            {"apiVersion": ROLE.api_version, "kind": "ClusterRole", "metadata": {"name": "r"}, "rules": []}
        )
        owned = config(core, "child", role)
        reference = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": "child",
            "uid": owned["metadata"]["uid"],
        }
        core.create(
            {
                "apiVersion": ROLE.api_version,
                "kind": "ClusterRole",
                "metadata": {"name": "odd", "ownerReferences": [reference]},
                "rules": [],
            }
        )
        await asyncio.sleep(SETTLED)
        assert names(core) == {"child"}
        core.delete(ROLE, ObjectKey("", "r"))
        await asyncio.sleep(SETTLED)
        assert names(core) == set()
        assert core.find(ROLE, ObjectKey("", "odd")) is not None

    in_server(scenario)


def test_dependents_from_before_the_collector_started_are_seen() -> None:
    async def run() -> None:
        core = ApiServer(VirtualClock(), rng=random.Random(1))
        core.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})
        config(core, "child", config(core, "owner"))
        core.delete(CONFIG, key("owner"))
        running = asyncio.create_task(core.run())
        await asyncio.sleep(SETTLED)
        assert names(core) == set()
        running.cancel()

    run_virtual(run())


def test_a_namespace_is_emptied_and_then_goes() -> None:
    async def scenario(core: ApiServer) -> None:
        config(core, "one")
        core.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}})
        config(core, "held", finalizers=["example.com/hold"])
        core.delete(NAMESPACE, ObjectKey("", "n"))
        with pytest.raises(StatusError) as refusal:
            config(core, "late")
        assert refusal.value.code == 403
        assert refusal.value.details["causes"][0]["reason"] == "NamespaceTerminating"
        await asyncio.sleep(SETTLED)
        assert names(core) == {"held"}
        conditions = {one["type"]: one for one in _namespace(core)["status"]["conditions"]}
        remaining = conditions["NamespaceContentRemaining"]
        assert (remaining["status"], remaining["message"]) == (
            "True",
            "Some resources are remaining: configmaps. has 1 resource instances",
        )
        assert conditions["NamespaceFinalizersRemaining"]["message"] == (
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        )
        assert conditions["NamespaceDeletionContentFailure"]["status"] == "False"
        core.edit(CONFIG, key("held"), _without_finalizers)
        await asyncio.sleep(SETTLED)
        assert core.find(NAMESPACE, ObjectKey("", "n")) is None

    in_server(scenario)


def _namespace(core: ApiServer) -> Object:
    found = core.find(NAMESPACE, ObjectKey("", "n"))
    assert found is not None
    return found


def test_a_namespace_waits_for_pods_that_are_given_time() -> None:
    async def scenario(core: ApiServer) -> None:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "namespace": "n"},
            "spec": {"nodeName": "here", "containers": [{"name": "c", "image": "i"}]},
        }
        core.create(pod)
        core.delete(NAMESPACE, ObjectKey("", "n"))
        await asyncio.sleep(SETTLED)
        dying = core.find(POD, key("p"))
        assert dying is not None
        assert dying["metadata"]["deletionGracePeriodSeconds"] == 30
        core.delete(POD, key("p"), grace_period=0)
        await asyncio.sleep(SETTLED)
        assert core.find(NAMESPACE, ObjectKey("", "n")) is None

    in_server(scenario)


def test_an_idle_server_writes_nothing() -> None:
    async def scenario(core: ApiServer) -> None:
        config(core, "child", config(core, "owner"))
        await asyncio.sleep(SETTLED)
        before = core.store.revision
        await asyncio.sleep(3000)
        assert core.store.revision == before

    in_server(scenario)
