"""Transforms, sinks and sources for tests, over real gRPC, and a data plane served in this process."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc.aio

from etl_operator.node.data import rpc
from etl_operator.node.data.buffer import Buffer
from etl_operator.node.data.call import Tuning
from etl_operator.node.data.credit import Limits
from etl_operator.node.data.plane import DataPlane
from etl_operator.node.data.view import Pipeline, Service, Snapshot
from etl_operator.router.pb import (
    common_pb2,
    router_pb2,
    sidecar_pb2,
    sidecar_pb2_grpc,
    sink_pb2,
    sink_pb2_grpc,
    source_pb2,
    source_pb2_grpc,
    transform_pb2,
    transform_pb2_grpc,
)
from tests.hanging import HANGS

QUICK = Tuning(first_wait=0.01, longest_wait=0.05, broken_wait=0.02)
"""Pauses that a test can wait for."""
LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
TRANSFORM, SINK = common_pb2.SERVICE_TYPE_TRANSFORM, common_pb2.SERVICE_TYPE_SINK

Say = Callable[[sink_pb2.WriteBatchRequest], sink_pb2.WriteBatchResponse | None]


class Served:
    """A service on a port of its own."""

    kind = SINK

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.calls = 0
        self.metadata: list[dict[str, Any]] = []
        self.credentials: grpc.ServerCredentials | None = None
        """Set: it speaks TLS."""
        self._server: grpc.aio.Server | None = None

    def register(self, server: grpc.aio.Server) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Listen; on the same port as before, if it did."""
        self._server = grpc.aio.server(options=[*LARGE, ("grpc.so_reuseport", 0)])
        self.register(self._server)
        where = f"127.0.0.1:{self.port}"
        self.port = (
            self._server.add_secure_port(where, self.credentials)
            if self.credentials
            else self._server.add_insecure_port(where)
        )
        await self._server.start()

    async def stop(self) -> None:
        """Cut all calls off."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def service(self, **fields: Any) -> Service:
        """As it is registered."""
        return Service(f"ns/{self.name}", self.kind, self.name, "127.0.0.1", self.port, **fields)


S = TypeVar("S", bound=Served)


class FakeSink(sink_pb2_grpc.SinkServiceServicer, Served):
    """Remembers what it was sent.

    A test may set ``status`` (to abort with), ``say`` (its own answer), ``held`` (an event it waits for).
    """

    def __init__(self, name: str = "out") -> None:
        super().__init__(name)
        self.records: list[common_pb2.Record] = []
        self.batches: list[sink_pb2.WriteBatchRequest] = []
        self.flushes = 0
        self.poison: set[int] = set()
        """Sequence numbers: a batch with one is refused as a whole."""
        self.bad: dict[int, bool] = {}
        """Sequence numbers that get a result of their own, and whether it may be tried again."""
        self.status: grpc.StatusCode | None = None
        self.say: Say | None = None
        self.held: asyncio.Event | None = None
        self.capacity = 0
        """Records it takes in a call; 0 for any number."""
        self.streaming = False
        """It serves streams only."""
        self.on_stream: list[str] = []

    def register(self, server: grpc.aio.Server) -> None:
        sink_pb2_grpc.add_SinkServiceServicer_to_server(self, server)  # type: ignore[no-untyped-call]

    def release(self) -> None:
        """End the wait that ``held`` began."""
        assert self.held is not None
        self.held.set()

    async def WriteBatch(self, request: sink_pb2.WriteBatchRequest, context: Any) -> Any:
        if self.streaming:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "streams only")
        self.calls += 1
        self.batches.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.held is not None:
            await self.held.wait()
        if self.status is not None:
            await context.abort(self.status, "as ordered")
        if 0 < self.capacity < len(request.batch.records):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        if self.say is not None and (answer := self.say(request)) is not None:
            return answer
        numbers = [record.id.sequence_number for record in request.batch.records]
        if self.poison & set(numbers):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "poison")
        results = [
            sink_pb2.RecordWriteResult(record_id=record.id, success=False, error="bad", retryable=self.bad[n])
            for n, record in zip(numbers, request.batch.records, strict=True)
            if n in self.bad
        ]
        self.records += [r for n, r in zip(numbers, request.batch.records, strict=True) if n not in self.bad]
        return sink_pb2.WriteBatchResponse(status=sink_pb2.WRITE_STATUS_SUCCESS, results=results)

    async def GetCapacity(self, request: common_pb2.Empty, context: Any) -> sink_pb2.CapacityResponse:
        return sink_pb2.CapacityResponse(available_capacity=self.capacity)

    async def WriteStream(self, requests: Any, context: Any) -> Any:
        if not self.streaming:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no streams")
        self.calls += 1
        async for request in requests:
            self.on_stream.append(request.WhichOneof("msg"))
            match request.WhichOneof("msg"):
                case "init":
                    ready = sink_pb2.StreamWriteReady(stream_id=request.init.stream_id, initial_credits=2)
                    yield sink_pb2.WriteStreamResponse(ready=ready)
                case "record":
                    number = request.record.id.sequence_number
                    if number not in self.bad:
                        self.records.append(request.record)
                    yield self._next_on_stream(request.record, number not in self.bad)
                case "commit":
                    ack = sink_pb2.CommitAck(committed_sequence=request.commit.up_to_sequence)
                    yield sink_pb2.WriteStreamResponse(commit_ack=ack)

    @staticmethod
    def _next_on_stream(record: common_pb2.Record, success: bool) -> sink_pb2.WriteStreamResponse:
        """A result for odd numbers and failures, else room for one more."""
        if success and record.id.sequence_number % 2 == 0:
            notice = sink_pb2.BackpressureNotice(available_credits=1, wait_ms=1)
            return sink_pb2.WriteStreamResponse(backpressure=notice)
        result = sink_pb2.RecordWriteResult(record_id=record.id, success=success, error="bad")
        return sink_pb2.WriteStreamResponse(result=result)

    async def Flush(self, request: sink_pb2.FlushRequest, context: Any) -> sink_pb2.FlushResponse:
        self.flushes += 1
        return sink_pb2.FlushResponse(success=True)

    @property
    def sequences(self) -> list[int]:
        """Of the records, as they came."""
        return [record.id.sequence_number for record in self.records]

    def counted(self) -> Counter[int]:
        """How often each came."""
        return Counter(self.sequences)


Change = Callable[[common_pb2.Record], transform_pb2.TransformResult]


def upper(record: common_pb2.Record) -> transform_pb2.TransformResult:
    """One output: the payload in capitals."""
    output = common_pb2.Record()
    output.CopyFrom(record)
    output.payload = record.payload.upper()
    return transform_pb2.TransformResult(
        original_id=record.id, status=transform_pb2.TRANSFORM_STATUS_SUCCESS, output_records=[output]
    )


def filtered(record: common_pb2.Record) -> transform_pb2.TransformResult:
    """No output."""
    return transform_pb2.TransformResult(
        original_id=record.id, status=transform_pb2.TRANSFORM_STATUS_FILTERED
    )


def failed(record: common_pb2.Record) -> transform_pb2.TransformResult:
    """An error."""
    return transform_pb2.TransformResult(
        original_id=record.id, status=transform_pb2.TRANSFORM_STATUS_ERROR, error_message="cannot"
    )


class FakeTransform(transform_pb2_grpc.TransformServiceServicer, Served):
    """Answers with ``change`` of each record."""

    kind = TRANSFORM

    def __init__(self, name: str, change: Change = upper) -> None:
        super().__init__(name)
        self.change = change
        self.sizes: list[int] = []
        self.configs: list[dict[str, str]] = []
        self.shuffled = False
        """Its results are in an order of its own."""
        self.most = 0
        self.asked = 0
        self.streaming = False
        """It serves streams only."""

    def register(self, server: grpc.aio.Server) -> None:
        transform_pb2_grpc.add_TransformServiceServicer_to_server(self, server)  # type: ignore[no-untyped-call]

    async def GetCapabilities(self, request: common_pb2.Empty, context: Any) -> transform_pb2.Capabilities:
        self.asked += 1
        return transform_pb2.Capabilities(max_batch_size=self.most, supports_streaming=self.streaming)

    async def ProcessStream(self, requests: Any, context: Any) -> Any:
        held = []
        async for request in requests:
            if request.HasField("init"):
                self.configs.append(dict(request.init.config))
                yield transform_pb2.ProcessStreamResponse(ready=transform_pb2.StreamReady())
            elif request.HasField("record"):
                held.append(request.record)
            else:
                for record in reversed(held):
                    yield transform_pb2.ProcessStreamResponse(result=self.change(record))
                yield transform_pb2.ProcessStreamResponse(completed=transform_pb2.StreamCompleted())

    async def ProcessBatch(self, request: transform_pb2.ProcessBatchRequest, context: Any) -> Any:
        if self.streaming:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "streams only")
        self.calls += 1
        self.metadata.append(dict(context.invocation_metadata()))
        self.configs.append(dict(request.transform_config))
        self.sizes.append(len(request.input_batch.records))
        results = [self.change(record) for record in request.input_batch.records]
        if self.shuffled:
            random.Random(self.calls).shuffle(results)
        return transform_pb2.ProcessBatchResponse(batch_id=request.input_batch.batch_id, results=results)


class Source:
    """A source on one stream of ``SourceRouter``."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Iterable[tuple[str, str]] = ()) -> None:
        stub = source_pb2_grpc.SourceRouterStub(channel)  # type: ignore[no-untyped-call]
        self.call = stub.PushRecords(metadata=tuple(metadata))
        self.signals: list[source_pb2.BackpressureSignal] = []
        self.grants: list[source_pb2.CreditGrant] = []

    async def push(self, batch: common_pb2.RecordBatch) -> None:
        """Send a batch."""
        await self.call.write(source_pb2.PushRequest(batch=batch))

    async def beat(self) -> None:
        """Send a heartbeat."""
        await self.call.write(source_pb2.PushRequest(heartbeat=source_pb2.Heartbeat()))

    async def read(self) -> source_pb2.PushResponse | None:
        """The next message; None at the end."""
        try:
            async with asyncio.timeout(HANGS):
                answer = await self.call.read()
        except grpc.aio.AioRpcError:
            return None
        if not isinstance(answer, source_pb2.PushResponse):
            return None
        if answer.HasField("backpressure"):
            self.signals.append(answer.backpressure)
        if answer.HasField("credits"):
            self.grants.append(answer.credits)
        return answer

    async def ack(self) -> source_pb2.BatchAck:
        """The next answer to a batch.

        :raises AssertionError: the stream ended.
        """
        while True:
            answer = await self.read()
            assert answer is not None, (
                f"the stream ended: {await self.call.code()} {await self.call.details()}"
            )
            if answer.HasField("ack"):
                return answer.ack

    async def send(self, batch: common_pb2.RecordBatch) -> list[int]:
        """Send a batch and wait for its answer: the status of each record."""
        await self.push(batch)
        return [each.status for each in (await self.ack()).record_acks]

    async def end(self) -> tuple[grpc.StatusCode, str]:
        """Read up to the end of the stream, and say how it ended."""
        while await self.read() is not None:
            pass
        return await self.call.code(), await self.call.details() or ""


class World:
    """A data plane that is served, and what it calls."""

    def __init__(self, plane: DataPlane, address: str, calls: Counter[str]) -> None:
        self.plane = plane
        self.calls = calls
        self.channel = grpc.aio.insecure_channel(address, options=[*LARGE, ("grpc.enable_http_proxy", 0)])
        self.pipelines: dict[str, Pipeline] = {}
        self.services: dict[str, Service] = {}
        self.applied = 0

    def tell(self) -> None:
        """Give the data plane what holds now."""
        self.applied += 1
        self.plane.update(Snapshot(self.applied, list(self.pipelines.values()), list(self.services.values())))

    def run(self, *configs: router_pb2.PipelineConfig) -> None:
        """Store these pipelines, enabled."""
        for config in configs:
            self.pipelines[config.id] = Pipeline(config.id, config.SerializeToString(), True)
        self.tell()

    def disable(self, pipeline_id: str, *, drain: bool) -> None:
        """Disable a pipeline."""
        config = self.pipelines[pipeline_id].config
        self.pipelines[pipeline_id] = Pipeline(pipeline_id, config, False, drain)
        self.tell()

    def know(self, *served: Served, **fields: Any) -> None:
        """Register services."""
        for one in served:
            self.services[one.name] = one.service(**fields)
        self.tell()

    def source(self, **metadata: str) -> Source:
        """A new stream."""
        return Source(self.channel, [(k.replace("_", "-"), v) for k, v in metadata.items()])

    @property
    def received(self) -> int:
        """Calls of ``ReceiveRecords`` that have begun."""
        return self.calls["SidecarDataPlane/ReceiveRecords"]

    @property
    def sidecar(self) -> Any:
        """``SidecarDataPlane``."""
        return sidecar_pb2_grpc.SidecarDataPlaneStub(self.channel)  # type: ignore[no-untyped-call]

    @property
    def router(self) -> Any:
        """``SourceRouter``."""
        return source_pb2_grpc.SourceRouterStub(self.channel)  # type: ignore[no-untyped-call]

    def pushing(self, *messages: sidecar_pb2.PushRecordsRequest) -> Any:
        """A stream of ``SidecarDataPlane``."""
        return self.sidecar.PushRecords(iter(messages))


@asynccontextmanager
async def listening(served: S) -> AsyncIterator[S]:
    """A service that listens."""
    await served.start()
    try:
        yield served
    finally:
        await served.stop()


@asynccontextmanager
async def world(
    *served: Served, limits: Limits | None = None, tuning: Tuning = QUICK, buffer: Buffer | None = None
) -> AsyncIterator[World]:
    """A data plane with these services."""
    plane = DataPlane(limits, tuning, buffer=buffer)
    server = grpc.aio.server(options=LARGE)
    calls: Counter[str] = Counter()
    server.add_generic_rpc_handlers(rpc.handlers(plane, "etl", lambda name: calls.update([name])))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    made = World(plane, f"127.0.0.1:{port}", calls)
    try:
        for one in served:
            await one.start()
        made.know(*served)
        yield made
    finally:
        await made.channel.close(None)
        await server.stop(None)
        await plane.close()
        for one in served:
            await one.stop()
