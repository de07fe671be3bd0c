"""Bytes that are forwarded against generated objects: the same at the sink, and the same answers.

The objects are the truth. Batches are written field by field, so that they can be what no generated code
writes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError
from hypothesis import event, given
from hypothesis import strategies as st

from etl_operator.node.data import frames
from etl_operator.node.data.call import Services, Tuning
from etl_operator.node.data.front import SourceWire
from etl_operator.node.data.graph import Kind
from etl_operator.node.data.ledger import Ticket
from etl_operator.node.data.plane import DataPlane, NoPipeline, amount_of
from etl_operator.node.data.stream import source_of
from etl_operator.node.data.view import Pipeline, Service, Snapshot
from etl_operator.router.pb import common_pb2, sink_pb2, source_pb2, transform_pb2
from tests.node.data.made import batch, line
from tests.node.data.test_model import SINK, TRANSFORM, ModelClock, Unconnected, aborted
from tests.virtual import play

PATHS = {"ProcessBatch": transform_pb2.ProcessBatchRequest, "WriteBatch": sink_pb2.WriteBatchRequest}


def number(tag: int, value: int, *, long: bool = False) -> bytes:
    """A varint field; ``long`` is not the shortest form of it."""
    encoded = frames.varint(value)
    if long:
        encoded = encoded[:-1] + bytes([encoded[-1] | 0x80, 0])
    return bytes([tag << 3]) + encoded


UNKNOWN = frames.nested(15, b"unknown")
ODD_IDS = [
    "no source",
    "other source",
    "long",
    "unknown",
    "shuffled",
    "split",
    "no key",
    "twice",
    "zero",
    "none",
]
ODD_RECORDS = ["id last", "unknown", "two payloads", "bad text", "cut"]
ODD_BATCHES = ["id last", "unknown", "watermark first", "two watermarks", "heartbeat", "after", "bad id"]


@dataclass
class Made:
    """What is drawn."""

    first: int
    partition: int
    keys: bool
    steps: list[int]
    """Of the positions; mostly 1."""
    partitions: dict[int, int]
    """By record, of those that have another one."""
    ids: dict[int, str]
    records: dict[int, str]
    odd: str
    watermark: bool

    def message(self) -> bytes:
        """A ``PushRequest``."""
        records = [frames.nested(2, self._record(i, place)) for i, place in enumerate(self._positions())]
        identity = frames.nested(1, b"\xff" if self.odd == "bad id" else b"b-1")
        mark = frames.nested(3, number(3, self.first)) if self.watermark else b""
        parts = [identity, *records, mark]
        match self.odd:
            case "id last":
                parts = [*records, identity, mark]
            case "unknown":
                parts.insert(2, UNKNOWN)
            case "watermark first":
                parts = [mark, identity, *records]
            case "two watermarks":
                parts.append(frames.nested(3, number(2, 1)))
        message = frames.nested(1, b"".join(parts))
        if self.odd == "heartbeat":
            return frames.nested(2, b"") + message
        return message + UNKNOWN if self.odd == "after" else message

    def _positions(self) -> list[int]:
        places, place = [], self.first
        for step in self.steps:
            places.append(place)
            place = max(place + step, 0)
        return places

    def _record(self, i: int, position: int) -> bytes:
        odd = self.records.get(i, "")
        identity = self._identity(i, position)
        rest = frames.nested(2, b"\xff" if odd == "bad text" else b"kind") + frames.nested(
            4, b"payload %d" % i
        )
        rest += frames.nested(5, frames.nested(1, b"k") + frames.nested(2, b"v"))
        match odd:
            case "id last":
                return rest + identity
            case "unknown":
                return identity + UNKNOWN + rest
            case "two payloads":
                return identity + rest + frames.nested(4, b"last")
            case "cut":
                return (identity + rest)[:-1]
        return identity + rest

    def _identity(self, i: int, position: int) -> bytes:
        odd, partition = self.ids.get(i, ""), self.partitions.get(i, self.partition)
        source = b"" if odd == "no source" else b"other" if odd == "other source" else b"src"
        parts = [frames.nested(1, source)] if source else []
        if partition or odd == "zero":
            parts.append(number(2, partition))
        if position or odd == "zero":
            parts.append(number(3, position, long=odd == "long"))
        if self.keys and odd != "no key":
            parts.append(frames.nested(4, b"key %02d" % (i % 3)))
        if odd == "unknown":
            parts.append(UNKNOWN)
        if odd == "shuffled":
            parts.reverse()
        if odd == "none":
            return b""
        if odd == "split":
            return frames.nested(1, b"".join(parts[:1])) + frames.nested(1, b"".join(parts[1:]))
        whole = frames.nested(1, b"".join(parts))
        return whole * 2 if odd == "twice" else whole


@st.composite
def pushes(draw: st.DrawFn, first: int = 0, *, usual: bool = False) -> Made:
    """Mostly usual batches, with something odd in some, unless all are to be usual."""
    count = draw(st.integers(1, 6))
    some = st.integers(0, count - 1)
    odd = not usual and draw(st.booleans())
    return Made(
        first=first or draw(st.sampled_from([1, 2, 125, 1000, 0])),
        partition=draw(st.sampled_from([0, 3, 300])),
        keys=draw(st.booleans()),
        steps=draw(st.lists(st.sampled_from([1] * 12 + [0, 2, -1]), min_size=count, max_size=count))
        if odd
        else [1] * count,
        partitions=draw(st.dictionaries(some, st.integers(0, 3), max_size=1)) if odd else {},
        ids=draw(st.dictionaries(some, st.sampled_from(ODD_IDS), max_size=2)) if odd else {},
        records=draw(st.dictionaries(some, st.sampled_from(ODD_RECORDS), max_size=2)) if odd else {},
        odd=draw(st.sampled_from([*ODD_BATCHES, "", "", "", "", "", "", ""])) if odd else "",
        watermark=draw(st.booleans()),
    )


@given(pushes())
def test_what_is_read_as_bytes_means_what_the_objects_say(made: Made) -> None:
    data = made.message()
    frame = frames.pushed(data)
    if frame is None:
        return
    event("read as bytes")
    truth = source_pb2.PushRequest.FromString(data).batch
    usual, ids = frame.usual, [one.id for one in truth.records]
    assert [usual.source] * len(ids) == [one.source_id for one in ids]
    assert [usual.partition] * len(ids) == [one.partition for one in ids]
    assert [usual.first + i for i in range(len(ids))] == [one.sequence_number for one in ids]
    assert [common_pb2.Record.FromString(head).id for head in usual.heads] == ids
    call = frames.call("out", [usual.records], usual.batch_id, usual.watermark, b"")
    watermark = truth.watermark if truth.HasField("watermark") else None
    wanted = common_pb2.RecordBatch(batch_id=truth.batch_id, records=truth.records, watermark=watermark)
    assert sink_pb2.WriteBatchRequest.FromString(call).batch == wanted
    acks = source_pb2.PushResponse.FromString(frames.accepted(usual)).ack
    assert acks.batch_id == truth.batch_id
    assert [one.record_id for one in acks.record_acks] == ids
    assert {one.status for one in acks.record_acks} == {source_pb2.ACK_STATUS_ACCEPTED}


@pytest.mark.parametrize("keys", [False, True])
@pytest.mark.parametrize("partition", [0, 3, 300])
@pytest.mark.parametrize("count", [1, 1000])
def test_a_usual_batch_is_read_as_bytes(count: int, partition: int, keys: bool) -> None:
    pushed = batch(range(10_000, 10_000 + count), "b", partition=partition)
    for i, record in enumerate(pushed.records):
        if keys:
            record.id.idempotency_key = b"%016d" % i
    frame = frames.pushed(source_pb2.PushRequest(batch=pushed).SerializeToString())
    assert frame is not None
    assert frame.batch() == pushed
    assert len(frame.usual) == count


def test_a_watermark_in_front_is_not_found_at_the_end_of_the_last_record() -> None:
    """Cut off there, the bytes would be half a record once another batch follows in the same call."""
    mark = frames.nested(3, number(3, 7))
    identity = frames.nested(1, frames.nested(1, b"src") + number(3, 7))
    one = frames.nested(2, identity + frames.nested(4, b"payload" + mark))
    for parts in ([mark, one], [one, mark, one], [mark]):
        assert frames.pushed(frames.nested(1, b"".join(parts))) is None
    assert frames.pushed(frames.nested(1, one + mark)) is not None


def test_a_position_beyond_64_bits_is_not_read_as_bytes() -> None:
    highest = 2**64 - 1

    def one(position: int) -> bytes:
        return frames.nested(2, frames.nested(1, frames.nested(1, b"src") + number(3, position)))

    assert frames.pushed(frames.nested(1, one(highest - 1) + one(highest))) is not None
    assert frames.pushed(frames.nested(1, one(highest) + one(highest + 1))) is None


@given(st.integers(1, 2**40), st.integers(1, 300))
def test_columns_are_the_bytes_of_the_numbers_side_by_side(first: int, count: int) -> None:
    wanted = [frames.varint(first + i) for i in range(count)]
    digits = len(wanted[0])
    if len(wanted[-1]) == digits:
        columns = list(frames.columns(first, count, digits))
        assert [bytes(each) for each in zip(*columns, strict=True)] == wanted


@dataclass
class Behaviour:
    """How the services answer; what becomes of a record depends on the record alone."""

    listing: str
    order: random.Random
    poison: frozenset[int]
    bad: frozenset[int]
    unlisted: frozenset[int]
    changes: dict[int, str]
    kept: list[bytes] = field(default_factory=list)
    """Of the sink: records as they came, in their order."""
    asked: list[bytes] = field(default_factory=list)
    """Of the transform."""

    def write(self, request: sink_pb2.WriteBatchRequest) -> sink_pb2.WriteBatchResponse:
        records = request.batch.records
        if any(one.id.sequence_number in self.poison for one in records):
            raise aborted(grpc.StatusCode.INVALID_ARGUMENT)
        results = []
        for one in records:
            place = one.id.sequence_number
            if self.listing != "none" and place not in self.unlisted:
                ok = place not in self.bad
                # As sinks do: what is not set stays away.
                results.append(
                    sink_pb2.RecordWriteResult(record_id=one.id, success=ok, error="" if ok else "bad")
                )
            if place not in self.bad and place not in self.unlisted:
                self.kept.append(one.SerializeToString(deterministic=True))
        if self.listing == "shuffled":
            self.order.shuffle(results)
        status = sink_pb2.WRITE_STATUS_PENDING if self.listing == "pending" else sink_pb2.WRITE_STATUS_SUCCESS
        if self.unlisted:
            status = sink_pb2.WRITE_STATUS_PARTIAL
        return sink_pb2.WriteBatchResponse(batch_id=request.batch.batch_id, status=status, results=results)

    def process(self, request: transform_pb2.ProcessBatchRequest) -> transform_pb2.ProcessBatchResponse:
        self.asked += [one.SerializeToString(deterministic=True) for one in request.input_batch.records]
        results, kinds = [], transform_pb2
        for one in request.input_batch.records:
            change = self.changes.get(one.id.sequence_number, "")
            result = kinds.TransformResult(original_id=one.id, status=kinds.TRANSFORM_STATUS_SUCCESS)
            if change in ("filtered", "failed"):
                filtered = change == "filtered"
                result.status = kinds.TRANSFORM_STATUS_FILTERED if filtered else kinds.TRANSFORM_STATUS_ERROR
            elif change not in ("nothing", "split to none"):
                result.output_records.add().CopyFrom(one)
                result.output_records[0].payload = one.payload.upper()
            if change in ("two", "split"):
                result.output_records.add(payload=b"second")
            if change in ("split", "split to none"):
                result.status = kinds.TRANSFORM_STATUS_SPLIT
            if change == "filtered, with an output":
                result.status = kinds.TRANSFORM_STATUS_FILTERED
            if change == "renamed":
                result.output_records[0].id.sequence_number += 1000
            if change == "nameless":
                result.output_records[0].ClearField("id")
            if change != "missing":
                results.append(result)
        if self.listing == "shuffled":
            self.order.shuffle(results)
        return kinds.ProcessBatchResponse(results=results)


class Answering(Services):
    """Services that answer in this process."""

    def __init__(self, behaviour: Behaviour) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(Tuning(most_records=8), random.Random(1), monotonic=loop.time)
        self._behaviour = behaviour

    def _channel(self, service: Service) -> Any:
        return Unconnected()

    async def _call(self, method: Any, request: Any, trace: Any) -> Any:
        if str(method).endswith("GetCapabilities"):
            return transform_pb2.Capabilities()
        return sink_pb2.FlushResponse(success=True)

    async def _exchange(self, service: Service, path: str, body: bytes, trace: Any) -> bytes:
        await asyncio.sleep(1)
        if path.endswith("ProcessBatch"):
            request = transform_pb2.ProcessBatchRequest.FromString(body)
            return self._behaviour.process(request).SerializeToString()
        return self._behaviour.write(sink_pb2.WriteBatchRequest.FromString(body)).SerializeToString()


async def deliver(
    messages: list[bytes], behaviour: Behaviour, transforms: Sequence[str], *, fast: bool
) -> list[Any]:
    """Push messages and return the answer to each: an ack, or the error that ends the stream."""
    plane = DataPlane(services=Answering(behaviour), clock=ModelClock(random.Random(1)))
    services = [Service(f"ns/{name}", TRANSFORM, name, "h", 1) for name in transforms]
    services.append(Service("ns/out", SINK, "out", "h", 2))
    config = line(transforms=transforms)
    plane.update(Snapshot(1, [Pipeline("ns/p", config.SerializeToString(), True)], services))
    wire, answers = SourceWire(), list[Any]()
    for place, message in enumerate(messages):
        answers.append(None)
        try:
            if fast:
                pushed = wire.received(message).batch
            else:
                pushed = source_pb2.PushRequest.FromString(message).batch
            assert pushed is not None
            source = pushed.usual.source if isinstance(pushed, frames.Frame) else source_of(pushed)
            ways = plane.ways(source)
        except (DecodeError, ValueError, NoPipeline) as error:
            answers[place] = type(error)
            continue

        def decided(ticket: Ticket, place: int = place, pushed: Any = pushed) -> None:
            answer = wire.ack(pushed, ticket)
            data = answer if isinstance(answer, bytes) else answer.SerializeToString()
            answers[place] = source_pb2.PushResponse.FromString(data)

        plane.take(pushed, source, ways, amount_of(pushed), (), decided)
    while plane.pending:
        await plane.moved()
    counters = plane.report().pipelines["ns/p"].stages
    answers += [(each.processed, each.errors, each.buffered) for each in counters.values()]
    answers += sorted((one.source, one.partition, one.position) for one in plane.progress().offsets)
    await plane.close()
    return answers


NO_TROUBLE: tuple[frozenset[int], frozenset[int], frozenset[int]] = (frozenset(), frozenset(), frozenset())
NUMBERS = st.frozensets(st.integers(1, 12), max_size=2)
ENDS = ["filtered", "nothing", "split to none"]
"""Of a record, by a transform: the batch stays bytes."""
CHANGES = [*ENDS, "failed", "two", "split", "renamed", "nameless", "missing", "filtered, with an output"]


@given(
    st.lists(st.integers(1, 9).flatmap(pushes), min_size=1, max_size=4),
    st.sampled_from(["none", "all", "all", "shuffled", "pending"]),
    st.one_of(st.just(NO_TROUBLE), st.tuples(NUMBERS, NUMBERS, NUMBERS)),
    st.one_of(
        st.just({}),
        st.dictionaries(st.integers(1, 12), st.sampled_from(CHANGES), max_size=3),
        st.dictionaries(st.integers(1, 12), st.sampled_from(ENDS), max_size=12),
    ),
    st.sampled_from([(), ("t",), ("t", "u")]),
)
def test_bytes_and_objects_end_alike(
    mades: list[Made],
    listing: str,
    trouble: tuple[frozenset[int], frozenset[int], frozenset[int]],
    changes: dict[int, str],
    transforms: tuple[str, ...],
) -> None:
    assert_alike(mades, listing, trouble, changes, transforms)


@given(
    st.lists(st.integers(1, 9).flatmap(partial(pushes, usual=True)), min_size=1, max_size=3),
    st.sampled_from(["none", "all"]),
    st.one_of(st.just(NO_TROUBLE), st.tuples(NUMBERS, NUMBERS, NUMBERS)),
    st.dictionaries(st.integers(1, 12), st.sampled_from(ENDS), min_size=1, max_size=8),
    st.sampled_from([("t",), ("t", "u")]),
)
def test_what_is_filtered_ends_alike_as_bytes(
    mades: list[Made],
    listing: str,
    trouble: tuple[frozenset[int], frozenset[int], frozenset[int]],
    changes: dict[int, str],
    transforms: tuple[str, ...],
) -> None:
    assert_alike(mades, listing, trouble, changes, transforms)


def assert_alike(
    mades: list[Made],
    listing: str,
    trouble: tuple[frozenset[int], frozenset[int], frozenset[int]],
    changes: dict[int, str],
    transforms: tuple[str, ...],
) -> None:
    """Bytes and objects: the same answers, counters and checkpoints, and the same at the sink."""
    messages = [made.message() for made in mades if made.odd != "heartbeat"]
    ends = []

    async def both() -> None:
        for fast in (True, False):
            behaviour = Behaviour(listing, random.Random(1), *trouble, changes)
            answers = await deliver(messages, behaviour, transforms, fast=fast)
            # Which records share a call may differ, and with it who overtakes whom when some are sent again.
            order = {} if any(trouble) else by_partition(behaviour.kept)
            ends.append((answers, sorted(behaviour.kept), order, len(behaviour.asked) > 0))

    play(both())
    assert ends[0] == ends[1]


def by_partition(kept: list[bytes]) -> dict[int, list[bytes]]:
    """In the order of the sink."""
    found: dict[int, list[bytes]] = {}
    for data in kept:
        found.setdefault(common_pb2.Record.FromString(data).id.partition, []).append(data)
    return found


def test_kinds_of_stages_have_the_fields_that_calls_rely_on() -> None:
    assert {Kind.TRANSFORM, Kind.SINK} == set(Kind) - {Kind.SOURCE}
    for name, kind in PATHS.items():
        fields = kind.DESCRIPTOR.fields_by_number
        assert fields[1].type == fields[1].TYPE_STRING, name
        assert fields[2].message_type is common_pb2.RecordBatch.DESCRIPTOR, name


def test_an_answer_of_a_transform_that_only_looks_usual_is_read_as_objects() -> None:
    sent = batch([10, 11])
    frame = frames.pushed(source_pb2.PushRequest(batch=sent).SerializeToString())
    assert frame is not None
    one, two = (record.SerializeToString() for record in sent.records)

    def answer(*outputs: tuple[bytes, ...]) -> bytes:
        return b"".join(
            frames.nested(2, head + b"\x10\x01" + b"".join(frames.nested(3, each) for each in given))
            for head, given in zip(frame.usual.heads, outputs, strict=True)
        )

    groups = [frame.usual.heads]
    assert frames.all_transformed(answer((one,), (two,)), groups) == (bytes(frame.usual.records), [range(2)])
    assert frames.all_transformed(answer((), (two,)), groups) == (frames.nested(2, two), [[1]])
    assert frames.all_transformed(answer((), ()), groups) == (b"", [[]])
    for outputs in [
        ((one, two), ()),
        ((two,), (one,)),
        ((two,), ()),
        ((one,), (two + frames.nested(1, number(2, 7)),)),
        ((one,), (two + frames.nested(1, number(3, 7)),)),
        ((one,), (b"",)),
    ]:
        assert frames.all_transformed(answer(*outputs), groups) is None
    filtered = frames.nested(2, frame.usual.heads[0] + b"\x10\x02")
    for wrong in (b"\x10\x00", b"\x10\x03", b"\x22\x00"):
        failed = frames.nested(2, frame.usual.heads[1] + wrong)
        assert frames.all_transformed(filtered + failed, groups) is None
    assert frames.all_transformed(filtered + filtered, groups) is None
