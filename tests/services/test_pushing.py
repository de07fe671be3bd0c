"""Streams of a source that fail, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from etl_operator.router.pb.common_pb2 import Record, RecordId
from etl_operator.router.pb.source_pb2 import (
    ACK_STATUS_ACCEPTED,
    BatchAck,
    PushRequest,
    PushResponse,
    RecordAck,
)
from etl_operator.services.metrics import SourceMetrics
from etl_operator.services.outstanding import Outstanding
from etl_operator.services.pushing import Pusher
from etl_operator.services.routers import Routers
from tests.virtual import play

SOME_SECONDS = 5.0


class Call:
    """A stream: refused, or every batch of it is accepted."""

    def __init__(self, refused: grpc.StatusCode | None) -> None:
        self._refused = refused
        self._answers: asyncio.Queue[PushResponse] = asyncio.Queue()

    async def write(self, message: PushRequest) -> None:
        if self._refused is None:
            acks = [
                RecordAck(record_id=record.id, status=ACK_STATUS_ACCEPTED) for record in message.batch.records
            ]
            ack = BatchAck(batch_id=message.batch.batch_id, record_acks=acks)
            self._answers.put_nowait(PushResponse(ack=ack))

    async def __aiter__(self) -> AsyncIterator[PushResponse]:
        if self._refused is not None:
            raise AioRpcError(self._refused, Metadata(), Metadata(), details="not now", debug_error_string="")
        while True:
            yield await self._answers.get()

    async def done_writing(self) -> None:
        pass

    def cancel(self) -> None:
        pass


class LateRouters(Routers):
    """Take records from some time on."""

    def __init__(self, late: float, code: grpc.StatusCode) -> None:
        super().__init__(["a:1", "b:1"])
        self._late = late
        self._code = code
        self.attempts = 0

    def stream(self, metadata: Any) -> Any:
        self.attempts += 1
        return Call(self._code if asyncio.get_running_loop().time() < self._late else None)


@pytest.mark.parametrize("late", [0.0, 1.0, 30.0, 3600.0])
@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION])
def test_records_go_on_some_seconds_after_the_router_is_there(late: float, code: grpc.StatusCode) -> None:
    async def check() -> None:
        routers = LateRouters(late, code)
        pusher = Pusher(routers, Outstanding(), cast(Any, None), SourceMetrics())
        await pusher.offer([Record(id=RecordId(source_id="s", sequence_number=1))])
        pusher.finish()
        await pusher.run()
        assert late <= asyncio.get_running_loop().time() <= late + SOME_SECONDS
        # And nobody is called without a pause.
        assert routers.attempts <= 10 + late / (SOME_SECONDS / 2)

    play(check())
