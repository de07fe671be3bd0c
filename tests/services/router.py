"""A router as a source sees it: `SourceRouter` and `CheckpointService`, in the process of the test."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from etl_operator.router.pb import (
    checkpoint_pb2,
    checkpoint_pb2_grpc,
    common_pb2,
    source_pb2,
    source_pb2_grpc,
)
from tests.processes import GRPC, loopback

ACCEPTED = source_pb2.ACK_STATUS_ACCEPTED
DUPLICATE = source_pb2.ACK_STATUS_DUPLICATE
REJECTED = source_pb2.ACK_STATUS_REJECTED
Batch = common_pb2.RecordBatch
Answers = AsyncIterator[source_pb2.PushResponse]


def ack(batch: Batch, status: source_pb2.AckStatus = ACCEPTED, message: str = "") -> source_pb2.PushResponse:
    """The answer to a batch: the same for each record."""
    acks = [
        source_pb2.RecordAck(record_id=record.id, status=status, error_message=message)
        for record in batch.records
    ]
    return source_pb2.PushResponse(ack=source_pb2.BatchAck(batch_id=batch.batch_id, record_acks=acks))


def credits(number: int, expires_at_ms: int = 0) -> source_pb2.PushResponse:
    """A grant."""
    return source_pb2.PushResponse(
        credits=source_pb2.CreditGrant(credits=number, expires_at_ms=expires_at_ms)
    )


class FakeRouter(source_pb2_grpc.SourceRouterServicer, checkpoint_pb2_grpc.CheckpointServiceServicer):
    """One node. :attr:`taking` decides what becomes of a batch: an async generator of answers."""

    def __init__(self) -> None:
        self.ip = loopback()
        self.address = f"{self.ip}:{GRPC}"
        self.batches: list[list[int]] = []
        """Sequence numbers of all batches that arrived, in order."""
        self.records: list[common_pb2.Record] = []
        self.seen: Counter[int] = Counter()
        self.streams = 0
        self.heartbeats = 0
        self.metadata: list[dict[str, str]] = []
        self.offsets: dict[int, int] = {}
        self.states: dict[str, bytes] = {}
        self.keeps_checkpoints = True
        self.taking: Callable[[Batch, Any], Answers] = self.accept
        self.on_heartbeat: Callable[[], list[source_pb2.PushResponse]] = list
        self.credentials: grpc.ServerCredentials | None = None
        """Set before the start: it has TLS."""
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        source_pb2_grpc.add_SourceRouterServicer_to_server(self, server)  # type: ignore[no-untyped-call]
        checkpoint_pb2_grpc.add_CheckpointServiceServicer_to_server(self, server)  # type: ignore[no-untyped-call]
        if self.credentials is None:
            server.add_insecure_port(self.address)
        else:
            server.add_secure_port(self.address, self.credentials)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """End at once, as by kill -9: open streams are cut off."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def accept(self, batch: Batch, _: Any) -> Answers:
        """Accept everything."""
        yield ack(batch)

    async def PushRecords(
        self, requests: AsyncIterator[source_pb2.PushRequest], context: Any
    ) -> AsyncIterator[source_pb2.PushResponse]:
        """The stream."""
        self.streams += 1
        self.metadata.append(dict(context.invocation_metadata()))
        async for request in requests:
            if request.WhichOneof("msg") == "heartbeat":
                self.heartbeats += 1
                for answer in self.on_heartbeat():
                    yield answer
                continue
            batch = request.batch
            numbers = [record.id.sequence_number for record in batch.records]
            self.batches.append(numbers)
            self.records += batch.records
            self.seen.update(numbers)
            async for answer in self.taking(batch, context):
                yield answer

    async def GetSourceOffset(self, request: Any, context: Any) -> checkpoint_pb2.GetOffsetResponse:
        """The offsets."""
        if not self.keeps_checkpoints:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no checkpoints here")
        return checkpoint_pb2.GetOffsetResponse(offsets=self.offsets)

    async def GetCheckpoint(self, request: Any, context: Any) -> checkpoint_pb2.GetCheckpointResponse:
        """The state of a service."""
        if not self.keeps_checkpoints:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no checkpoints here")
        data = self.states.get(request.service_id)
        return checkpoint_pb2.GetCheckpointResponse(found=data is not None, data=data or b"")

    async def SaveCheckpoint(self, request: Any, context: Any) -> checkpoint_pb2.SaveCheckpointResponse:
        """Keep it."""
        if not self.keeps_checkpoints:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no checkpoints here")
        self.states[request.service_id] = request.data
        return checkpoint_pb2.SaveCheckpointResponse(success=True)

    @property
    def payloads(self) -> list[bytes]:
        """Of all records that arrived, in order."""
        return [record.payload for record in self.records]


@asynccontextmanager
async def routers(number: int = 1) -> AsyncIterator[list[FakeRouter]]:
    """Some nodes that listen."""
    nodes = [FakeRouter() for _ in range(number)]
    try:
        for node in nodes:
            await node.start()
        yield nodes
    finally:
        for node in nodes:
            await node.stop()
