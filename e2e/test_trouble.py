"""Routers that stop, lie, dawdle or speak otherwise, and an operator that is killed at the worst moment."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from e2e.running import Sandbox, eventually
from e2e.scene import CHILDREN, ETL, MANAGER, NAMESPACE, STATEFUL_SET, Scene, condition, router, scene_in
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE
from etl_operator.router.client import RouterNode
from etl_operator.router.errors import RouterError
from informers.client import Client
from informers.errors import NotFound
from informers.objects import Object, ObjectKey, Resource

pytestmark = pytest.mark.asyncio(loop_scope="function")

SECRET = Resource("", "v1", "secrets", "Secret")
PRETENDER = [sys.executable, str(Path(__file__).with_name("pretender.py"))]


@contextmanager
def stopped(*processes: int) -> Iterator[None]:
    """Processes that stand still for a while."""
    for one in processes:
        os.kill(one, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in processes:
            # A liveness probe may have ended it meanwhile.
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGCONT)


async def flow(scene: Scene, cluster: str) -> None:
    """A source, a sink and a pipeline between them."""
    await scene.service(SOURCE, "in", clusterRef={"name": cluster})
    await scene.service(SINK, "out", clusterRef={"name": cluster})
    await scene.apply(PIPELINE, "flow", {"source": "in", "sink": "out", "clusterRef": {"name": cluster}})


async def all_ready(scene: Scene, cluster: str) -> None:
    """The cluster and everything that :func:`flow` made."""
    await asyncio.gather(
        scene.ready(CLUSTER, cluster),
        scene.ready(SOURCE, "in"),
        scene.ready(SINK, "out"),
        scene.ready(PIPELINE, "flow"),
    )


def log_lines(scene: Scene) -> int:
    """Lines the operator has logged."""
    return len((scene.sandbox.state_dir / "operator.log").read_text().splitlines())


async def test_members_that_stand_still(scene: Scene) -> None:
    await scene.cluster("three", 3)
    await flow(scene, "three")
    await all_ready(scene, "three")
    status = (await scene.get(CLUSTER, "three"))["status"]
    leader = status["leaderPod"]
    follower = next(one["podName"] for one in status["nodes"] if one["role"] == "Follower")

    with stopped(await scene.process(follower)):
        # Kubernetes itself takes it for ready; it is missed once it is silent for longer than an election.
        await scene.says(CLUSTER, "three", "PodsNotReady", f"{follower} does not answer", status="False")
        seen = await scene.get(CLUSTER, "three")
        assert seen["status"]["clusterHealth"] == "Degraded"
        assert seen["status"]["readyReplicas"] == 2
        assert condition(seen, "Available")["status"] == "True"
        assert seen["status"]["leaderPod"] == leader
        # Writes go on, and services count the members that are ready.
        await scene.patch(PIPELINE, "flow", {"spec": {"enabled": False}})
        await scene.ready(PIPELINE, "flow")
    await all_ready(scene, "three")

    with stopped(await scene.process(leader)):
        await scene.until(
            CLUSTER, "three", lambda o: o["status"].get("leaderPod") not in (None, leader), "a new leader"
        )
        await scene.told("three", "LeaderChanged")
        await scene.patch(PIPELINE, "flow", {"spec": {"enabled": True}})
        await scene.ready(PIPELINE, "flow")
    await all_ready(scene, "three")


async def test_a_missing_secret_of_a_volume_is_named(scene: Scene) -> None:
    await scene.cluster("mute", 1)
    await scene.ready(CLUSTER, "mute")
    volume = {"name": "extra", "secret": {"secretName": "not-there-yet"}}
    stateful_set = {
        "apiVersion": STATEFUL_SET.api_version,
        "kind": STATEFUL_SET.kind,
        "metadata": {"name": "mute", "namespace": scene.namespace},
        "spec": {"template": {"spec": {"volumes": [volume]}}},
    }
    await scene.client.apply(STATEFUL_SET, stateful_set, field_manager="injector")
    cause = 'mute-0: volume "extra": secret "not-there-yet" not found (FailedMount)'
    await scene.says(CLUSTER, "mute", "PodsNotReady", cause, status="False")
    metadata = {"name": "not-there-yet", "namespace": scene.namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
    await scene.client.apply(SECRET, secret, field_manager=MANAGER)
    await scene.ready(CLUSTER, "mute")


async def test_a_cluster_that_does_not_answer_makes_no_noise(scene: Scene) -> None:
    await scene.cluster("mute")
    await flow(scene, "mute")
    await all_ready(scene, "mute")
    with stopped(await scene.process("mute-0")):
        await scene.says(CLUSTER, "mute", "ClusterUnreachable", kind="QuorumHealthy", status="False")
        await scene.annotate(PIPELINE, "flow", poke="1")
        await scene.says(PIPELINE, "flow", "ClusterUnreachable", status="False")
        lines = log_lines(scene)
        await scene.still(*ETL, *CHILDREN)
        assert log_lines(scene) - lines < 10
        # What is deleted now waits, and says for what; a user who cannot wait need not.
        await scene.delete(PIPELINE, "flow")
        await scene.says(PIPELINE, "flow", "Deleting", "ClusterUnreachable", "etl.router/force-delete")
        await scene.annotate(PIPELINE, "flow", force_delete="true")
        await scene.gone(PIPELINE, "flow")
        await scene.told("flow", "FinalizerForced")
    await scene.ready(CLUSTER, "mute")
    await scene.ready(SOURCE, "in")


async def test_the_end_of_a_guests_namespace_does_not_wait_for_a_silent_host(
    scene: Scene, sandbox: Sandbox, client: Client
) -> None:
    name = f"{scene.namespace}-guest"
    await scene.cluster("host", allowedNamespaces=[name])
    there: dict[str, Any] = {"clusterRef": {"name": "host", "namespace": scene.namespace}}
    async with scene_in(sandbox, client, name) as guest:
        await guest.service(SOURCE, "in", **there)
        await guest.service(SINK, "out", **there)
        await guest.apply(PIPELINE, "flow", {"source": "in", "sink": "out", **there})
        await asyncio.gather(
            *(guest.ready(*one) for one in ((SOURCE, "in"), (SINK, "out"), (PIPELINE, "flow")))
        )

        async def ended() -> bool:
            try:
                await client.get(NAMESPACE, ObjectKey("", name))
            except NotFound:
                return True
            return False

        with stopped(await scene.process("host-0")):
            await client.delete(NAMESPACE, ObjectKey("", name))
            # Far less than the five minutes for which the deletion of a pipeline alone would wait.
            await eventually(ended, what="the namespace is gone")


async def test_routers_killed_all_at_once(scene: Scene) -> None:
    await scene.cluster("dead", 3)
    await flow(scene, "dead")
    await all_ready(scene, "dead")
    version = (await scene.get(PIPELINE, "flow"))["status"]["version"]
    for pod in await scene.pods("dead"):
        os.kill(await scene.process(pod["metadata"]["name"]), signal.SIGKILL)

    async def restarted() -> bool:
        pods = await scene.pods("dead")
        return all(pod["status"]["containerStatuses"][0]["restartCount"] == 1 for pod in pods)

    await eventually(restarted, what="every router was restarted")
    await all_ready(scene, "dead")
    for address in await scene.addresses("dead"):
        async with router(address) as node:

            async def registered(node: RouterNode = node) -> bool:
                # The statuses may still tell of the time before: this one may not listen yet.
                with suppress(RouterError):
                    return len(await node.list_services()) == 2
                return False

            await eventually(registered, what=f"{address} knows both services")
            held = await node.get_pipeline(f"{scene.namespace}/flow")
            assert held is not None
            assert held.status.version == version
    await scene.still()


async def test_a_router_without_the_admin_service(scene: Scene) -> None:
    await scene.cluster("plain", args=["--upstream-faithful"])
    await flow(scene, "plain")
    await scene.says(CLUSTER, "plain", "RouterAdminUnavailable", kind="QuorumHealthy", status="Unknown")
    await scene.says(CLUSTER, "plain", "RouterAdminUnavailable", status="False")
    await scene.says(PIPELINE, "flow", "RouterAdminUnavailable", status="False")
    await scene.ready(SOURCE, "in")
    await scene.still()


async def test_routers_of_another_era_that_dawdle(scene: Scene) -> None:
    await scene.cluster("old", args=["--package-prefix", "conveyor", "--answer-delay-ms", "700"])
    await flow(scene, "old")
    await all_ready(scene, "old")
    assert (await scene.get(CLUSTER, "old"))["status"]["protocol"] == "conveyor"
    await scene.delete(PIPELINE, "flow")
    await scene.gone(PIPELINE, "flow")
    await scene.told("flow", "Deleted")


async def test_nothing_is_written_to_a_split_brain(scene: Scene) -> None:
    await scene.cluster("split", 3, command=PRETENDER)
    await flow(scene, "split")
    await scene.says(CLUSTER, "split", "SplitBrain", "both report that they lead", status="False")
    await scene.told("split", "SplitBrain")
    await scene.says(PIPELINE, "flow", "SplitBrain", status="False")
    pods = [pod["metadata"]["uid"] for pod in await scene.pods("split")]
    await scene.patch(CLUSTER, "split", {"spec": {"podLabels": {"a": "b"}}})
    await scene.looked_at(3)
    assert [pod["metadata"]["uid"] for pod in await scene.pods("split")] == pods, "no roll either"
    written = list(scene.sandbox.state_dir.rglob("writes"))
    assert not written, [file.read_text() for file in written]


async def test_a_hundred_pipelines_at_once(scene: Scene) -> None:
    await scene.cluster("many")
    await flow(scene, "many")
    await all_ready(scene, "many")
    lines = log_lines(scene)
    spec = {"source": "in", "sink": "out"}
    await asyncio.gather(*(scene.apply(PIPELINE, f"p{n}", spec) for n in range(100)))
    await asyncio.gather(*(scene.ready(PIPELINE, f"p{n}") for n in range(100)))
    async with router(await scene.leader("many")) as node:
        assert len(await node.list_pipelines(include_disabled=True)) == 101
        for n in range(0, 100, 10):
            held = await node.get_pipeline(f"{scene.namespace}/p{n}")
            assert held is not None
            assert (held.status.version, held.status.enabled) == (1, True)
        await asyncio.gather(*(scene.delete(PIPELINE, f"p{n}") for n in range(100)))
        await asyncio.gather(*(scene.gone(PIPELINE, f"p{n}") for n in range(100)))
        assert len(await node.list_pipelines(include_disabled=True)) == 1
    assert log_lines(scene) - lines < 30


async def test_the_operator_is_killed_in_the_middle(scene: Scene) -> None:
    await scene.cluster("mid", 3)
    await flow(scene, "mid")
    await all_ready(scene, "mid")
    names = [f"p{n}" for n in range(10)]
    await asyncio.gather(*(scene.apply(PIPELINE, n, {"source": "in", "sink": "out"}) for n in names))
    await asyncio.gather(*(scene.ready(PIPELINE, name) for name in names))
    before = {pod["metadata"]["uid"] for pod in await scene.pods("mid")}
    await scene.annotate(CLUSTER, "mid", restart_requested_at="1")

    async def one_replaced() -> bool:
        return len(before & {pod["metadata"]["uid"] for pod in await scene.pods("mid")}) < 3

    await eventually(one_replaced, what="the first restart")
    await asyncio.gather(*(scene.delete(PIPELINE, name) for name in names))
    await scene.delete(SOURCE, "in")
    (operator,) = (line for line in scene.sandbox.processes() if "operator.kubeconfig" in line)
    os.kill(int(operator.split()[0]), signal.SIGKILL)
    seen: dict[str, set[str]] = {}

    async def look() -> None:
        for pod in await scene.pods("mid"):
            seen.setdefault(pod["metadata"]["name"], set()).add(pod["metadata"]["uid"])

    async def rolled() -> bool:
        await look()
        pods = await scene.pods("mid")
        return len(pods) == 3 and all(map(_restarted, pods))

    await eventually(rolled, what="the roll goes on")
    await asyncio.gather(*(scene.gone(PIPELINE, name) for name in names))
    # The source is in use by the pipeline that stays.
    await scene.says(SOURCE, "in", "InUse", "EtlPipeline flow", kind="DeletionBlocked")
    await scene.ready(CLUSTER, "mid")
    await look()
    assert all(len(uids - before) == 1 for uids in seen.values()), "each member once"
    async with router(await scene.leader("mid")) as node:
        (left,) = await node.list_pipelines(include_disabled=True)
        assert left.id == f"{scene.namespace}/flow"
    await scene.delete(PIPELINE, "flow")
    await scene.gone(SOURCE, "in")


def _restarted(pod: Object) -> bool:
    annotations = pod["metadata"].get("annotations") or {}
    return annotations.get("etl.router/restart-requested-at") == "1"
