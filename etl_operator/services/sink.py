"""Sinks: a router sends them batches; their response means that the records are stored."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from etl_operator.router.pb import sink_pb2
from etl_operator.router.pb.common_pb2 import Empty, Record
from etl_operator.services.errors import Unavailable
from etl_operator.services.handling import handlers
from etl_operator.services.service import Service
from etl_operator.services.working import Worker

log = logging.getLogger(__name__)

_STATUS = sink_pb2.WriteStatus
_STREAM_RECORDS = 1_000
"""Maximum records of a stream that wait for a commit; more are written before it."""
_SMOOTHING = 0.2
"""Weight of the newest batch in the mean latency."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that was not stored."""

    index: int
    """Index of the record in the batch, from 0."""
    error: str
    retryable: bool = False
    """A retry can succeed. If false, the router makes the record a dead letter at once."""


class Sink(Service):
    """Base of sinks: override :meth:`write`."""

    kind = "sink"
    max_concurrent_batches = 1
    """Maximum batches that are written at the same time. If above 1, ``write`` runs in several threads."""
    capacity = 10_000
    """Maximum records that wait or are being written, for ``GetCapacity``: a hint to routers."""

    def __init__(self) -> None:
        super().__init__()
        self._worker: Worker | None = None
        self._latency = 0.0
        self._queued = 0
        self._since_flush = 0

    def write(
        self, records: Sequence[Record]
    ) -> Iterable[Refusal] | Awaitable[Iterable[Refusal] | None] | None:
        """Store records so that they survive a crash of this process; return those that are not stored.

        Can be ``async``; otherwise it runs in a thread and can block. The router sends records again if a
        response is lost, so the same records can come twice.

        If it raises an exception, the batch fails: the router halves it to find the record that is the cause.

        :raises Unavailable: nothing is stored, and no record is the cause, as when a disk is full or a
            database does not answer; the router sends the batch again until it is stored.
        """
        raise NotImplementedError

    def flush(self) -> None:
        """Called when a router node shuts down, and at the end. Needed only if ``write`` buffers records."""

    @property
    def _work(self) -> Worker:
        if self._worker is None:
            self._worker = Worker(self.max_concurrent_batches)
        return self._worker

    async def _stored(self, records: Sequence[Record]) -> list[sink_pb2.RecordWriteResult]:
        """One result for each record.

        :raises Unavailable: see :meth:`write`.
        """
        if not records:
            return []
        began = time.perf_counter()
        self._queued += len(records)
        try:
            with self.metrics.flying(len(records)):
                refused = {one.index: one for one in await self._work.run(self.write, records) or ()}
        finally:
            self._queued -= len(records)
        seconds = time.perf_counter() - began
        self._latency += _SMOOTHING * (seconds - self._latency)
        self.metrics.batch_seconds.observe(seconds)
        self._count(len(records), refused)
        return [_result(record, refused.get(index)) for index, record in enumerate(records)]

    def _count(self, number: int, refused: dict[int, Refusal]) -> None:
        self._since_flush += number - len(refused)
        self.metrics.records.labels("written").inc(number - len(refused))
        if refused:
            first = next(iter(refused.values()))
            log.warning(
                "%d of %d records were not stored; first error: %s", len(refused), number, first.error
            )
            self.metrics.records.labels("refused").inc(len(refused))

    async def _flushed(self) -> int:
        await self._work.idle()
        await self._work.run(self.flush)
        number, self._since_flush = self._since_flush, 0
        return number

    def _handlers(self) -> Sequence[grpc.GenericRpcHandler[Any, Any]]:
        return [handlers(sink_pb2.DESCRIPTOR, "SinkService", _Servicer(self))]

    async def _finish(self) -> None:
        await self._flushed()


class _Servicer:
    """``etl.sink.SinkService``."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    async def WriteBatch(
        self, request: sink_pb2.WriteBatchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> sink_pb2.WriteBatchResponse:
        await _promised(request.options, context)
        results = await self._write(request.batch.records, context)
        failed = sum(not one.success for one in results)
        status = _STATUS.WRITE_STATUS_PARTIAL if failed else _STATUS.WRITE_STATUS_SUCCESS
        if failed and failed == len(results):
            status = _STATUS.WRITE_STATUS_FAILED
        return sink_pb2.WriteBatchResponse(batch_id=request.batch.batch_id, status=status, results=results)

    async def WriteStream(
        self,
        requests: AsyncIterator[sink_pb2.WriteStreamRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[sink_pb2.WriteStreamResponse]:
        """Records of one source and partition, written at each commit."""
        answer, stream = sink_pb2.WriteStreamResponse, ""
        kept: list[Record] = []
        async for request in requests:
            kind = request.WhichOneof("msg")
            up_to: int | None = None
            if kind == "init":
                await _promised(request.init.options, context)
                stream = request.init.stream_id
                ready = sink_pb2.StreamWriteReady(stream_id=stream, initial_credits=_STREAM_RECORDS)
                yield answer(ready=ready)
            elif kind == "record":
                kept.append(request.record)
            elif kind == "commit":
                up_to = request.commit.up_to_sequence
            if up_to is None and len(kept) < _STREAM_RECORDS:
                continue
            due = [one for one in kept if up_to is None or one.id.sequence_number <= up_to]
            kept = [one for one in kept if up_to is not None and one.id.sequence_number > up_to]
            for result in await self._write(due, context):
                yield answer(result=result)
            if up_to is not None:
                ack = sink_pb2.CommitAck(stream_id=stream, committed_sequence=up_to)
                yield answer(commit_ack=ack)

    async def GetCapacity(
        self, _: Empty, context: grpc.aio.ServicerContext[Any, Any]
    ) -> sink_pb2.CapacityResponse:
        sink = self._sink
        return sink_pb2.CapacityResponse(
            available_capacity=max(0, sink.capacity - sink._queued),
            current_queue_depth=sink._queued,
            estimated_latency_ms=sink._latency * 1000,
        )

    async def Flush(
        self, request: sink_pb2.FlushRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> sink_pb2.FlushResponse:
        try:
            number = await self._sink._flushed()
        except Unavailable as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return sink_pb2.FlushResponse(success=True, flushed_records=number)

    async def _write(
        self, records: Sequence[Record], context: grpc.aio.ServicerContext[Any, Any]
    ) -> list[sink_pb2.RecordWriteResult]:
        try:
            return await self._sink._stored(records)
        except Unavailable as error:
            log.warning("cannot store %d records now: %s", len(records), error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        except Exception as error:
            log.exception("cannot store %d records", len(records))
            await context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")


async def _promised(options: sink_pb2.WriteOptions, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    if options.guarantee == sink_pb2.DELIVERY_GUARANTEE_EXACTLY_ONCE:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this sink supports at-least-once delivery only")


def _result(record: Record, refusal: Refusal | None) -> sink_pb2.RecordWriteResult:
    if refusal is None:
        return sink_pb2.RecordWriteResult(record_id=record.id, success=True)
    return sink_pb2.RecordWriteResult(
        record_id=record.id, success=False, error=refusal.error, retryable=refusal.retryable
    )
