"""The load: sends batches, and is the transform and the sink as well. A process of its own.

Reads one JSON line with an `Order` from its standard input and prints JSON lines: ``ports`` at first, then
``ready`` when the first batches were answered, and ``done`` at the end.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc.aio

from benchmarks.dataplane import wire
from benchmarks.dataplane.wire import export_requests, numeric, push_requests
from etl_operator.router.pb import transform_pb2

WINDOW = 8
"""Batches of a connection that are not answered."""
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    # A connection for each channel.
    ("grpc.use_local_subchannel_pool", 1),
]
_WRITTEN = numeric(2, 1)
"""A ``WriteBatchResponse`` that is a success."""
_CAPABILITIES = b""
_ACK = 0x0A
"""First byte of a ``PushResponse`` with an ack."""
_SUCCESS = numeric(2, transform_pb2.TRANSFORM_STATUS_SUCCESS)
_FILTERED = numeric(2, transform_pb2.TRANSFORM_STATUS_FILTERED)
ROUTER, OTLP = "router", "otlp"


@dataclass(frozen=True, slots=True)
class Order:
    """What to send.

    :param rate: batches of a second, whether answered or not; 0: `WINDOW` at a time.
    """

    target: str
    protocol: str
    """`ROUTER` or `OTLP`."""
    size: int
    """Records of a batch."""
    warm: int
    """Batches of a connection that are not measured."""
    batches: int
    """Of a connection."""
    connections: int = 1
    rate: float = 0.0


@dataclass(slots=True)
class Sent:
    """What was answered."""

    batches: int = 0
    seconds: list[float] = field(default_factory=list)
    """From the moment a batch was due to its answer; only with a rate."""


def tell(phase: str, **values: float) -> None:
    """Print one line."""
    print(json.dumps({"phase": phase, **values}), flush=True)  # noqa: T201


async def _write(request: bytes, context: Any) -> bytes:
    return _WRITTEN


async def _export(request: bytes, context: Any) -> bytes:
    return b""


async def _capabilities(request: bytes, context: Any) -> bytes:
    return _CAPABILITIES


async def _process(request: bytes, context: Any) -> bytes:
    """Every record goes on as it is; half of them if the transform is `wire.FILTER`."""
    asked = transform_pb2.ProcessBatchRequest.FromString(request)
    filters = asked.transform_id == wire.FILTER
    return b"".join(
        wire.field(2, wire.field(1, one.id.SerializeToString()) + _FILTERED)
        if filters and one.id.sequence_number % 2
        else wire.field(
            2,
            wire.field(1, one.id.SerializeToString()) + _SUCCESS + wire.field(3, one.SerializeToString()),
        )
        for one in asked.input_batch.records
    )


async def serve() -> tuple[grpc.aio.Server, int]:
    """All services on one port, which is returned."""
    server = grpc.aio.server(options=_OPTIONS)
    methods = {
        "etl.sink.SinkService": {"WriteBatch": _write, "Flush": _write},
        "etl.transform.TransformService": {"ProcessBatch": _process, "GetCapabilities": _capabilities},
        "opentelemetry.proto.collector.logs.v1.LogsService": {"Export": _export},
    }
    for service, behaviours in methods.items():
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(behaviour) for name, behaviour in behaviours.items()
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def _due(requests: Sequence[bytes], rate: float) -> AsyncIterator[tuple[bytes, float]]:
    """Requests, each at its time and with it."""
    began = time.perf_counter()
    for number, request in enumerate(requests):
        at = began + number / rate if rate else 0.0
        wait = at - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        yield request, at


async def push(channel: grpc.aio.Channel, requests: Sequence[bytes], rate: float, sent: Sent) -> None:
    """Send batches on one stream of ``SourceRouter``."""
    method = channel.stream_stream("/etl.source.SourceRouter/PushRecords", None, None)
    call: Any = method(None)
    window = asyncio.Semaphore(WINDOW if not rate else len(requests))
    due: list[float] = []

    async def read() -> None:
        answered = 0
        while answered < len(requests):
            answer = await call.read()
            if not isinstance(answer, bytes):
                raise RuntimeError(f"the stream ended: {await call.code()} {await call.details()}")
            # The answers of a partition are in order.
            if answer[0] == _ACK:
                if rate:
                    sent.seconds.append(time.perf_counter() - due[answered])
                answered += 1
                sent.batches += 1
                window.release()

    reading = asyncio.create_task(read())
    async for request, at in _due(requests, rate):
        await window.acquire()
        if reading.done():
            break
        due.append(at)
        await call.write(request)
    await reading
    await call.done_writing()


async def export(channel: grpc.aio.Channel, requests: Sequence[bytes], rate: float, sent: Sent) -> None:
    """Call ``LogsService/Export``."""
    method = channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export", None, None)
    window = asyncio.Semaphore(WINDOW if not rate else len(requests))

    async def work(request: bytes, at: float) -> None:
        await method(request)
        if rate:
            sent.seconds.append(time.perf_counter() - at)
        sent.batches += 1
        window.release()

    async with asyncio.TaskGroup() as group:
        async for request, at in _due(requests, rate):
            await window.acquire()
            group.create_task(work(request, at))


async def run(order: Order) -> None:
    """Send, first to warm up. With several connections the end is when the first of them has sent all."""
    made, send = (push_requests, push) if order.protocol == ROUTER else (export_requests, export)
    rate = order.rate / order.connections
    async with AsyncExitStack() as stack:
        pairs = []
        for number in range(order.connections):
            requests = made(order.warm + order.batches, order.size, wire.PARTITION + number)
            channel = grpc.aio.insecure_channel(order.target, options=_OPTIONS)
            await stack.enter_async_context(channel)
            await asyncio.wait_for(channel.channel_ready(), 30)
            await send(channel, requests[: order.warm], 0.0, Sent())
            pairs.append((channel, requests[order.warm :]))
        gc.collect()
        gc.freeze()
        tell("ready")
        await asyncio.to_thread(sys.stdin.readline)
        sent, began = Sent(), time.perf_counter()
        tasks = [asyncio.create_task(send(channel, requests, rate, sent)) for channel, requests in pairs]
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        took = time.perf_counter() - began
        for task in done:
            task.result()
        found = sorted(sent.seconds) or [0.0]
        at = {f"p{share}": found[min(len(found) * share // 100, len(found) - 1)] * 1000 for share in (50, 99)}
        tell("done", seconds=took, records=sent.batches * order.size, **at)
        await asyncio.to_thread(sys.stdin.readline)
        for task in left:
            task.cancel()


async def main() -> None:
    """See the module."""
    server, port = await serve()
    tell("ports", port=port)
    await run(Order(**json.loads(await asyncio.to_thread(sys.stdin.readline))))
    await server.stop(None)


def line(order: Order) -> str:
    """An order as its line."""
    return json.dumps(asdict(order))


if __name__ == "__main__":
    asyncio.run(main())
