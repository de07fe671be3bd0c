"""The load: sends batches, and is the transform and the sink as well. A process of its own.

Reads one JSON line with what to do from its standard input and prints JSON lines: ``ports`` at first, then
``ready`` when the first batches were answered, and ``done`` at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import grpc.aio

from benchmarks.dataplane.wire import export_requests, field, numeric, push_requests
from etl_operator.router.pb import transform_pb2

WINDOW = 8
"""Batches that are not answered."""
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
]
_WRITTEN = numeric(2, 1)
"""A ``WriteBatchResponse`` that is a success."""
_CAPABILITIES = b""
_ACK = 0x0A
"""First byte of a ``PushResponse`` with an ack."""


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
    """Every record goes on as it is."""
    asked = transform_pb2.ProcessBatchRequest.FromString(request)
    success = numeric(2, transform_pb2.TRANSFORM_STATUS_SUCCESS)
    return b"".join(
        field(2, field(1, one.id.SerializeToString()) + success + field(3, one.SerializeToString()))
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


async def push(channel: grpc.aio.Channel, requests: Sequence[bytes]) -> None:
    """Send batches on one stream of ``SourceRouter``, `WINDOW` at a time."""
    method = channel.stream_stream("/etl.source.SourceRouter/PushRecords", None, None)
    call: Any = method(None)
    window = asyncio.Semaphore(WINDOW)

    async def read() -> None:
        answered = 0
        while answered < len(requests):
            answer = await call.read()
            if not isinstance(answer, bytes):
                raise RuntimeError(f"the stream ended: {await call.code()} {await call.details()}")
            if answer[0] == _ACK:
                answered += 1
                window.release()

    reading = asyncio.create_task(read())
    for request in requests:
        await window.acquire()
        if reading.done():
            break
        await call.write(request)
    await reading
    await call.done_writing()


async def export(channel: grpc.aio.Channel, requests: Sequence[bytes]) -> None:
    """Call ``LogsService/Export``, `WINDOW` calls at a time."""
    method = channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export", None, None)
    left = iter(requests)

    async def work() -> None:
        for request in left:
            await method(request)

    await asyncio.gather(*(work() for _ in range(WINDOW)))


async def main() -> None:
    """See the module."""
    server, port = await serve()
    tell("ports", port=port)
    order = json.loads(await asyncio.to_thread(sys.stdin.readline))
    warm, batches, size = order["warm"], order["batches"], order["size"]
    made, send = (push_requests, push) if order["protocol"] == "router" else (export_requests, export)
    requests = made(warm + batches, size)
    async with grpc.aio.insecure_channel(order["target"], options=_OPTIONS) as channel:
        await asyncio.wait_for(channel.channel_ready(), 30)
        await send(channel, requests[:warm])
        tell("ready")
        await asyncio.to_thread(sys.stdin.readline)
        began = time.perf_counter()
        await send(channel, requests[warm:])
        tell("done", seconds=time.perf_counter() - began)
        await asyncio.to_thread(sys.stdin.readline)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
