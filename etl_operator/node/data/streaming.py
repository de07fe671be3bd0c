"""Transforms and sinks that serve streams only: one stream per call, for its records and no others.

Second choice: one message per record is dear. It is used where the call for batches is UNIMPLEMENTED.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from etl_operator.node.data.policy import ProtocolFault, Result, sink_results, transform_results
from etl_operator.router.pb import common_pb2, sink_pb2, transform_pb2

Open = Callable[[AsyncIterator[Any]], Any]
"""Opens the stream with what is to be sent: a call of grpc.aio."""


async def process(
    open_stream: Open, transform_id: str, config: Mapping[str, str], records: list[common_pb2.Record]
) -> list[Result]:
    """Send records, flush, and read results until all of them have one or the stream says that it is done.

    :raises ProtocolFault: a result names no record, or the transform is not ready.
    """
    stream_id = uuid.uuid4().hex

    async def requests() -> AsyncIterator[transform_pb2.ProcessStreamRequest]:
        begin = transform_pb2.StreamInit(transform_id=transform_id, stream_id=stream_id, config=config)
        yield transform_pb2.ProcessStreamRequest(init=begin)
        for record in records:
            yield transform_pb2.ProcessStreamRequest(record=record)
        yield transform_pb2.ProcessStreamRequest(flush=transform_pb2.FlushCommand(stream_id=stream_id))

    answer = transform_pb2.ProcessBatchResponse()
    stream = open_stream(requests())
    try:
        async for message in stream:
            if message.HasField("result"):
                answer.results.append(message.result)
            if message.HasField("completed") or len(answer.results) == len(records):
                break
    finally:
        stream.cancel()
    return transform_results(records, answer)


class _Valve:
    """Lets records pass as far as the sink has room for them."""

    def __init__(self) -> None:
        self._moved = asyncio.Event()
        self._credits: float = 0
        self._resume = 0.0

    def open(self, credits: int) -> None:
        """The sink is ready. Without a number it takes any."""
        self._credits = credits or float("inf")
        self._moved.set()

    def refill(self, credits: int, wait: float) -> None:
        """The sink asks to wait for so many seconds, and has room for so many records then."""
        self._credits = max(credits, 1)
        self._resume = asyncio.get_running_loop().time() + wait
        self._moved.set()

    def give_back(self) -> None:
        """A record has its result: there is room for another one."""
        self._credits += 1
        self._moved.set()

    async def pass_one(self) -> None:
        """Wait until a record may be sent."""
        while self._credits < 1:
            self._moved.clear()
            await self._moved.wait()
        pause = self._resume - asyncio.get_running_loop().time()
        if pause > 0:
            await asyncio.sleep(pause)
        self._credits -= 1


async def write(
    open_stream: Open, sink_id: str, options: sink_pb2.WriteOptions, records: list[common_pb2.Record]
) -> list[Result]:
    """Send records of one source and partition, a commit marker, and read until it is acknowledged.

    :raises ProtocolFault: the stream ended before that.
    """
    stream_id, last, valve = uuid.uuid4().hex, records[-1].id.sequence_number, _Valve()

    async def requests() -> AsyncIterator[sink_pb2.WriteStreamRequest]:
        begin = sink_pb2.StreamWriteInit(sink_id=sink_id, stream_id=stream_id, options=options)
        yield sink_pb2.WriteStreamRequest(init=begin)
        for record in records:
            await valve.pass_one()
            yield sink_pb2.WriteStreamRequest(record=record)
        marker = sink_pb2.CommitMarker(stream_id=stream_id, up_to_sequence=last)
        yield sink_pb2.WriteStreamRequest(commit=marker)

    answer = sink_pb2.WriteBatchResponse(status=sink_pb2.WRITE_STATUS_SUCCESS)
    stream = open_stream(requests())
    try:
        async for message in stream:
            match message.WhichOneof("msg"):
                case "ready":
                    valve.open(message.ready.initial_credits)
                case "backpressure":
                    valve.refill(message.backpressure.available_credits, message.backpressure.wait_ms / 1000)
                case "result":
                    valve.give_back()
                    answer.results.append(message.result)
                case "commit_ack" if message.commit_ack.committed_sequence >= last:
                    return sink_results(records, answer).results
    finally:
        stream.cancel()
    raise ProtocolFault("WriteStream ended before the commit was acknowledged")
