"""Pipelines whose records are on their way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from etl_operator.router.pb import router_pb2
from tests.node.data.made import batch, line
from tests.node.data.services import FakeSink, Source, World, world
from tests.processes import until

ACCEPTED, DUPLICATE, REJECTED = 1, 2, 3


def patient(attempts: int) -> router_pb2.PipelineConfig:
    """A line with dead letters and hardly any pause."""
    return line(dlq="lost", max_retries=str(attempts), retry_backoff_ms="1", max_retry_backoff_ms="5")


@asynccontextmanager
async def under_way(
    sink: FakeSink, *others: FakeSink, sequences: Sequence[int]
) -> AsyncIterator[tuple[World, Source]]:
    """A pipeline into a sink that holds a batch of these records until it is released."""
    sink.held = asyncio.Event()
    async with world(sink, *others) as w:
        w.run(line(sink=sink.name))
        source = w.source()
        await source.push(batch(sequences))
        await until(lambda: sink.calls == 1)
        yield w, source
