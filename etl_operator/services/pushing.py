"""Sends batches to a router until all are acknowledged; a stream that ends is opened again, to any node."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import grpc.aio

from etl_operator.router.pb.common_pb2 import Record
from etl_operator.router.pb.source_pb2 import CreditGrant, Heartbeat, PushRequest, PushResponse
from etl_operator.router.statuses import is_lost
from etl_operator.services.metrics import SourceMetrics
from etl_operator.services.outstanding import Answer, Outstanding
from etl_operator.services.routers import Backoff, Routers

log = logging.getLogger(__name__)

_HEARTBEAT = 10.0
"""Seconds between heartbeats of an idle stream."""
_ASKING = 1.0
"""Seconds between heartbeats that ask for credits."""

Rejected = Callable[[Record, str], None]


class _Fault(Exception):
    """The router violated the protocol of the stream."""


class Pusher:
    """Sends the batches of one source.

    :param routers: the nodes to send to.
    :param rejected: called for each record that the router rejects.
    :param metadata: headers of the streams.
    """

    def __init__(
        self,
        routers: Routers,
        outstanding: Outstanding,
        rejected: Rejected,
        metrics: SourceMetrics,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._routers = routers
        self._outstanding = outstanding
        self._rejected = rejected
        self._metrics = metrics
        self._metadata = metadata
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._finished = False
        self._sent_at: dict[str, float] = {}
        self._prefix = uuid.uuid4().hex[:12]
        self._number = 0
        self._asked = -math.inf
        self._answers = 0
        """Batches acknowledged on this stream."""
        self._backoff = Backoff()

    async def offer(self, records: Sequence[Record]) -> None:
        """Add a batch; waits while the window is full."""
        await self._room.wait()
        self._number += 1
        self._outstanding.offer(f"{self._prefix}-{self._number}", records)
        if self._outstanding.full:
            self._room.clear()
        self._metrics.in_flight.set(self._outstanding.records)
        self._wake.set()

    def finish(self) -> None:
        """No more batches follow: :meth:`run` returns after the last acknowledgement."""
        self._finished = True
        self._wake.set()

    async def run(self) -> None:
        """Send batches until :meth:`finish` is called and all are acknowledged."""
        while not self._done():
            self._outstanding.opened()
            self._sent_at.clear()
            await self._stream()
            self._metrics.connected.set(0)
            if not self._done():
                self._routers.next()
                await self._backoff.wait()

    def _done(self) -> bool:
        return self._finished and not len(self._outstanding)

    async def _stream(self) -> None:
        """Run one stream until it ends."""
        call = self._routers.stream(self._metadata)
        self._answers = 0
        self._metrics.streams.inc()
        tasks = [asyncio.create_task(self._send(call)), asyncio.create_task(self._receive(call))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0].done() and not tasks[0].exception() and not self._done():
                # The status of the stream says more than a write that failed.
                await tasks[1]
            for task in tasks:
                if task.done():
                    task.result()
        except _Fault as fault:
            log.error("the stream is opened again: %s", fault, extra={"router": self._routers.address})
        except grpc.aio.AioRpcError as error:
            if not is_lost(error.code().name, error.details()):
                self._routers.trouble(error, worked=self._answers > 0)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            call.cancel()

    async def _send(self, call: Any) -> None:
        """Send batches and heartbeats until all batches are acknowledged."""
        last = self._asked = -math.inf
        while not self._done():
            self._wake.clear()
            now = time.monotonic()
            due = last + _HEARTBEAT
            if self._outstanding.asks(now) and self._outstanding.waiting():
                due = min(due, self._asked + _ASKING)
            batch = self._outstanding.next(now)
            self._metrics.paused.set(self._outstanding.paused(now))
            if batch is not None:
                message = PushRequest(batch=batch)
                self._sent_at[batch.batch_id] = now
                self._metrics.records.labels("sent").inc(len(batch.records))
            elif now >= due:
                message = PushRequest(heartbeat=_heartbeat())
                self._asked = now
            else:
                await self._woken(min(due - now, self._outstanding.wakes(now) or due - now))
                continue
            try:
                await call.write(message)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
                # The stream has ended; the receiving task gets the status.
                return
            last = now
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.done_writing()

    async def _woken(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _receive(self, call: Any) -> None:
        """Receive messages until the stream ends.

        :raises _Fault: an acknowledgement violates the protocol.
        :raises AioRpcError: the stream ended with an error.
        """
        async for response in call:
            self._metrics.connected.set(1)
            self._take(response)
            self._wake.set()
            if self._done():
                return

    def _take(self, response: PushResponse) -> None:
        now = time.monotonic()
        kind = response.WhichOneof("msg")
        if kind == "ack":
            answer = self._outstanding.answered(response.ack)
            self._account(response.ack.batch_id, answer, now)
            if answer.fault:
                raise _Fault(answer.fault)
        elif kind == "backpressure":
            self._outstanding.pressed(response.backpressure, now)
        elif kind == "credits":
            self._outstanding.granted(response.credits, now, _lasts(response.credits))
            if response.credits.credits:
                self._asked = -math.inf

    def _account(self, batch_id: str, answer: Answer, now: float) -> None:
        records = self._metrics.records
        records.labels("accepted").inc(answer.accepted)
        records.labels("duplicate").inc(answer.duplicates)
        records.labels("rejected").inc(len(answer.rejected))
        began = self._sent_at.pop(batch_id, None)
        if began is not None:
            self._metrics.batch_seconds.observe(now - began)
        self._metrics.in_flight.set(self._outstanding.records)
        self._answers += 1
        if not answer.fault:
            self._backoff.reset()
            self._routers.works()
        if not self._outstanding.full:
            self._room.set()
        for record, message in answer.rejected:
            self._rejected(record, message)


def _heartbeat() -> Heartbeat:
    heartbeat = Heartbeat()
    heartbeat.timestamp.GetCurrentTime()
    return heartbeat


def _lasts(grant: CreditGrant) -> float:
    """Seconds until a grant expires; it has the time of day of the router."""
    return grant.expires_at_ms / 1000 - time.time() if grant.expires_at_ms else float("inf")
