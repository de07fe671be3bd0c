"""The life of a router cluster: waiting, repairs, the end and what comes after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from e2e.running import eventually
from e2e.scene import (
    CHILDREN,
    CONFIG_MAP,
    MANAGER,
    NAMESPACE,
    POD,
    PVC,
    SERVICE,
    STATEFUL_SET,
    Scene,
    condition,
)
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE
from informers.errors import NotFound
from informers.objects import Object, ObjectKey

pytestmark = pytest.mark.asyncio(loop_scope="function")


def _other_than(uid: str) -> Callable[[Object], bool]:
    return lambda obj: bool(obj["metadata"]["uid"] != uid)


def _leaving(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


async def flow(scene: Scene, cluster: str) -> None:
    """A source, a sink and a pipeline between them."""
    await scene.service(SOURCE, "in", clusterRef={"name": cluster})
    await scene.service(SINK, "out", clusterRef={"name": cluster})
    await scene.apply(PIPELINE, "flow", {"source": "in", "sink": "out", "clusterRef": {"name": cluster}})


async def test_restart_on_request_waits_while_paused(scene: Scene) -> None:
    await scene.cluster("held")
    await scene.ready(CLUSTER, "held")
    (before,) = await scene.pods("held")
    await scene.annotate(CLUSTER, "held", paused="true", restart_requested_at="now")
    await scene.says(CLUSTER, "held", "Paused", kind="Paused", status="True")
    await scene.looked_at(2)
    (during,) = await scene.pods("held")
    assert during["metadata"]["uid"] == before["metadata"]["uid"]
    await scene.says(CLUSTER, "held", "Paused", "changes are pending", status="False")
    # Observed all the same.
    changed = await scene.patch(CLUSTER, "held", {"spec": {"podLabels": {"team": "a"}}})
    generation = changed["metadata"]["generation"]
    seen = await scene.until(
        CLUSTER, "held", lambda o: o["status"]["observedGeneration"] == generation, "the change is seen"
    )
    assert condition(seen)["reason"] == "Paused"
    assert condition(seen, "Available")["status"] == "True"
    await scene.annotate(CLUSTER, "held", paused=None)
    await scene.ready(CLUSTER, "held")

    async def replaced() -> bool:
        return [p["metadata"]["labels"].get("team") for p in await scene.pods("held")] == ["a"]

    await eventually(replaced, what="the pod has the new label")
    done = await scene.ready(CLUSTER, "held")
    assert not condition(done, "Paused")
    (after,) = await scene.pods("held")
    assert after["metadata"]["annotations"]["etl.router/restart-requested-at"] == "now"


async def test_on_delete_waits_for_people(scene: Scene) -> None:
    await scene.cluster("manual", updateStrategy="OnDelete")
    await scene.ready(CLUSTER, "manual")
    (before,) = await scene.pods("manual")
    await scene.patch(CLUSTER, "manual", {"spec": {"env": [{"name": "SPICE", "value": "1"}]}})
    await scene.says(CLUSTER, "manual", "WaitingForPodDeletion", "delete manual-0", kind="ConfigApplied")
    await scene.says(CLUSTER, "manual", "WaitingForPodDeletion", "delete manual-0", status="False")
    await scene.looked_at(2)
    assert [p["metadata"]["uid"] for p in await scene.pods("manual")] == [before["metadata"]["uid"]]
    await scene.delete(POD, "manual-0")
    await scene.ready(CLUSTER, "manual")
    (after,) = await scene.pods("manual")
    assert {"name": "SPICE", "value": "1"} in after["spec"]["containers"][0]["env"]


async def test_the_same_name_again_at_once(scene: Scene) -> None:
    await scene.cluster("phoenix", deletionPolicy="Delete")
    old = await scene.ready(CLUSTER, "phoenix")
    await scene.delete(CLUSTER, "phoenix")
    await scene.cluster("phoenix")
    new = await scene.ready(CLUSTER, "phoenix")
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    assert {one["reason"] for one in await scene.events("phoenix")}.isdisjoint({"NameConflict"})
    for resource in CHILDREN:
        for child in await scene.all(resource):
            for owner in child["metadata"].get("ownerReferences", ()):
                assert owner["uid"] == new["metadata"]["uid"], f"{resource.kind} {child['metadata']['name']}"


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_volumes_after_deletion(scene: Scene, policy: str) -> None:
    await scene.cluster("keep", deletionPolicy=policy)
    await scene.ready(CLUSTER, "keep")
    assert await scene.find(PVC, "data-keep-0")
    await scene.delete(CLUSTER, "keep")
    await scene.gone(STATEFUL_SET, "keep")
    await scene.gone(POD, "keep-0")
    if policy == "Delete":
        await scene.gone(PVC, "data-keep-0")
        return
    kept = await scene.get(PVC, "data-keep-0")
    assert not _leaving(kept)
    # Another cluster of the name takes them up.
    await scene.cluster("keep")
    await scene.ready(CLUSTER, "keep")
    assert (await scene.get(PVC, "data-keep-0"))["metadata"]["uid"] == kept["metadata"]["uid"]


async def test_the_end_of_a_namespace_waits_for_nobody(scene: Scene) -> None:
    await scene.cluster("last", 3)
    await flow(scene, "last")
    await asyncio.gather(scene.ready(CLUSTER, "last"), scene.ready(PIPELINE, "flow"))
    await scene.client.delete(NAMESPACE, ObjectKey("", scene.namespace))

    async def ended() -> bool:
        try:
            await scene.client.get(NAMESPACE, ObjectKey("", scene.namespace))
        except NotFound:
            return True
        return False

    await eventually(ended, what="the namespace is gone")


async def test_an_edited_or_deleted_child_is_restored(scene: Scene) -> None:
    await scene.cluster("own")
    await scene.ready(CLUSTER, "own")
    config = await scene.get(CONFIG_MAP, "own-config")
    await scene.patch(CONFIG_MAP, "own-config", {"data": {"router.yaml": "broken"}})
    await scene.patch(STATEFUL_SET, "own", {"spec": {"replicas": 3}})
    await scene.until(
        CONFIG_MAP, "own-config", lambda o: o["data"] == config["data"], "the file is as it should be"
    )
    await scene.until(STATEFUL_SET, "own", lambda o: o["spec"]["replicas"] == 1, "one replica again")
    for resource, name in ((SERVICE, "own"), (SERVICE, "own-headless"), (CONFIG_MAP, "own-config")):
        uid = (await scene.get(resource, name))["metadata"]["uid"]
        await scene.delete(resource, name)
        await scene.until(resource, name, _other_than(uid), f"{name} is back")
    await scene.ready(CLUSTER, "own")
    uid = (await scene.get(STATEFUL_SET, "own"))["metadata"]["uid"]
    await scene.delete(STATEFUL_SET, "own")
    await scene.until(STATEFUL_SET, "own", lambda o: o["metadata"]["uid"] != uid, "the StatefulSet is back")
    await scene.ready(CLUSTER, "own")


async def test_names_of_others_are_left_alone(scene: Scene) -> None:
    foreign = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "taken-config", "namespace": scene.namespace},
        "data": {"mine": "yes"},
    }
    await scene.client.apply(CONFIG_MAP, foreign, field_manager=MANAGER)
    await scene.cluster("taken")
    await scene.says(CLUSTER, "taken", "NameConflict", "ConfigMap", "taken-config", status="False")
    await scene.told("taken", "NameConflict")
    assert "router.yaml" not in (await scene.get(CONFIG_MAP, "taken-config"))["data"]
    await scene.annotate(CLUSTER, "taken", adopt="true")
    await scene.ready(CLUSTER, "taken")
    adopted = await scene.get(CONFIG_MAP, "taken-config")
    assert adopted["data"]["mine"] == "yes"
    assert adopted["metadata"]["ownerReferences"][0]["name"] == "taken"
