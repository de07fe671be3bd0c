"""Nodes that are killed and sinks that are cut off while a source sends; real processes."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import grpc.aio
import pytest

from tests.node.cluster import RouterCluster, RouterProcess, running
from tests.node.data.made import batch, line
from tests.node.data.processes import know, run
from tests.node.data.services import FakeSink, Source
from tests.processes import until

RUNS = int(os.environ.get("DATA_KILL_RUNS", "2"))
SIZE, WINDOW = 20, 8


class Resender:
    """A source that sends again, from the first without an answer, to whatever node takes it."""

    def __init__(self, cluster: RouterCluster) -> None:
        self.cluster = cluster
        self.answered: set[int] = set()
        self.begun = 0
        """Batches that were sent at least once."""
        self.ending = False
        self.streams = 0

    async def run(self) -> None:
        while not self.ending or len(self.answered) < self.begun:
            nodes = list(self.cluster.nodes.values())
            try:
                await self._stream(nodes[self.streams % len(nodes)])
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await asyncio.sleep(0.05)
            self.streams += 1

    async def _stream(self, node: RouterProcess) -> None:
        source = Source(node.channel)
        todo = [n for n in range(self.begun) if n not in self.answered]
        sent = 0
        try:
            while not self.ending or len(self.answered) < self.begun:
                while sent < WINDOW and (todo or not self.ending):
                    if not todo:
                        todo.append(self.begun)
                        self.begun += 1
                    number = todo.pop(0)
                    await source.push(batch(range(number * SIZE + 1, (number + 1) * SIZE + 1), str(number)))
                    sent += 1
                answer = await source.read()
                if answer is None:
                    return
                if answer.HasField("ack"):
                    assert {each.status for each in answer.ack.record_acks} <= {1, 2}
                    assert len(answer.ack.record_acks) == SIZE
                    self.answered.add(int(answer.ack.batch_id))
                    sent -= 1
        finally:
            source.call.cancel()


@pytest.mark.parametrize("seed", range(RUNS))
async def test_nothing_accepted_is_lost_when_nodes_and_sinks_end_at_any_point(
    tmp_path: Path, sink: FakeSink, seed: int
) -> None:
    chance = random.Random(seed)
    faults = 0
    async with running(tmp_path, 3) as cluster:
        await run(await cluster.leader(), line())
        for node in cluster.nodes.values():
            await know(node, sink)
        source = Resender(cluster)
        sending = asyncio.create_task(source.run())
        for _ in range(4):
            goal = len(source.answered) + chance.randint(5, 25)
            await until(lambda goal=goal: len(source.answered) >= goal, cluster.logs)  # type: ignore[misc]
            faults += 1
            if chance.random() < 0.3:
                await sink.stop()
                await sink.start()
                continue
            nodes = list(cluster.nodes.values())
            # The one that the source is connected to.
            node = nodes[source.streams % len(nodes)]
            node.kill()
            node.start(cluster.nodes)
            await cluster.leader()
            await know(node, sink)
        source.ending = True
        await until(sending.done, cluster.logs)
        await sending
        counted = sink.counted()
        assert sorted(counted) == list(range(1, source.begun * SIZE + 1))
        assert sum(counted.values()) - len(counted) <= faults * WINDOW * SIZE
        first = {n: i for i, n in reversed(list(enumerate(sink.sequences)))}
        order = sorted(first, key=first.__getitem__)
        assert order == sorted(order)
