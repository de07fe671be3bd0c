"""Into the streams: a source's records are stored, and answered then."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence
from itertools import chain
from urllib.parse import quote, unquote

from etl_operator.node.buffer import naming
from etl_operator.node.buffer.place import Place
from etl_operator.node.buffer.server import TooLarge, Trouble
from etl_operator.node.data.balance import Balancer, lane_of
from etl_operator.node.data.buffer import Host
from etl_operator.node.data.call import Parcel, Refused, Tuning
from etl_operator.node.data.chunk import Packed, Passed, Trace
from etl_operator.node.data.flow import Flow
from etl_operator.node.data.frames import nested, varint
from etl_operator.node.data.graph import DeadLetters, Edge, Kind, Plan, Selector, Stage
from etl_operator.node.data.policy import Result, wait_before
from etl_operator.node.data.stats import StageStats
from etl_operator.router.pb import source_pb2

STAGES = "etl-stages"
"""Header: ids of the stages where the records enter."""
FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0
"""Seconds between two attempts to store a message: space becomes free at any time."""
MOST_RECORDS = 1000
"""Of a message."""
MOST_BYTES = 512 * 1024
"""Of a message; a larger record goes by itself."""

_NOBODY = Selector("", "", {}, 0)
_STREAM = Stage("stream", Kind.SINK, _NOBODY, naming.LANES, (), (), {})
ENTRANCE = Stage("entrance", Kind.SOURCE, _NOBODY, 1, (), (Edge(_STREAM.stage_id, None),), {})
"""Where the records of a source enter."""


def _plan(pipeline_id: str) -> Plan:
    # One attempt: a message that does not fit now does not fit later either.
    return Plan(
        pipeline_id,
        {stage.stage_id: stage for stage in (ENTRANCE, _STREAM)},
        DeadLetters(attempts=1),
    )


def entering(stages: Sequence[Stage]) -> Trace:
    """The header of records that enter at ``stages``."""
    return ((STAGES, ",".join(quote(stage.stage_id, safe="") for stage in stages)),)


def entered(headers: Mapping[str, str]) -> list[str]:
    """The ids of the stages that `entering` named."""
    return [unquote(one) for one in headers.get(STAGES, "").split(",") if one]


class Storing:
    """Puts the batches of one pipeline into its stream: a `data.processing.Processor`.

    One message of a lane is on its way at a time, so that the order stays whatever happens to a message.
    """

    def __init__(self, host: Host, place: Place) -> None:
        self.tuning = Tuning(most_records=MOST_RECORDS, most_bytes=MOST_BYTES)
        self._host = host
        self._place = place

    def balancer(self, stage: Stage) -> Balancer:
        """Nothing is balanced."""
        return Balancer(0, random.Random(0))  # noqa: S311 - not used

    async def process(
        self, stage: Stage, parcel: Parcel | Packed, balancer: Balancer, stats: StageStats
    ) -> list[Result] | Passed:
        """Store records; waits until the stream has them.

        :raises Refused: the message is too large.
        """
        place, key = self._place, parcel.key
        payload = _payload(parcel)
        positions = _positions(parcel)
        # Without positions the server recognises at least what is sent again here.
        message = naming.message_id(place.era, key, positions) or uuid.uuid4().hex
        headers = {"Nats-Msg-Id": message, **dict(parcel.trace)}
        lane = lane_of(key, naming.LANES)
        attempt = 0
        while True:
            await place.server.connected()
            try:
                if len(payload) > place.server.most_bytes:
                    raise TooLarge(f"{len(payload)} bytes; NATS accepts {place.server.most_bytes}")
                await place.store(lane, payload, headers, parcel.count)
                return Passed() if isinstance(parcel, Packed) else [Result() for _ in parcel.records]
            except TooLarge as error:
                raise Refused("RECORD_TOO_LARGE", str(error)) from None
            except Trouble:
                attempt += 1
            wait = wait_before(attempt, FIRST_WAIT, LONGEST_WAIT, self._host.clock.chance())
            await self._host.clock.sleep(wait)

    async def flush(self, stage: Stage) -> None:
        """What the stream has acknowledged lasts."""


def _payload(parcel: Parcel | Packed) -> bytes:
    """A serialised ``PushRequest``, as a source would have sent it."""
    if isinstance(parcel, Packed):
        before = nested(1, parcel.batch_id.encode()) if parcel.batch_id else b""
        after = nested(3, parcel.watermark.SerializeToString()) if parcel.watermark is not None else b""
        size = len(before) + sum(map(len, parcel.bodies)) + len(after)
        return b"".join([b"\x0a", varint(size), before, *parcel.bodies, after])
    return source_pb2.PushRequest(batch=parcel.batch()).SerializeToString()


def _positions(parcel: Parcel | Packed) -> Sequence[int]:
    if isinstance(parcel, Packed):
        ranges = [range(one.first, one.first + one.count) for one in parcel.cohorts]
        return list(chain.from_iterable(ranges))
    return [record.id.sequence_number for record in parcel.records]


class Intake(Flow):
    """Takes the records of a pipeline's sources: its one stage is the stream."""

    def __init__(self, host: Host, place: Place) -> None:
        storing = Storing(host, place)
        # Its plan never changes.
        super().__init__(place.pipeline_id, storing, host.clock, host.spawn, host.wake, lambda: None)
        self.use(_plan(place.pipeline_id))
