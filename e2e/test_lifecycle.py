"""The life of a router cluster: growing, restarting, waiting, ending."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from e2e.running import eventually
from e2e.scene import (
    BUDGET,
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
    meanwhile,
    router,
)
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE
from informers.errors import NotFound
from informers.objects import Object, ObjectKey

pytestmark = pytest.mark.asyncio(loop_scope="function")


class Watcher:
    """Looks at a cluster again and again, and remembers what must not happen or in which order it did."""

    def __init__(self, scene: Scene, cluster: str) -> None:
        self._scene = scene
        self._cluster = cluster
        self._uids: dict[str, str] = {}
        self.sizes: list[int] = []
        """Replicas of the StatefulSet, whenever they changed."""
        self.replaced: list[str] = []
        """Pods that came back as another one, in that order."""
        self.most_away = 0
        """Members not ready at once, at most."""

    async def look(self) -> None:
        """Look once."""
        live = await self._scene.find(STATEFUL_SET, self._cluster)
        size = int(live["spec"]["replicas"]) if live else 0
        if size and self.sizes[-1:] != [size]:
            self.sizes.append(size)
        pods = await self._scene.pods(self._cluster)
        for pod in pods:
            name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
            if self._uids.setdefault(name, uid) != uid:
                self._uids[name] = uid
                self.replaced.append(name)
        ready = [p for p in pods if condition(p).get("status") == "True" and not _leaving(p)]
        self.most_away = max(self.most_away, size - len(ready))


def _other_than(uid: str) -> Callable[[Object], bool]:
    return lambda obj: bool(obj["metadata"]["uid"] != uid)


def _leaving(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


async def services(scene: Scene, cluster: str) -> None:
    """A source and a sink."""
    for resource, name in ((SOURCE, f"{cluster}-in"), (SINK, f"{cluster}-out")):
        await scene.service(resource, name, clusterRef={"name": cluster})


async def pipeline(scene: Scene, cluster: str, name: str) -> None:
    """A pipeline between the two."""
    spec = {"source": f"{cluster}-in", "sink": f"{cluster}-out", "clusterRef": {"name": cluster}}
    await scene.apply(PIPELINE, name, spec)


async def held_by(addresses: Sequence[str]) -> list[dict[str, int]]:
    """Every router's pipelines and their versions."""
    found = []
    for address in addresses:
        async with router(address) as node:
            ids = [one.id for one in await node.list_pipelines(include_disabled=True)]
            held = {one: await node.get_pipeline(one) for one in ids}
            found.append({one: answer.status.version for one, answer in held.items() if answer})
    return found


async def test_growing_and_not_shrinking(scene: Scene) -> None:
    await scene.cluster("grow")
    await services(scene, "grow")
    await pipeline(scene, "grow", "early")
    await asyncio.gather(scene.ready(CLUSTER, "grow"), scene.ready(PIPELINE, "early"))
    assert await scene.find(BUDGET, "grow") is None, "no budget can protect a lone member"
    watcher = Watcher(scene, "grow")
    async with meanwhile(watcher.look):
        await scene.patch(CLUSTER, "grow", {"spec": {"replicas": 4}})
        grown = await scene.ready(CLUSTER, "grow", within=90)
    assert watcher.sizes == [1, 2, 3, 4], "one member at a time"
    assert (grown["status"]["readyReplicas"], grown["status"]["clusterHealth"]) == (4, "Healthy")
    assert {node["role"] for node in grown["status"]["nodes"]} == {"Leader", "Follower"}
    assert (await scene.get(BUDGET, "grow"))["spec"]["maxUnavailable"] == 1
    await scene.told("grow", "ScalingUp", "growing from 1 to 2 members")
    await scene.told("grow", "EvenReplicas", "prefer an odd number")
    addresses = await scene.addresses("grow")
    assert len(addresses) == 4
    (first, *others) = await held_by(addresses)
    assert all(held == first and len(held) == 1 for held in [first, *others]), "newcomers hold everything"
    source = await scene.ready(SOURCE, "grow-in")
    assert source["status"]["registeredNodes"] == 4

    await scene.patch(CLUSTER, "grow", {"spec": {"replicas": 1}})
    await scene.says(CLUSTER, "grow", "ScaleDownUnsupported", "set spec.replicas back to 4", status="False")
    assert condition(await scene.get(CLUSTER, "grow"), "Stalled")["status"] == "True"
    assert condition(await scene.get(CLUSTER, "grow"), "Available")["status"] == "True", (
        "it serves all the same"
    )
    await scene.told("grow", "ScaleDownUnsupported")
    assert (await scene.get(STATEFUL_SET, "grow"))["spec"]["replicas"] == 4
    await scene.patch(CLUSTER, "grow", {"spec": {"replicas": 4}})
    recovered = await scene.ready(CLUSTER, "grow")
    assert not condition(recovered, "Stalled")
    assert [p["metadata"]["uid"] for p in await scene.pods("grow")] == list(watcher._uids.values())


async def test_a_roll_keeps_the_quorum_and_ends_with_the_leader(scene: Scene) -> None:
    await scene.cluster("roll", 3)
    await services(scene, "roll")
    before = await scene.ready(CLUSTER, "roll")
    watcher = Watcher(scene, "roll")
    written: list[str] = []

    async def write() -> None:
        if len(written) < 30:
            written.append(f"p{len(written)}")
            await pipeline(scene, "roll", written[-1])
            await asyncio.sleep(0.3)

    async with meanwhile(watcher.look), meanwhile(write):
        await scene.patch(CLUSTER, "roll", {"spec": {"raft": {"snapshotInterval": 5000}}})
        await scene.says(CLUSTER, "roll", "RollingRestart", "pods updated")
        after = await scene.ready(CLUSTER, "roll", within=90)
    assert watcher.most_away == 1
    assert sorted(watcher.replaced) == ["roll-0", "roll-1", "roll-2"], "each exactly once"
    assert condition(after, "ConfigApplied")["status"] == "True"
    assert before["status"]["updateRevision"] != after["status"]["currentRevision"]
    assert after["status"]["updateRevision"] == after["status"]["currentRevision"]
    restarts = [e["note"] for e in await scene.events("roll") if e["reason"] == "PodRestarted"]
    assert (
        sorted(note.split()[2] for note in restarts) == [f"roll-{n}:" for n in range(3)] or len(restarts) == 3
    )
    (last,) = (note for note in restarts if "the leader, last" in note)
    assert watcher.replaced[-1] in last
    await asyncio.gather(*(scene.ready(PIPELINE, name) for name in written))
    for held in await held_by(await scene.addresses("roll")):
        assert len(held) == len(written)
        assert set(held.values()) == {1}, "nothing was written twice"
    await scene.still()


async def test_restart_on_request_waits_while_paused(scene: Scene) -> None:
    await scene.cluster("held")
    await scene.ready(CLUSTER, "held")
    (before,) = await scene.pods("held")
    await scene.annotate(CLUSTER, "held", paused="true", restart_requested_at="now")
    await scene.says(CLUSTER, "held", "Paused", kind="Paused", status="True")
    await scene.looked_at(2)
    (during,) = await scene.pods("held")
    assert during["metadata"]["uid"] == before["metadata"]["uid"]
    await scene.says(CLUSTER, "held", "Paused", "waits for its end", status="False")
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
    await services(scene, "last")
    await pipeline(scene, "last", "flow")
    await asyncio.gather(scene.ready(CLUSTER, "last"), scene.ready(PIPELINE, "flow"))
    await scene.client.delete(NAMESPACE, ObjectKey("", scene.namespace))

    async def ended() -> bool:
        try:
            await scene.client.get(NAMESPACE, ObjectKey("", scene.namespace))
        except NotFound:
            return True
        return False

    await eventually(ended, what="the namespace is gone", within=60)


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
