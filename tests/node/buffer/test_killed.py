"""Servers, nodes and workers that are killed while a source sends; real processes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.node.buffer.servers import NatsCluster, NatsServer, needs_server, serving
from tests.node.cluster import RouterCluster, running
from tests.node.data.made import line
from tests.node.data.processes import disable, know, run
from tests.node.data.services import FakeSink
from tests.node.data.test_killed import SIZE, WINDOW, Resender
from tests.processes import until

pytestmark = needs_server

RUNS = int(os.environ.get("BUFFER_KILL_RUNS", "1"))
FAULTS = 5


@asynccontextmanager
async def sending(routers: RouterCluster, logs: Callable[[], str]) -> AsyncIterator[Resender]:
    """A source that sends until the end of the block, and then until all is answered."""
    source = Resender(routers)
    task = asyncio.create_task(source.run())
    try:
        yield source
        source.ending = True
        await until(task.done, logs)
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _restarted(server: NatsServer, cluster: NatsCluster) -> None:
    server.kill()
    server.start()
    await cluster.ready()


async def _fault(chance: random.Random, servers: NatsCluster, routers: RouterCluster, sink: FakeSink) -> None:
    node = chance.choice(list(routers.nodes.values()))
    match chance.choice(["server", "server", "node", "worker", "sink"]):
        case "server":
            await _restarted(chance.choice(servers.servers), servers)
        case "node":
            node.kill()
            node.start(routers.nodes)
            await routers.leader()
            await know(node, sink)
        case "worker":
            # The one before may have been killed a moment ago.
            await until(lambda: bool(node.workers()), routers.logs)
            [worker] = node.workers()
            os.kill(worker, signal.SIGKILL)
            await until(lambda: worker not in node.workers())
        case "sink":
            await sink.stop()
            await sink.start()


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("seed", range(RUNS))
async def test_nothing_accepted_is_lost_when_servers_nodes_and_workers_are_killed(
    tmp_path: Path, sink: FakeSink, size: int, seed: int
) -> None:
    chance = random.Random(f"{size}/{seed}")
    async with serving(tmp_path, size) as servers, running(tmp_path, 2, env=servers.env()) as routers:

        def logs() -> str:
            return routers.logs() + servers.logs()

        leader = await routers.leader()
        await run(leader, line())
        for node in routers.nodes.values():
            await know(node, sink)
        async with sending(routers, logs) as source:
            for _ in range(FAULTS):
                goal = len(source.answered) + chance.randint(5, 25)
                await until(lambda goal=goal: len(source.answered) >= goal, logs)  # type: ignore[misc]
                await _fault(chance, servers, routers, sink)
        leader = await routers.leader()

        async def drained() -> bool:
            return await disable(leader, "ns/p") == 0

        await until(drained, logs)
        counted = sink.counted()
        assert sorted(counted) == list(range(1, source.begun * SIZE + 1))
        # A batch without an answer can be stored twice, a message that was not acknowledged delivered twice.
        assert sum(counted.values()) - len(counted) <= FAULTS * 2 * WINDOW * SIZE
        first = {n: i for i, n in reversed(list(enumerate(sink.sequences)))}
        order = sorted(first, key=first.__getitem__)
        assert order == sorted(order)


async def test_each_of_three_servers_is_killed_and_none_is_missed(tmp_path: Path, sink: FakeSink) -> None:
    async with serving(tmp_path, 3) as servers, running(tmp_path, 1, env=servers.env()) as routers:
        node = await routers.leader()
        await run(node, line())
        await know(node, sink)
        async with sending(routers, routers.logs) as source:
            for server in servers.servers:
                goal = len(source.answered) + 5
                await until(lambda goal=goal: len(source.answered) >= goal, routers.logs)  # type: ignore[misc]
                server.kill()
                # Two of three are enough.
                goal = len(source.answered) + 2 * WINDOW
                await until(lambda goal=goal: len(source.answered) >= goal, routers.logs)  # type: ignore[misc]
                server.start()
                await servers.ready()
        wanted = list(range(1, source.begun * SIZE + 1))
        await until(lambda: sorted(sink.counted()) == wanted, routers.logs)
        first = {n: i for i, n in reversed(list(enumerate(sink.sequences)))}
        assert sorted(first, key=first.__getitem__) == wanted
