"""Router processes on both engines: kill -9, SIGSTOP, SIGTERM, restarts."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from etl_operator.router.pb import router_pb2
from tests.hanging import HANGS
from tests.node.cluster import RouterCluster, RouterProcess, pipeline, running, writing
from tests.node.etcd import binary, gone
from tests.processes import until


@pytest.fixture(params=["embedded", "etcd"])
def flags(request: pytest.FixtureRequest) -> list[str]:
    """Of a node with the engine."""
    engine = str(request.param)
    return [f"--engine={engine}", *([f"--etcd-binary={binary()}"] if engine == "etcd" else [])]


async def names(node: RouterProcess) -> set[str]:
    request = router_pb2.ListPipelinesRequest(include_disabled=True)
    answer = await node.admin.ListPipelines(request, timeout=HANGS)
    return {config.id for config in answer.pipelines}


async def everywhere(cluster: RouterCluster, expected: set[str]) -> None:
    for node in cluster.nodes.values():

        async def complete(node: RouterProcess = node) -> bool:
            return expected <= await names(node)

        await until(complete, cluster.logs)


async def etcd_of(node: RouterProcess, *, former: int = 0) -> int:
    """Process id of a node's etcd, once it runs."""
    found: list[int] = []

    def runs() -> bool:
        for pid in node.workers():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if "--initial-cluster-token" in Path(f"/proc/{pid}/cmdline").read_text() and pid != former:
                    found.append(pid)
        return bool(found)

    await until(runs, node.logs)
    return found[0]


async def test_no_acknowledged_write_is_lost_when_the_leader_is_killed(
    tmp_path: Path, flags: list[str]
) -> None:
    async with running(tmp_path, 3, flags=flags) as cluster:
        leader = await cluster.leader()
        async with writing(cluster) as acknowledged:
            await until(lambda: len(acknowledged) > 50, cluster.logs)
            leader.kill()
            at_kill = len(acknowledged)
            await until(lambda: len(acknowledged) > at_kill + 50, cluster.logs)
            leader.start(cluster.nodes)
            await cluster.leader()
        await everywhere(cluster, acknowledged)


async def test_no_acknowledged_write_is_lost_when_the_leader_is_frozen(
    tmp_path: Path, flags: list[str]
) -> None:
    async with running(tmp_path, 3, flags=flags) as cluster:
        leader = await cluster.leader()
        assert leader.process is not None
        async with writing(cluster) as acknowledged:
            await until(lambda: len(acknowledged) > 20, cluster.logs)
            # An etcd of its own goes on: nobody may take the frozen node for the leader for that.
            leader.process.send_signal(signal.SIGSTOP)
            at_stop = len(acknowledged)
            await until(lambda: len(acknowledged) > at_stop + 20, cluster.logs)
            leader.process.send_signal(signal.SIGCONT)
            await cluster.leader()
        await everywhere(cluster, acknowledged)


async def test_everything_survives_when_all_nodes_are_killed(tmp_path: Path, flags: list[str]) -> None:
    env = {"ETL_ROUTER__CLUSTER__SNAPSHOT_INTERVAL": "10"}
    async with running(tmp_path, 3, flags=flags, env=env) as cluster:
        await cluster.leader()
        async with writing(cluster) as acknowledged:
            await until(lambda: len(acknowledged) > 37, cluster.logs)
            for node in cluster.nodes.values():
                node.kill()
            cluster.start([1, 2, 3])
            await cluster.leader()
        await everywhere(cluster, acknowledged)
        assert "snapshot written" in cluster.logs()


async def test_sigterm_hands_leadership_over_and_ends_in_peace(tmp_path: Path, flags: list[str]) -> None:
    async with running(tmp_path, 3, flags=flags) as cluster:
        leader = await cluster.leader()
        assert await leader.terminate() == 0
        successor = await cluster.leader([node for node in cluster.nodes if node != leader.node_id])
        request = router_pb2.CreatePipelineRequest(config=pipeline("ns/p"))
        assert (await successor.admin.CreatePipeline(request, timeout=HANGS)).success
        assert "Traceback" not in cluster.logs()


async def test_an_etcd_lives_and_dies_with_its_node(tmp_path: Path) -> None:
    flags = ["--engine=etcd", f"--etcd-binary={binary()}"]
    async with running(tmp_path, 1, flags=flags) as cluster:
        node = await cluster.leader()
        etcd = await etcd_of(node)
        os.kill(etcd, signal.SIGKILL)
        etcd = await etcd_of(node, former=etcd)
        await cluster.leader()
        node.kill()
        if sys.platform == "linux":
            await gone(etcd)
        node.start([1])
        await cluster.leader()
        etcd = await etcd_of(node)
        assert await node.terminate() == 0
        await gone(etcd)


async def test_auto_takes_etcd_if_there_is_one_and_stays_with_what_wrote_the_data(tmp_path: Path) -> None:
    async with running(tmp_path, 1, flags=["--engine=embedded"]) as cluster:
        node = await cluster.leader()
        request = router_pb2.CreatePipelineRequest(config=pipeline("ns/p"))
        assert (await node.admin.CreatePipeline(request, timeout=HANGS)).success
        await node.terminate()
        cluster.flags = [f"--etcd-binary={binary()}"]
        node.start([1])
        await cluster.leader()
        assert await names(node) == {"ns/p"}
        assert not (tmp_path / "data" / "etcd-1").exists()
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    async with running(fresh, 1, flags=[f"--etcd-binary={binary()}"]) as cluster:
        assert await etcd_of(await cluster.leader())


async def test_a_new_node_goes_with_the_engine_of_the_others(tmp_path: Path) -> None:
    embedded = "--engine=embedded"
    async with running(
        tmp_path, 1, flags=[f"--etcd-binary={binary()}"], node_flags={1: [embedded]}
    ) as cluster:
        await cluster.leader()
        assert await cluster.node(1).terminate() == 0
        cluster.node(1).start([1, 2])
        cluster.node(2).start([1, 2])
        assert await cluster.node(2).exit_code() == 1
        assert "node 1 is on the embedded engine" in cluster.node(2).logs()
        cluster.node(2).start([1, 2])
        await cluster.leader()


async def test_without_the_program_the_node_says_what_to_do(tmp_path: Path) -> None:
    cluster = RouterCluster(tmp_path, flags=["--engine=etcd", "--etcd-binary=/nowhere/etcd"])
    node = cluster.node(1)
    try:
        node.start([1])
        assert await node.exit_code() == 1
        assert "there is no program /nowhere/etcd: install etcd 3.5.14 or newer" in node.logs()
    finally:
        await node.close()
