"""The operator's own client against real nodes, in every dress they come in."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from etl_operator.router.channels import Fence
from etl_operator.router.client import RouterClients, RouterNode
from etl_operator.router.cluster import RouterCluster as Client
from etl_operator.router.errors import NotLeader, Rejected, RouterAdminUnavailable
from etl_operator.router.registration import Registration
from etl_operator.router.registry import RegistryKeeper
from informers.errors import Fenced
from tests.node.cluster import METRICS, RouterCluster, RouterProcess, pipeline, running
from tests.processes import GRPC, until


def address(node: RouterProcess) -> str:
    return f"{node.ip}:{GRPC}"


@contextlib.asynccontextmanager
async def clients(fence: Fence | None = None) -> AsyncIterator[RouterClients]:
    # Nothing is shared: a node that has restarted must be asked itself.
    made = RouterClients(fence=fence, endpoints_age=0.0)
    try:
        yield made
    finally:
        await made.close()


def follower_first(cluster: RouterCluster, leader: RouterProcess) -> list[str]:
    return [address(node) for node in sorted(cluster.nodes.values(), key=lambda node: node is leader)]


async def synced(node: RouterNode) -> int:
    """What the pipeline controller does."""
    if await node.get_pipeline("ns/p") is None:
        await node.create_pipeline(pipeline("ns/p"))
    version = await node.update_pipeline("ns/p", pipeline("ns/p", description="new"))
    await node.enable_pipeline("ns/p")
    return version


async def test_every_kind_of_refusal_is_understood_and_the_leader_found(tmp_path: Path) -> None:
    styles = {1: "unavailable", 2: "internal", 3: "response"}
    flags = {node: [f"--follower-answer={style}"] for node, style in styles.items()}
    async with running(tmp_path, 3, node_flags=flags) as cluster, clients() as made:
        refused: set[int] = set()
        while refused != styles.keys():
            leader = await cluster.leader()
            addresses = follower_first(cluster, leader)
            for node in cluster.nodes.values():
                if node is not leader:
                    with pytest.raises(NotLeader):
                        await made.node(address(node)).enable_pipeline("ns/p")
                    refused.add(node.node_id)
            assert await Client(made, addresses).on_leader(synced) >= 2
            reports = await Client(made, addresses).poll()
            assert [report.leads for report in reports] == [False, False, True]
            assert leader.process is not None
            leader.process.send_signal(signal.SIGUSR1)

            async def moved(before: RouterProcess = leader) -> bool:
                return await cluster.leader() is not before

            await until(moved, cluster.logs)


async def test_the_client_follows_a_change_of_leader(tmp_path: Path) -> None:
    async with running(tmp_path, 3) as cluster, clients() as made:
        leader = await cluster.leader()
        client = Client(made, [address(node) for node in cluster.nodes.values()])
        assert await client.on_leader(synced) == 2
        leader.kill()
        versions: list[int] = []

        async def again() -> bool:
            with contextlib.suppress(Exception):
                versions.append(await client.on_leader(synced))
            return bool(versions)

        await until(again, cluster.logs)
        assert versions == [3]


async def test_a_published_router_is_recognised(tmp_path: Path) -> None:
    flags = ["--upstream-faithful", "--package-prefix=conveyor_etl"]
    async with running(tmp_path, 1, flags=flags) as cluster, clients() as made:
        node = cluster.node(1)

        async def up() -> bool:
            return (await node.get("/ready"))[0] == 200

        await until(up, cluster.logs)
        with pytest.raises(RouterAdminUnavailable):
            await Client(made, [address(node)]).on_leader(synced)
        registration = Registration("ns/a", 1, "a", "a-svc", 50051)
        lease = await made.node(address(node)).register(registration)
        assert lease.ttl == 30.0


async def test_strict_ids_are_rejections(tmp_path: Path) -> None:
    async with running(tmp_path, 1, flags=["--strict-ids"]) as cluster, clients() as made:
        await cluster.leader()
        with pytest.raises(Rejected, match="pipeline not found: ns/p"):
            await made.node(address(cluster.node(1))).enable_pipeline("ns/p")


async def test_nothing_reaches_a_node_once_the_fence_is_closed(tmp_path: Path) -> None:
    closed = asyncio.Event()

    def fence() -> None:
        if closed.is_set():
            raise Fenced("this process does not hold the lease")

    async with running(tmp_path, 1, flags=["--lease-seconds=1.5"]) as cluster, clients(fence) as made:
        node = await cluster.leader()
        client = Client(made, [address(node)])
        await client.on_leader(synced)
        keeper = RegistryKeeper(made)
        running_keeper = asyncio.create_task(keeper.run())
        keeper.want(Registration("ns/a", 1, "a", "a-svc", 50051), [address(node)])

        async def listed() -> bool:
            return bool(await made.node(address(node)).get_service_endpoints("a"))

        async def lapsed() -> bool:
            return not await listed()

        async def work() -> int:
            """As many writers as there may be, until the last has been refused."""
            count = 0
            with pytest.raises(Fenced):
                while True:
                    await client.on_leader(synced)
                    count += 1
            return count

        await until(listed, cluster.logs)
        writers = [asyncio.create_task(work()) for _ in range(10)]
        version = await client.on_leader(synced)
        while version < 30:
            version = await client.on_leader(synced)
        closed.set()
        assert sum(await asyncio.gather(*writers)) > 0
        before = await written(node)
        assert before["RouterAdmin/UpdatePipeline"] >= 30
        for _ in range(10):
            await work()
        keeper.want(Registration("ns/b", 1, "b", "b-svc", 50051), [address(node)])
        # Its lease is over: nobody has sent a heartbeat, nor registered it anew.
        await until(lapsed, cluster.logs)
        assert await written(node) == before
        closed.clear()
        await until(listed, cluster.logs)
        assert await client.on_leader(synced) > version
        await keeper.close()
        await running_keeper


async def written(node: RouterProcess) -> dict[str, int]:
    """How many calls that write have reached the node, by method; a stream is one call."""
    _, page = await node.get("/metrics", METRICS)
    calls = re.findall(r'^etl_router_grpc_calls_total\{method="(.*)"\} (\d+)', page, re.MULTILINE)
    return {method: int(count) for method, count in calls if not re.search("/(Get|List)", method)}


async def test_registrations_come_back_after_a_node_forgot_them(tmp_path: Path) -> None:
    async with running(tmp_path, 2, flags=["--lease-seconds=1.5"]) as cluster, clients() as made:
        await cluster.leader()
        addresses = [address(node) for node in cluster.nodes.values()]
        keeper = RegistryKeeper(made)
        running_keeper = asyncio.create_task(keeper.run())
        keeper.want(Registration("ns/a", 1, "a", "a-svc", 50051), addresses)

        async def everywhere() -> bool:
            with contextlib.suppress(Exception):
                found = [await made.node(each).get_service_endpoints("a") for each in addresses]
                return all(found)
            return False

        await until(everywhere, cluster.logs)
        cluster.node(1).kill()
        cluster.node(1).start([1, 2])
        await until(everywhere, cluster.logs)
        assert await keeper.drop("ns/a") == {}
        assert [await made.node(each).get_service_endpoints("a") for each in addresses] == [[], []]
        await keeper.close()
        await running_keeper
