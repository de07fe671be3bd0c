"""Batches as bytes: read without an object for each record, and answered the same way. Pure.

Everything here recognises the usual case, and gives up on all else: whoever calls then parses the same bytes
into generated objects, whose meaning is the one that holds. What is recognised has to mean the same in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

from google.protobuf.message import DecodeError

from etl_operator.router.pb import common_pb2, shapes_pb2, sink_pb2, source_pb2, transform_pb2

_BATCH = 0x0A
"""Tag of ``PushRequest.batch``."""
_ACCEPTED = b"\x10" + bytes([source_pb2.ACK_STATUS_ACCEPTED])
_SUCCESS = b"\x10\x01"
"""``RecordWriteResult.success``."""
_PASSED = b"\x10" + bytes([transform_pb2.TRANSFORM_STATUS_SUCCESS]) + b"\x1a"
"""``TransformResult.status`` and the tag of ``output_records``."""
_FILTERED = tuple(
    b"\x10" + bytes([status])
    for status in (
        transform_pb2.TRANSFORM_STATUS_FILTERED,
        transform_pb2.TRANSFORM_STATUS_SUCCESS,
        transform_pb2.TRANSFORM_STATUS_SPLIT,
    )
)
"""``TransformResult.status`` of a record that ends without an output, if nothing follows it."""
_SHORT = 256
"""Bytes of an answer that is parsed without a second thought."""


class Unusual(Exception):
    """Not the usual case: read it as generated objects."""


def varint(number: int) -> bytes:
    """A number as the wire has it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def nested(tag: int, body: bytes) -> bytes:
    """A length-delimited field.

    :param tag: below 16.
    """
    return bytes([tag << 3 | 2]) + varint(len(body)) + body


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of one batch, all of one partition, with rising positions without gaps."""

    source: str
    partition: int
    first: int
    """Position of the first record; above 0."""
    heads: list[bytes]
    """Of each record the field ``id``, which is the first, canonical, and as long as all the others."""
    records: memoryview
    """The fields ``records`` of the ``RecordBatch``, and nothing else."""
    batch_id: str
    watermark: common_pb2.Watermark | None

    def __len__(self) -> int:
        return len(self.heads)


class Frame:
    """What a source pushed.

    :param data: a serialised ``RecordBatch``, in the buffer that came from the wire.
    """

    __slots__ = ("data", "usual")

    def __init__(self, data: memoryview, usual: Batch) -> None:
        self.data = data
        self.usual = usual

    def batch(self) -> common_pb2.RecordBatch:
        """The same with generated objects."""
        return common_pb2.RecordBatch.FromString(self.data)  # type: ignore[arg-type]


def pushed(data: bytes) -> Frame | None:
    """A ``PushRequest`` with a usual batch and nothing else; None for any other."""
    if len(data) < 2 or data[0] != _BATCH:
        return None
    length = shift = 0
    for start in range(1, min(len(data), 6)):
        length |= (data[start] & 0x7F) << shift
        if data[start] < 0x80:
            break
        shift += 7
    if start + 1 + length != len(data):
        return None
    body = memoryview(data)[start + 1 :]
    try:
        return Frame(body, read(body))
    except (Unusual, DecodeError):
        return None


def read(data: memoryview) -> Batch:
    """Read a serialised ``RecordBatch``.

    :raises Unusual: it has to be read as generated objects.
    :raises DecodeError: it cannot be read at all.
    """
    parts = shapes_pb2.RecordBytes.FromString(data)  # type: ignore[arg-type]
    if len(parts.batch_id) > 1 or len(parts.watermark) > 1:
        raise Unusual
    before = nested(1, parts.batch_id[0]) if parts.batch_id else b""
    after = nested(3, parts.watermark[0]) if parts.watermark else b""
    end = len(data) - len(after)
    if data[: len(before)] != before or data[max(end, 0) :] != after:
        raise Unusual
    records = list(parts.records)
    # Bytes that are none of these fields, or not in the shortest form, make a difference in length.
    if len(before) + _framed(records) + len(after) != len(data):
        raise Unusual
    joined = shapes_pb2.JoinedBatch.FromString(data)  # type: ignore[arg-type]
    source, partition, first, heads = _identified(records, joined.records.id)
    return Batch(
        source,
        partition,
        first,
        heads,
        data[len(before) : end],
        joined.batch_id,
        joined.watermark if joined.HasField("watermark") else None,
    )


def _framed(records: Sequence[bytes]) -> int:
    """Bytes of the records as fields of a batch."""
    sizes = list(map(len, records))
    if not sizes:
        raise Unusual
    least, most = len(varint(min(sizes))), len(varint(max(sizes)))
    prefixes = len(sizes) * most if least == most else sum(len(varint(size)) for size in sizes)
    return sum(sizes) + len(sizes) + prefixes


def _identified(records: Sequence[bytes], ids: shapes_pb2.JoinedId) -> tuple[str, int, int, list[bytes]]:
    """Source, partition, first position, and the field ``id`` of each record.

    Every head begins with the tags that are counted: as many values as heads means one of each in every head.
    """
    count = len(records)
    positions, keys, partitions = list(ids.sequence_number), len(ids.idempotency_key), len(ids.partition)
    if len(positions) != count or len(ids.source_id) != count or not positions[0]:
        raise Unusual
    first, source = positions[0], ids.source_id[0]
    if positions != list(range(first, first + count)) or keys not in (0, count) or not source:
        raise Unusual
    if partitions not in (0, count):
        raise Unusual
    partition = ids.partition[0] if partitions else 0
    if bool(partitions) != bool(partition):
        raise Unusual
    digits = len(varint(first))
    if len(varint(positions[-1])) != digits:
        raise Unusual
    prefix = nested(1, source.encode()) + (b"\x10" + varint(partition) if partition else b"") + b"\x18"
    key, key_size = b"", 0
    if keys:
        key_size = len(ids.idempotency_key[0])
        key = b"\x22" + varint(key_size)
    size = len(prefix) + digits + len(key) + key_size
    frame = b"\x0a" + varint(size)
    total = len(frame) + size
    heads = [record[:total] for record in records]
    if not all(map(bytes.startswith, heads, repeat(frame + prefix))):
        raise Unusual
    at = len(frame) + len(prefix) + digits
    if keys and not all(map(bytes.startswith, heads, repeat(key), repeat(at))):
        raise Unusual
    return source, partition, first, heads


# What goes out.


def call(
    stage_id: str,
    bodies: Sequence[bytes | memoryview],
    batch_id: str,
    watermark: common_pb2.Watermark | None,
    rest: bytes,
) -> bytes:
    """A request with the stage's id as field 1 and a ``RecordBatch`` as field 2.

    :param bodies: as in `Batch.records`.
    :param rest: its other fields.
    """
    before = nested(1, batch_id.encode()) if batch_id else b""
    after = nested(3, watermark.SerializeToString()) if watermark is not None else b""
    size = len(before) + sum(map(len, bodies)) + len(after)
    # Copied once.
    return b"".join([nested(1, stage_id.encode()), b"\x12", varint(size), before, *bodies, after, rest])


def accepted(batch: Batch) -> bytes:
    """A ``PushResponse`` that accepts all records of a batch."""
    acks = _each(2, batch.heads, _ACCEPTED)
    ack = (nested(1, batch.batch_id.encode()) if batch.batch_id else b"") + acks
    return nested(1, ack)


def _each(tag: int, heads: Sequence[bytes], rest: bytes) -> bytes:
    """A field for each record: its id as the first field in it, and the rest."""
    start = bytes([tag << 3 | 2]) + varint(len(heads[0]) + len(rest))
    return start + (rest + start).join(heads) + rest


# What comes back.


def all_written(answer: bytes, groups: Iterable[Sequence[bytes]]) -> bool:
    """Whether a ``WriteBatchResponse`` says that all records are written and lasting; if not, parse it.

    :param groups: heads of the records; all of a group have the same length.
    """
    if len(answer) <= _SHORT:
        short = sink_pb2.WriteBatchResponse.FromString(answer)
        if not short.results:
            return short.status == sink_pb2.WRITE_STATUS_SUCCESS
    listed = b"".join(_each(3, heads, _SUCCESS) for heads in groups)
    if not answer.endswith(listed):
        return False
    try:
        rest = sink_pb2.WriteBatchResponse.FromString(answer[: len(answer) - len(listed)])
    except DecodeError:
        return False
    return not rest.results and rest.status != sink_pb2.WRITE_STATUS_PENDING


def all_transformed(
    answer: bytes, groups: Sequence[Sequence[bytes]]
) -> tuple[bytes, list[Sequence[int]]] | None:
    """The outputs as the field ``records`` of a ``RecordBatch``, and the numbers of the records in each group
    that have one, if a ``ProcessBatchResponse`` says of each record, in order, that it is filtered or has one
    output with its id; None if it does not: parse it.

    :param groups: see `all_written`.
    :raises DecodeError: it cannot be parsed.
    """
    results = list(shapes_pb2.ResultBytes.FromString(answer).results)
    if len(results) != sum(map(len, groups)):
        return None
    parts, kept, counted, first = [b""], list[Sequence[int]](), [0, 0, 0, 0], 0
    for heads in groups:
        some = results[first : first + len(heads)]
        first += len(heads)
        numbers = _kept(some, heads)
        if len(numbers) < len(heads):
            some, heads = [some[number] for number in numbers], [heads[number] for number in numbers]
        kept.append(numbers)
        if not heads:
            continue
        outputs = _outputs(some, heads)
        if outputs is None:
            return None
        parts += outputs
        one = _counts(shapes_pb2.JoinedRecord.FromString(heads[0]).id)
        counted = [total + len(heads) * count for total, count in zip(counted, one, strict=True)]
    records = b"\x12".join(parts)
    # A second id in an output would be merged with the first.
    if _counts(shapes_pb2.JoinedBatch.FromString(records).records.id) != counted:
        return None
    return records, kept


def _kept(results: Sequence[bytes], heads: Sequence[bytes]) -> Sequence[int]:
    """Numbers of the results that do not say that the record is filtered."""
    size = len(heads[0]) + len(_FILTERED[0])
    if size not in map(len, results):
        return range(len(heads))
    return [
        number
        for number, (result, head) in enumerate(zip(results, heads, strict=True))
        if len(result) != size or not (result.startswith(head) and result.endswith(_FILTERED))
    ]


def _outputs(results: Sequence[bytes], heads: Sequence[bytes]) -> list[bytes] | None:
    """The output in each result, with its length in front of it, if it begins with the same id."""
    at = len(heads[0]) + len(_PASSED)
    sizes = list(map(len, results))
    middles = {size: _PASSED + _size_within(size - at) for size in set(sizes)}
    starts = [head + middles[size] + head for head, size in zip(heads, sizes, strict=True)]
    if not all(map(bytes.startswith, results, starts)):
        return None
    return [result[at:] for result in results]


def _counts(ids: shapes_pb2.JoinedId) -> list[int]:
    return [len(ids.source_id), len(ids.partition), len(ids.sequence_number), len(ids.idempotency_key)]


def _size_within(left: int) -> bytes:
    """The length prefix of a message that fills ``left`` bytes together with it.

    Where no length does, something that no message contains at that place.
    """
    for digits in range(1, 6):
        size = varint(max(left - digits, 0))
        if len(size) == digits and left > digits:
            return size
    return b"\xff" * 11
