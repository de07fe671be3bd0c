"""Pipelines in real node processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration

from etl_operator.router.pb import common_pb2, registry_pb2, router_pb2
from tests.hanging import HANGS
from tests.node.cluster import RouterProcess, running
from tests.node.data.made import batch, line
from tests.node.data.services import FakeSink, Served, Source
from tests.processes import until

ACCEPTED, DUPLICATE = 1, 2


async def know(node: RouterProcess, *served: Served) -> None:
    """Register services with a node."""
    for one in served:
        request = registry_pb2.RegisterRequest(
            identity=common_pb2.ServiceIdentity(
                service_id=f"ns/{one.name}",
                service_type=one.kind,
                name=one.name,
            ),
            endpoint=common_pb2.Endpoint(
                host="127.0.0.1", port=one.port, use_tls=one.credentials is not None
            ),
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
            assert {each.status for each in answer.ack.record_acks} <= {ACCEPTED, DUPLICATE}
            found.append(source)
        return bool(found)

    await until(taken, node.logs)
    return found[0]


async def disable(node: RouterProcess, pipeline_id: str, *, drain: bool = True) -> int:
    """Disable a pipeline: records pending."""
    request = router_pb2.DisablePipelineRequest(pipeline_id=pipeline_id, drain=drain)
    answer = await node.admin.DisablePipeline(request, timeout=HANGS)
    assert answer.success
    pending: int = answer.pending_records
    return pending


@asynccontextmanager
async def flowing(
    directory: Path, sink: FakeSink, **options: Any
) -> AsyncIterator[tuple[RouterProcess, Source]]:
    """One node with a pipeline into the sink, and a source whose record 1 went through it.

    :param options: of the cluster.
    """
    async with running(directory, 1, **options) as cluster:
        node = await cluster.leader()
        await know(node, sink)
        await run(node, line())
        yield node, await accepted(node, [1])
