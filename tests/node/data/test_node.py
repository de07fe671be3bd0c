"""The data plane in real node processes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import yaml
from google.protobuf.duration_pb2 import Duration

from etl_operator.router.pb import common_pb2, registry_pb2, router_pb2
from tests.hanging import HANGS
from tests.node.cluster import CONFIG, METRICS, RouterCluster, RouterProcess, running, until
from tests.node.data.made import batch, line
from tests.node.data.services import FakeSink, FakeTransform, Served, Source

ACCEPTED = 1


async def know(node: RouterProcess, *served: Served) -> None:
    """Register services with a node."""
    for one in served:
        request = registry_pb2.RegisterRequest(
            identity=common_pb2.ServiceIdentity(
                service_id=f"ns/{one.name}",
                service_type=one.kind,
                name=one.name,
            ),
            endpoint=common_pb2.Endpoint(host="127.0.0.1", port=one.port),
            heartbeat_interval=Duration(seconds=10),
        )
        assert (await node.registry.Register(request, timeout=HANGS)).success


async def run(node: RouterProcess, config: router_pb2.PipelineConfig) -> None:
    """Create and enable a pipeline."""
    create = router_pb2.CreatePipelineRequest(config=config)
    assert (await node.admin.CreatePipeline(create, timeout=HANGS)).success
    enable = router_pb2.EnablePipelineRequest(pipeline_id=config.id)
    assert (await node.admin.EnablePipeline(enable, timeout=HANGS)).success


async def accepted(node: RouterProcess, sequences: Any) -> Source:
    """Push a batch until the node takes it: a follower hears of a pipeline a little later."""
    found: list[Source] = []

    async def taken() -> bool:
        source = Source(node.channel)
        await source.push(batch(sequences))
        answer = await source.read()
        while answer is not None and not answer.HasField("ack"):
            answer = await source.read()
        if answer is not None:
            assert {each.status for each in answer.ack.record_acks} <= {ACCEPTED, 2}
            found.append(source)
        return bool(found)

    await until(taken, node.logs)
    return found[0]


async def test_records_go_through_any_node(tmp_path: Path) -> None:
    sink, transform = FakeSink(), FakeTransform("t")
    await sink.start()
    await transform.start()
    try:
        async with running(tmp_path, 3) as cluster:
            leader = await cluster.leader()
            await run(leader, line(transforms=["t"]))
            for number, node in enumerate(cluster.nodes.values()):
                await know(node, sink, transform)
                await accepted(node, range(100 * number + 1, 100 * number + 101))
            assert sorted(sink.sequences) == list(range(1, 301))
            assert sink.records[0].payload.isupper()
            _, text = await leader.get("/metrics", METRICS)
            assert 'method="SourceRouter/PushRecords"' in text
    finally:
        await sink.stop()
        await transform.stop()


async def test_messages_have_the_configured_size(tmp_path: Path) -> None:
    sink = FakeSink()
    await sink.start()
    config = {**CONFIG, "grpc": {**CONFIG["grpc"], "max_message_size": 6 * 2**20}}  # type: ignore[dict-item]
    cluster = RouterCluster(tmp_path)
    cluster.config_file.write_text(yaml.safe_dump(config))
    try:
        cluster.start([1])
        node = await cluster.leader()
        await know(node, sink)
        await run(node, line())
        source = await accepted(node, [1])
        large = batch([2, 3])
        large.records[0].payload = b"x" * (5 * 2**20)
        assert await source.send(large) == [ACCEPTED, ACCEPTED]
        assert len(sink.records[1].payload) == 5 * 2**20
        large.records[0].id.sequence_number = 4
        large.records[0].payload = b"x" * (7 * 2**20)
        await source.push(large)
        assert (await source.end())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    finally:
        for node in cluster.nodes.values():
            await node.close()
        await sink.stop()


async def test_a_node_that_leaves_answers_what_is_under_way_and_ends_its_streams(tmp_path: Path) -> None:
    sink = FakeSink()
    await sink.start()
    try:
        async with running(tmp_path, 1) as cluster:
            node = await cluster.leader()
            await know(node, sink)
            await run(node, line())
            source = await accepted(node, [1])
            sink.held = asyncio.Event()
            await source.push(batch([2, 3], "last"))
            await until(lambda: sink.calls == 2, node.logs)
            ending = asyncio.create_task(node.terminate())

            async def unready() -> bool:
                return (await node.get("/ready"))[0] == 503

            await until(unready, node.logs)
            answer = await source.read()
            assert answer is not None
            assert (answer.backpressure.pause, answer.backpressure.level) == (True, 4)
            sink.held.set()
            assert [each.status for each in (await source.ack()).record_acks] == [ACCEPTED, ACCEPTED]
            assert (await source.end())[0] is grpc.StatusCode.UNAVAILABLE
            assert await ending == 0
            assert sink.sequences == [1, 2, 3]
            assert "Traceback" not in node.logs()
    finally:
        await sink.stop()
