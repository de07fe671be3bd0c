"""One stream of a source: reads batches while there is room, and answers each of them once.

A stream that ends has answered all that was decided; a batch without an answer must be sent again. Every end
that is not the source's own is a status: UNAVAILABLE means connect again, here or at another node.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any, NamedTuple, Protocol

import grpc
from google.protobuf.message import DecodeError, Message

from etl_operator.node.data.credit import FIRST_GRANT, Amount, Grant, Level
from etl_operator.node.data.flow import Way
from etl_operator.node.data.frames import Frame
from etl_operator.node.data.ledger import Ticket
from etl_operator.node.data.plane import DataPlane, NoPipeline, amount_of, ids
from etl_operator.router.pb import common_pb2

Context = grpc.aio.ServicerContext[Any, Any]

MOST_AGE = 1800.0
"""Seconds, give or take a fifth, after which a stream ends, so that load spreads over nodes that are new."""
MOST_UNREAD = 64
"""Answers that a source has not read; beyond it the node reads no more from it."""
PAUSE_MS = 1000
"""How long a source that is asked to pause should wait before it asks again."""
TRACE_KEYS = frozenset({"traceparent", "tracestate", "baggage"})
PIPELINE_KEY = "etl-pipeline"

LEAVING = "the node is shutting down; connect again, and send unacknowledged records again"
AGED = "the stream has reached its maximum age; connect again"
LET_GO = "the node dropped records that did not end; connect again, and send unacknowledged records again"


class End(NamedTuple):
    """Why a stream ends, if not by the source."""

    code: grpc.StatusCode
    text: str


class Received(NamedTuple):
    """What a message brought."""

    batch: common_pb2.RecordBatch | Frame | None = None
    heartbeat: bool = False


class Wire(Protocol):
    """The messages of one of the two protocols."""

    retries: bool
    """A record that was let go has a status; else the stream ends."""

    def received(self, message: Any) -> Received:
        """What is in a message.

        :raises DecodeError: it cannot be parsed.
        """

    def ack(self, batch: common_pb2.RecordBatch | Frame, ticket: Ticket) -> Any:
        """The answer to a batch."""

    def pressure(self, level: Level, pause: bool) -> Any:
        """Ask the source to pause, or to go on."""

    def credits(self, grant: Grant) -> Any:
        """Records the source may send."""


class SourceStream:
    """A stream.

    :param only: id of the one pipeline that takes the records; empty for all that select the source.
    """

    def __init__(self, plane: DataPlane, wire: Wire, context: Context, only: str = "") -> None:
        self._plane = plane
        self._wire = wire
        self._context = context
        self._only = only
        self._source = f"stream {id(self)}"
        self._ways: list[Way] = []
        self._outbox: asyncio.Queue[Any] = asyncio.Queue()
        self._unanswered = 0
        self._idle = asyncio.Event()
        self._end: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._cut = asyncio.Event()
        self._hurried = False
        self._written = asyncio.Event()
        self._paused = False
        self._level = Level.NONE
        self._open = True
        pairs = [(str(key), value) for key, value in context.invocation_metadata() or ()]
        self._trace = tuple(
            (key, value) for key, value in pairs if key in TRACE_KEYS and isinstance(value, str)
        )

    async def serve(self) -> None:
        """Until the source ends the stream, or a reason comes up to end it."""
        loop = asyncio.get_running_loop()
        age = MOST_AGE * random.uniform(0.8, 1.2)  # noqa: S311 - spread
        timer = loop.call_later(age, self._stop, End(grpc.StatusCode.UNAVAILABLE, AGED))
        writer = loop.create_task(self._write())
        self._plane.opened(self)
        try:
            if self._plane.leaving:
                self.leave()
            await self._read()
            await self._answered()
            await self._flushed(writer)
        finally:
            self._open = False
            timer.cancel()
            writer.cancel()
            self._plane.budget.revoke(self._source)
            self._plane.closed(self)
        if self._end.done():
            end = self._end.result()
            await self._context.abort(end.code, end.text)

    def leave(self) -> None:
        """See `plane.Stream`."""
        self._outbox.put_nowait(self._wire.pressure(Level.CRITICAL, True))
        self._stop(End(grpc.StatusCode.UNAVAILABLE, LEAVING))

    def cut(self) -> None:
        """See `plane.Stream`."""
        self._cut.set()
        self._idle.set()

    def _stop(self, end: End) -> None:
        if not self._end.done():
            self._end.set_result(end)

    # In.

    async def _read(self) -> None:
        """Until the stream ends. One task for all messages: one for each costs as much as a small batch."""
        reading = asyncio.ensure_future(self._read_all())
        try:
            await asyncio.wait((reading, self._end), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not reading.done():
                reading.cancel()
        if reading.done() and not reading.cancelled():
            reading.result()

    async def _read_all(self) -> None:
        while not self._end.done():
            while self._outbox.qsize() > MOST_UNREAD:
                # A source that does not read its answers is not read either.
                self._written.clear()
                await self._written.wait()
            message = await self._context.read()
            if not isinstance(message, Message | bytes):  # The source has said that it is done.
                return
            try:
                received = self._wire.received(message)
            except DecodeError as error:
                text = f"a message cannot be parsed: {error}"
                self._stop(End(grpc.StatusCode.INVALID_ARGUMENT, text))
                return
            if received.batch is not None:
                await self._take(received.batch)
            elif received.heartbeat:
                grant = self._plane.budget.grant(self._source, ids(self._ways), FIRST_GRANT)
                self._outbox.put_nowait(self._wire.credits(grant))

    async def _take(self, batch: common_pb2.RecordBatch | Frame) -> None:
        if isinstance(batch, Frame):
            source = batch.usual.source
        elif not batch.records:
            self._outbox.put_nowait(self._wire.ack(batch, Ticket(0, 1, lambda ticket: None)))
            return
        else:
            try:
                source = source_of(batch)
            except ValueError as error:
                self._stop(End(grpc.StatusCode.INVALID_ARGUMENT, str(error)))
                return
        amount = amount_of(batch)
        ways = await self._admission(source, amount)
        if ways is None:
            return
        if source != self._source:
            self._plane.budget.revoke(self._source)
        self._source, self._ways = source, ways
        self._unanswered += 1
        self._plane.take(
            batch, source, ways, amount, self._trace, lambda ticket: self._decided(batch, ticket)
        )
        self._signal()

    async def _admission(self, source: str, amount: Amount) -> list[Way] | None:
        """The pipelines that take a batch, once there is room; None if the stream ends instead."""
        while not self._end.done():
            try:
                ways = self._plane.ways(source, self._only)
            except NoPipeline as error:
                code = grpc.StatusCode.FAILED_PRECONDITION if error.lasting else grpc.StatusCode.UNAVAILABLE
                self._stop(End(code, str(error)))
                return None
            if self._plane.has_room(source, ways, amount):
                return ways
            if not self._paused:
                self._tell(max(Level.HIGH, self._plane.budget.level(source, ids(ways))), True)
            await self._plane.moved()
        return None

    # Out.

    def _decided(self, batch: common_pb2.RecordBatch | Frame, ticket: Ticket) -> None:
        self._unanswered -= 1
        if not self._unanswered:
            self._idle.set()
        if not self._open:
            return
        if ticket.is_let_go and not self._wire.retries:
            # Nothing else is waited for: what was let go should come again soon.
            self._hurried = True
            self._idle.set()
            self._stop(End(grpc.StatusCode.UNAVAILABLE, LET_GO))
            return
        self._outbox.put_nowait(self._wire.ack(batch, ticket))
        self._signal()

    def _signal(self) -> None:
        """Say so when the pressure changed: pause from HIGH on, go on below the lower mark."""
        budget = self._plane.budget
        names = ids(self._ways)
        level = budget.level(self._source, names)
        pause = level >= Level.HIGH or (
            self._paused and budget.share(self._source, names) >= budget.limits.resume_at
        )
        if (level, pause) != (self._level, self._paused):
            self._tell(level, pause)

    def _tell(self, level: Level, pause: bool) -> None:
        self._level, self._paused = level, pause
        self._outbox.put_nowait(self._wire.pressure(level, pause))

    async def _answered(self) -> None:
        """Wait until every batch that was taken is decided."""
        while self._unanswered and not self._hurried and not self._cut.is_set():
            self._idle.clear()
            await self._idle.wait()

    async def _flushed(self, writer: asyncio.Task[None]) -> None:
        """Wait until all answers are written, or can no longer be."""
        self._outbox.put_nowait(None)
        cut = asyncio.ensure_future(self._cut.wait())
        try:
            await asyncio.wait((writer, cut), return_when=asyncio.FIRST_COMPLETED)
        finally:
            cut.cancel()

    async def _write(self) -> None:
        """The only writer: gRPC allows one at a time."""
        with contextlib.suppress(grpc.aio.BaseError, asyncio.InvalidStateError):
            while (message := await self._outbox.get()) is not None:
                await self._context.write(message)
                self._written.set()


def source_of(batch: common_pb2.RecordBatch) -> str:
    """The source of a batch.

    :raises ValueError: it has none, or more than one.
    """
    source = batch.records[0].id.source_id
    if not source:
        raise ValueError("batch.records[0].id.source_id: is required")
    for number, record in enumerate(batch.records):
        if record.id.source_id != source:
            raise ValueError(
                f"batch.records[{number}].id.source_id: {record.id.source_id!r} is not {source!r}; "
                "all records of a batch must have the same source"
            )
    return source
