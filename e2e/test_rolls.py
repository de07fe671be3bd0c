"""A router cluster that grows and is rolled: one step at a time, never without a quorum, the leader last."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence

import pytest

from e2e.scene import (
    BUDGET,
    STATEFUL_SET,
    Scene,
    condition,
    meanwhile,
    router,
)
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE
from informers.objects import Object

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
        grown = await scene.ready(CLUSTER, "grow")
    assert watcher.sizes == [1, 2, 3, 4], "one member at a time"
    assert (grown["status"]["readyReplicas"], grown["status"]["clusterHealth"]) == (4, "Healthy")
    assert {node["role"] for node in grown["status"]["nodes"]} == {"Leader", "Follower"}
    assert (await scene.get(BUDGET, "grow"))["spec"]["maxUnavailable"] == 1
    await scene.told("grow", "ScalingUp", "scaling up from 1 to 2 members")
    await scene.told("grow", "EvenReplicas", "use an odd number")
    addresses = await scene.addresses("grow")
    assert len(addresses) == 4
    (first, *others) = await held_by(addresses)
    assert all(held == first and len(held) == 1 for held in [first, *others]), "newcomers hold everything"
    # Ready all the time: the newcomer is counted a moment later.
    await scene.until(
        SOURCE, "grow-in", lambda obj: obj["status"]["registeredNodes"] == 4, "every member knows the service"
    )

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
        after = await scene.ready(CLUSTER, "roll")
    assert watcher.most_away == 1
    assert sorted(watcher.replaced) == ["roll-0", "roll-1", "roll-2"], "each exactly once"
    assert condition(after, "ConfigApplied")["status"] == "True"
    assert before["status"]["updateRevision"] != after["status"]["currentRevision"]
    assert after["status"]["updateRevision"] == after["status"]["currentRevision"]
    restarts = [e["note"] for e in await scene.events("roll") if e["reason"] == "PodRestarted"]
    assert sorted(note.split()[2].rstrip(":") for note in restarts) == [f"roll-{n}" for n in range(3)]
    (last,) = (note for note in restarts if "the leader, last" in note)
    assert watcher.replaced[-1] in last
    await asyncio.gather(*(scene.ready(PIPELINE, name) for name in written))
    for held in await held_by(await scene.addresses("roll")):
        assert len(held) == len(written)
        assert set(held.values()) == {1}, "nothing was written twice"
    await scene.still()


async def test_a_leader_that_moves_during_the_roll_changes_nothing(scene: Scene) -> None:
    await scene.cluster("moves", 3)
    before = (await scene.ready(CLUSTER, "moves"))["status"]
    leader = await scene.process(before["leaderPod"])
    watcher = Watcher(scene, "moves")
    async with meanwhile(watcher.look):
        await scene.annotate(CLUSTER, "moves", restart_requested_at="1")
        await scene.told("moves", "PodRestarted")
        # The node's own way of handing over, as an operator of the router would do it.
        os.kill(leader, signal.SIGUSR1)
        await scene.told("moves", "LeaderChanged")
        await scene.until(
            CLUSTER, "moves", lambda o: condition(o, "ConfigApplied")["status"] == "True", "the roll ends"
        )
        await scene.ready(CLUSTER, "moves")
    assert watcher.most_away == 1
    assert sorted(watcher.replaced) == ["moves-0", "moves-1", "moves-2"], "each exactly once"
    notes = [one["note"] for one in await scene.events("moves") if one["reason"] == "PodRestarted"]
    assert sorted(note.split()[2].rstrip(":") for note in notes) == [f"moves-{n}" for n in range(3)]
    assert not any("the leader, last" in note for note in notes[:-1])
