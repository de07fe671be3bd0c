"""Batches as bytes: read without an object for each record, and answered the same way. Pure.

Everything here recognises the usual case, and gives up on all else: whoever calls then parses the same bytes
into generated objects, whose meaning is the one that holds. What is recognised has to mean the same in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

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
_HIGHEST = 2**64 - 1
"""Position."""
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
    joined = shapes_pb2.JoinedBatch.FromString(data)  # type: ignore[arg-type]
    watermark = joined.watermark if joined.HasField("watermark") else None
    before = nested(1, joined.batch_id.encode()) if joined.batch_id else b""
    after = nested(3, watermark.SerializeToString()) if watermark is not None else b""
    end = len(data) - len(after)
    if end < len(before) or data[: len(before)] != before or data[end:] != after:
        raise Unusual
    between = data[len(before) : end]
    parts = shapes_pb2.RecordBytes.FromString(between)  # type: ignore[arg-type]
    if parts.batch_id or parts.watermark or len(UnknownFieldSet(parts)):
        raise Unusual
    records, ids = parts.records[:], joined.records.id
    # As many ids as records, of which each begins with one: no record has a second one.
    if not records or len(ids) != len(records):
        raise Unusual
    one = common_pb2.RecordId.FromString(ids[0])
    heads = _heads(records, one)
    source, first = one.source_id, one.sequence_number
    return Batch(source, one.partition, first, heads, between, joined.batch_id, watermark)


def _heads(records: Sequence[bytes], one: common_pb2.RecordId) -> list[bytes]:
    """The field ``id`` of each record.

    :param one: of the first record.
    """
    count, first, partition = len(records), one.sequence_number, one.partition
    last, digits = first + count - 1, len(varint(first))
    if not one.source_id or not first or last > _HIGHEST or len(varint(last)) != digits:
        raise Unusual
    prefix = nested(1, one.source_id.encode()) + (b"\x10" + varint(partition) if partition else b"") + b"\x18"
    key_size = len(one.idempotency_key)
    key = b"\x22" + varint(key_size) if key_size else b""
    prefix = b"\x0a" + varint(len(prefix) + digits + len(key) + key_size) + prefix
    least = prefix + bytes(digits) + key + bytes(key_size)
    # Made once: a slice made for each record costs half as much as the copy.
    head = slice(len(least))
    heads = [record[head] for record in records]
    found = b"".join(heads)
    if len(found) != len(least) * count:
        raise Unusual
    # What the heads must be, written column by column: a loop over records costs more than all the rest.
    wanted = bytearray(least * count)
    for at, column in enumerate(columns(first, count, digits), len(prefix)):
        wanted[at :: len(least)] = column
    for at in range(len(least) - key_size, len(least)):
        wanted[at :: len(least)] = found[at :: len(least)]
    if wanted != found:
        raise Unusual
    return heads


def columns(first: int, count: int, digits: int) -> Iterator[bytes]:
    """Of ``count`` numbers from ``first`` on, all with so many bytes as varints: the first bytes, the second
    bytes, and so on."""
    for place in range(digits):
        more, shift = 0x80 if place < digits - 1 else 0, 7 * place
        if not place:
            cycle = bytes(range(more, more + 0x80)) * (count // 0x80 + 2)
            yield cycle[first & 0x7F :][:count]
            continue
        starts = range(first >> shift, (first + count - 1 >> shift) + 1)
        yield b"".join(
            bytes([value & 0x7F | more])
            * (min(first + count, value + 1 << shift) - max(first, value << shift))
            for value in starts
        )


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
    results = shapes_pb2.ResultBytes.FromString(answer).results[:]
    if len(results) != sum(map(len, groups)):
        return None
    parts, kept, first = [b""], list[Sequence[int]](), 0
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
    records = b"\x12".join(parts)
    # A second id in an output would be merged with the first.
    ids = shapes_pb2.JoinedBatch.FromString(records).records.id
    return (records, kept) if len(ids) == len(parts) - 1 else None


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
    output = slice(at, None)
    return [result[output] for result in results]


def _size_within(left: int) -> bytes:
    """The length prefix of a message that fills ``left`` bytes together with it.

    Where no length does, something that no message contains at that place.
    """
    for digits in range(1, 6):
        size = varint(max(left - digits, 0))
        if len(size) == digits and left > digits:
            return size
    return b"\xff" * 11
