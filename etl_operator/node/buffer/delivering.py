"""Out of the streams: what is stored is delivered, and removed then."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import nats.errors
from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from etl_operator.node.buffer import naming
from etl_operator.node.buffer.place import Place
from etl_operator.node.buffer.server import Trouble
from etl_operator.node.buffer.storing import FIRST_WAIT, LONGEST_WAIT, entered
from etl_operator.node.data.buffer import Host
from etl_operator.node.data.chunk import Trace
from etl_operator.node.data.flow import Flow, Way
from etl_operator.node.data.frames import Frame, pushed
from etl_operator.node.data.graph import Kind, Stage
from etl_operator.node.data.ledger import Ticket, Verdict
from etl_operator.node.data.plane import amount_of
from etl_operator.node.data.policy import wait_before
from etl_operator.node.data.stream import TRACE_KEYS
from etl_operator.router.pb import common_pb2, source_pb2

log = logging.getLogger(__name__)

_AGAIN_SECONDS = 5.0
"""A message that there is no memory for is delivered again after this time."""
_CLOSE_SECONDS = 1.0
"""How long the end of a delivery may take to give its messages back."""
_IN_PROGRESS = 3
"""So many times within the wait for its acknowledgement the server is told that a message is worked on."""

Reject = Callable[[common_pb2.Record, str], Awaitable[None]]
"""Keeps a record that was rejected, with the reason; returns when it lasts."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a message has."""

    batch: common_pb2.RecordBatch | Frame
    source: str
    count: int
    stages: list[str]
    trace: Trace

    @classmethod
    def of(cls, message: Msg) -> Stored:
        """Read a message.

        :raises DecodeError: it was not stored by a router.
        """
        headers = message.headers or {}
        trace = tuple((key, value) for key, value in headers.items() if key in TRACE_KEYS)
        stages = entered(headers)
        frame = pushed(message.data)
        if frame is not None:
            return cls(frame, frame.usual.source, len(frame.usual), stages, trace)
        batch = source_pb2.PushRequest.FromString(message.data).batch
        if not batch.records or not stages:
            raise DecodeError("it has no records or no header etl-stages")
        return cls(batch, batch.records[0].id.source_id, len(batch.records), stages, trace)

    def records(self) -> list[common_pb2.Record]:
        """As objects."""
        batch = self.batch.batch() if isinstance(self.batch, Frame) else self.batch
        return list(batch.records)


class Delivery:
    """Delivers what the stream of one pipeline has.

    :param reject: keeps what a stage rejected: its source cannot be told any more.
    """

    def __init__(self, host: Host, place: Place, flow: Flow, ack_wait: float, reject: Reject) -> None:
        self.held = 0
        """Records of messages that are being delivered; they are still in the stream."""
        self._host = host
        self._place = place
        self._flow = flow
        self._ack_wait = ack_wait
        self._reject = reject
        self._name = f"buffer of {flow.pipeline_id}"
        """As a source, whose records take memory while they are delivered."""
        self._drains = False
        self._stopped = False
        self._changed = asyncio.Event()
        self._lanes = [host.spawn(self._lane(lane)) for lane in range(naming.LANES)]

    def update(self, *, drains: bool) -> None:
        """The pipeline or the services changed.

        :param drains: a disabled pipeline still delivers what is stored.
        """
        self._drains = drains
        self.wake()

    def stop(self) -> None:
        """Deliver nothing more. What is being delivered comes to its end, or is delivered again later."""
        self._stopped = True
        self.wake()

    async def close(self) -> None:
        """End all work."""
        self.stop()
        if self._lanes:
            await asyncio.wait(self._lanes, timeout=_CLOSE_SECONDS)
        for lane in self._lanes:
            lane.cancel()
        await asyncio.gather(*self._lanes, return_exceptions=True)

    def wake(self) -> None:
        """Look again whether records may be delivered."""
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def _may_deliver(self) -> bool:
        if self._stopped or not (self._flow.enabled or (self._drains and self._place.messages != 0)):
            return False
        plan = self._flow.plan
        return plan is not None and all(
            self._host.has_services(stage)
            for stage in plan.stages.values()
            if stage.kind is not Kind.SOURCE and stage.stage_id != plan.dead_letters.sink
        )

    async def _allowed(self) -> None:
        while not self._may_deliver and not self._stopped:
            await self._changed.wait()

    async def _lane(self, lane: int) -> None:
        attempt = 0
        while not self._stopped:
            await self._allowed()
            if self._stopped:
                return
            try:
                message = await self._next(lane)
                if message is not None:
                    await self._deliver(message)
                attempt = 0
            except Trouble:
                attempt += 1
            except nats.errors.Error as error:
                # The connection is gone in the middle: the server delivers the message again.
                log.info("pipeline %s: a delivery was not acknowledged: %s", self._flow.pipeline_id, error)
            except Exception:
                log.exception("pipeline %s: internal error in the durable buffer", self._flow.pipeline_id)
                attempt += 1
            if attempt:
                chance = self._host.clock.chance()
                await self._host.clock.sleep(wait_before(attempt, FIRST_WAIT, LONGEST_WAIT, chance))

    async def _next(self, lane: int) -> Msg | None:
        """The next message; None if there is none soon, or if none may be delivered any more."""
        changed = asyncio.ensure_future(self._forbidden())
        fetching = asyncio.ensure_future(self._place.next(lane, create=self._flow.enabled))
        try:
            await asyncio.wait((changed, fetching), return_when=asyncio.FIRST_COMPLETED)
            return fetching.result() if fetching.done() else None
        finally:
            changed.cancel()
            fetching.cancel()
            await asyncio.gather(changed, fetching, return_exceptions=True)

    async def _forbidden(self) -> None:
        while self._may_deliver:
            await self._changed.wait()

    # One message.

    async def _deliver(self, message: Msg) -> None:
        try:
            stored = Stored.of(message)
        except DecodeError as error:
            log.error("stream %s: removed a message that no router stored: %s", self._place.stream, error)
            await message.term()
            return
        self.held += stored.count
        keeping = self._host.spawn(self._keep(message))
        try:
            ticket = await self._decided(stored)
            if ticket is None:
                await message.nak(_AGAIN_SECONDS if self._may_deliver else None)
                return
            await self._keep_rejected(stored, ticket)
            await message.ack()
            self._place.delivered(stored.count)
        finally:
            self.held -= stored.count
            keeping.cancel()
            self._host.wake()

    async def _keep(self, message: Msg) -> None:
        """The server delivers a message again that it has not heard of for some time."""
        while True:
            await asyncio.sleep(self._ack_wait / _IN_PROGRESS)
            with contextlib.suppress(nats.errors.Error):
                await message.in_progress()

    async def _decided(self, stored: Stored) -> Ticket | None:
        """Deliver the records; None if they cannot be delivered now, and must be delivered again later."""
        if not self._host.budget.admits(self._name, [self._flow.pipeline_id], amount_of(stored.batch)):
            return None
        while True:
            while not self._flow.is_ready and not self._stopped:
                await self._changed_soon()
            if not self._may_deliver:
                return None
            ticket = await self._taken(stored)
            if not ticket.is_let_go:
                return ticket
            await self._host.clock.sleep(FIRST_WAIT)

    async def _changed_soon(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_WAIT):
                await self._changed.wait()

    async def _taken(self, stored: Stored) -> Ticket:
        answered: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()

        def decide(ticket: Ticket) -> None:
            if not answered.done():
                answered.set_result(ticket)

        way = Way(self._flow, self._entries(stored))
        self._host.take(stored.batch, self._name, [way], amount_of(stored.batch), stored.trace, decide)
        return await answered

    def _entries(self, stored: Stored) -> list[Stage]:
        plan = self._flow.plan
        assert plan is not None
        found = [plan.stages[one] for one in stored.stages if one in plan.stages]
        # The pipeline was changed: records of a source that it has no more enter where the others do.
        return [stage for stage in found if stage.kind is Kind.SOURCE] or list(plan.sources)

    async def _keep_rejected(self, stored: Stored, ticket: Ticket) -> None:
        if Verdict.REJECTED not in ticket.verdicts:
            return
        for number, record in enumerate(stored.records()):
            if ticket.verdicts[number] is Verdict.REJECTED:
                await self._reject(record, ticket.errors.get(number, ""))
