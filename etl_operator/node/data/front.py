"""The RPCs that sources call: ``SourceRouter`` and ``SidecarDataPlane``, one core behind both."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
from google.protobuf.message import Message

from etl_operator.node.data.credit import GRANT_SECONDS, Amount, Grant, Level, Priority
from etl_operator.node.data.deadletter import restore
from etl_operator.node.data.flow import Way
from etl_operator.node.data.frames import Frame, accepted, pushed
from etl_operator.node.data.ledger import Ticket, Verdict
from etl_operator.node.data.plane import DataPlane, amount_of
from etl_operator.node.data.stream import (
    LEAVING,
    PAUSE_MS,
    PIPELINE_KEY,
    TRACE_KEYS,
    Context,
    Received,
    SourceStream,
    source_of,
)
from etl_operator.router.pb import common_pb2, sidecar_pb2, source_pb2

_BATCH_SIZE = 1000
"""What is recommended: larger batches cost less per record."""
_STATUS = {
    Verdict.ACCEPTED: source_pb2.ACK_STATUS_ACCEPTED,
    Verdict.DUPLICATE: source_pb2.ACK_STATUS_DUPLICATE,
    Verdict.REJECTED: source_pb2.ACK_STATUS_REJECTED,
}
_SIDECAR_STATUS = {
    Verdict.ACCEPTED: sidecar_pb2.ACK_STATUS_SUCCESS,
    Verdict.DUPLICATE: sidecar_pb2.ACK_STATUS_SUCCESS,
    Verdict.REJECTED: sidecar_pb2.ACK_STATUS_FAILED,
    Verdict.LET_GO: sidecar_pb2.ACK_STATUS_RETRY,
}


class SourceWire:
    """``SourceRouter``: what was let go has no status there, so the stream ends. Messages come as bytes."""

    retries = False

    def received(self, data: bytes) -> Received:
        """See `stream.Wire`."""
        frame = pushed(data)
        if frame is not None:
            return Received(frame)
        message = source_pb2.PushRequest.FromString(data)
        if message.HasField("batch"):
            return Received(message.batch)
        return Received(heartbeat=message.HasField("heartbeat"))

    def ack(self, batch: common_pb2.RecordBatch | Frame, ticket: Ticket) -> Message | bytes:
        """Every record is listed."""
        if isinstance(batch, Frame):
            if ticket.all_accepted:
                return accepted(batch.usual)
            batch = batch.batch()
        errors = ticket.errors
        acks = [
            source_pb2.RecordAck(
                record_id=record.id, status=_STATUS[verdict], error_message=errors.get(number, "")
            )
            for number, (record, verdict) in enumerate(zip(batch.records, ticket.verdicts, strict=True))
        ]
        return source_pb2.PushResponse(ack=source_pb2.BatchAck(batch_id=batch.batch_id, record_acks=acks))

    def pressure(self, level: Level, pause: bool) -> Message:
        """See `stream.Wire`."""
        signal = source_pb2.BackpressureSignal(
            pause=pause,
            recommended_batch_size=_BATCH_SIZE,
            resume_after_ms=PAUSE_MS if pause else 0,
            level=level.value,  # type: ignore[arg-type]
        )
        return source_pb2.PushResponse(backpressure=signal)

    def credits(self, grant: Grant) -> Message:
        """See `stream.Wire`."""
        expires = int((time.time() + GRANT_SECONDS) * 1000)
        return source_pb2.PushResponse(
            credits=source_pb2.CreditGrant(credits=grant.credits, expires_at_ms=expires)
        )


class SidecarWire:
    """``SidecarDataPlane``."""

    retries = True

    def received(self, message: sidecar_pb2.PushRecordsRequest) -> Received:
        """See `stream.Wire`."""
        if message.HasField("batch"):
            return Received(message.batch)
        return Received(heartbeat=message.HasField("heartbeat"))

    def ack(self, batch: common_pb2.RecordBatch | Frame, ticket: Ticket) -> Message:
        """Every record is listed."""
        assert not isinstance(batch, Frame)
        success = all(verdict <= Verdict.ACCEPTED for verdict in ticket.verdicts)
        ack = sidecar_pb2.PushAck(
            batch_id=batch.batch_id, success=success, record_acks=_sidecar_acks(batch, ticket)
        )
        return sidecar_pb2.PushRecordsResponse(ack=ack)

    def pressure(self, level: Level, pause: bool) -> Message:
        """See `stream.Wire`."""
        signal = sidecar_pb2.PushBackpressure(
            pause=pause, wait_ms=PAUSE_MS if pause else 0, reason=f"pressure: {level.name}"
        )
        return sidecar_pb2.PushRecordsResponse(backpressure=signal)

    def credits(self, grant: Grant) -> Message:
        """See `stream.Wire`."""
        return sidecar_pb2.PushRecordsResponse(credits=sidecar_pb2.PushCredits(granted=grant.credits))


def _sidecar_acks(batch: common_pb2.RecordBatch, ticket: Ticket) -> list[sidecar_pb2.RecordAck]:
    return [
        sidecar_pb2.RecordAck(
            record_id=record.id, status=_SIDECAR_STATUS[verdict], error=ticket.errors.get(number, "")
        )
        for number, (record, verdict) in enumerate(zip(batch.records, ticket.verdicts, strict=True))
    ]


class SourceRouter:
    """``SourceRouter``."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def PushRecords(self, requests: Any, context: Context) -> None:
        """Batches in, one answer for each; see `stream.SourceStream`."""
        await SourceStream(self._plane, SourceWire(), context, _header(context, PIPELINE_KEY)).serve()

    async def RequestCredits(self, request: source_pb2.CreditRequest, context: Context) -> Message:
        """Records that a source may send, now."""
        if not request.source_id:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "source_id: is required")
        pipelines = [request.pipeline_id] if request.pipeline_id else []
        if request.pipeline_id and self._plane.flow(request.pipeline_id) is None:
            text = f"pipeline_id: pipeline {request.pipeline_id!r} not found"
            await context.abort(grpc.StatusCode.NOT_FOUND, text)
        priorities = {each.value for each in Priority}
        priority = Priority(request.priority) if request.priority in priorities else Priority.NORMAL
        budget = self._plane.budget
        wanted = 0 if self._plane.leaving else request.requested_credits
        grant = budget.grant(request.source_id, pipelines, wanted, priority)
        level = Level.CRITICAL if self._plane.leaving else budget.level(request.source_id, pipelines)
        return source_pb2.CreditResponse(
            granted_credits=grant.credits,
            total_available=grant.available,
            expires_in_ms=int(GRANT_SECONDS * 1000),
            current_pressure=level.value,  # type: ignore[arg-type]
        )


class SidecarDataPlane:
    """``SidecarDataPlane``."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def PushRecords(self, requests: Any, context: Context) -> None:
        """As `SourceRouter.PushRecords`, for the one pipeline that the first message names."""
        first = await context.read()
        if not isinstance(first, sidecar_pb2.PushRecordsRequest) or not first.HasField("init"):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "init: must be set in the first message")
        if not first.init.pipeline_id:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "init.pipeline_id: is required")
        await SourceStream(self._plane, SidecarWire(), context, first.init.pipeline_id).serve()

    async def ReceiveRecords(self, request: sidecar_pb2.ReceiveRecordsRequest, context: Context) -> Message:
        """Take records at a stage, dead letters that are played again for instance; answers when all are
        decided. What an earlier failure added to their metadata is taken away."""
        way = await self._way(request, context)
        batch = request.batch
        if not batch.records:
            return sidecar_pb2.ReceiveRecordsResponse(success=True)
        try:
            source = source_of(batch)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        restore(batch.records)
        amount = amount_of(batch)
        while not self._plane.has_room(source, [way], amount):
            await self._plane.moved()
            # The pipeline may be another one by now.
            way = await self._way(request, context)
        ticket = await self._decided(batch, source, way, amount, context)
        success = all(verdict <= Verdict.ACCEPTED for verdict in ticket.verdicts)
        text = (
            ""
            if success
            else next(iter(ticket.errors.values()), "send the records with the status RETRY again")
        )
        return sidecar_pb2.ReceiveRecordsResponse(
            success=success, error=text, record_acks=_sidecar_acks(batch, ticket)
        )

    async def _way(self, request: sidecar_pb2.ReceiveRecordsRequest, context: Context) -> Way:
        flow = self._plane.flow(request.pipeline_id)
        if flow is None and not self._plane.is_told:
            text = "the node has not loaded the state of its cluster yet; try again"
            await context.abort(grpc.StatusCode.UNAVAILABLE, text)
        if flow is None:
            text = f"pipeline_id: pipeline {request.pipeline_id!r} not found"
            await context.abort(grpc.StatusCode.NOT_FOUND, text)
        if self._plane.leaving:
            await context.abort(grpc.StatusCode.UNAVAILABLE, LEAVING)
        if not flow.enabled:
            text = f"pipeline {request.pipeline_id} is disabled"
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, text)
        stage = flow.stage(request.stage_id)
        if stage is None:
            text = f"stage_id: stage {request.stage_id!r} not found in pipeline {request.pipeline_id}"
            await context.abort(grpc.StatusCode.NOT_FOUND, text)
        return Way(flow, [stage])

    async def _decided(
        self, batch: common_pb2.RecordBatch, source: str, way: Way, amount: Amount, context: Context
    ) -> Ticket:
        answered: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()

        def decide(ticket: Ticket) -> None:
            if not answered.done():
                answered.set_result(ticket)

        self._plane.inject(batch, source, way, amount, _trace(context), decide)
        return await answered


def _header(context: Context, name: str) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == name:
            return value if isinstance(value, str) else value.decode(errors="replace")
    return ""


def _trace(context: Context) -> tuple[tuple[str, str], ...]:
    return tuple(
        (str(key), value)
        for key, value in context.invocation_metadata() or ()
        if key in TRACE_KEYS and isinstance(value, str)
    )
