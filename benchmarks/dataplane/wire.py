"""Prepared messages: records of 281 bytes for a router, log records of about the same size for a collector.

Written field by field: the load generator must cost as little as possible, and has no generated code of
OpenTelemetry's protocol.
"""

from __future__ import annotations

import random

SOURCE = "bench-source"
TRANSFORM, FILTER = "transform", "filter"
"""Ids of stages: the one returns every record as it is, the other one drops those with odd positions."""
PARTITION = 3
"""Of the first connection; each of the others has the next one. One byte, so that records have one size."""
PAYLOAD, LOG_BODY = 189, 214
"""Random bytes of a record and of a log record, so that both take 281 bytes."""
FIRST = 10_000_000
"""Position of the first record: eight digits, so that every position has the same length."""


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, body: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(body)) + body


def numeric(number: int, value: int) -> bytes:
    """A varint field."""
    return varint(number << 3) + varint(value)


def records(first: int, count: int, partition: int = PARTITION) -> bytes:
    """The ``records`` of a ``RecordBatch``."""
    chance = random.Random(first)  # noqa: S311 - payloads
    start = field(1, SOURCE.encode()) + numeric(2, partition)
    entry = field(1, b"region") + field(2, b"eu-central")
    rest = (
        field(2, b"order.created")
        + field(3, b"customer-42")
        + field(4, chance.randbytes(PAYLOAD))
        + field(5, entry)
        + field(6, numeric(1, 1_780_000_000) + numeric(2, 123_456_789))
    )
    return b"".join(field(2, field(1, start + numeric(3, first + number)) + rest) for number in range(count))


def push_requests(batches: int, size: int, partition: int = PARTITION) -> list[bytes]:
    """``PushRequest`` messages with rising positions."""
    return [
        field(1, field(1, b"batch-%08d" % number) + records(FIRST + number * size, size, partition))
        for number in range(batches)
    ]


def export_requests(batches: int, size: int, seed: int = 0) -> list[bytes]:
    """``ExportLogsServiceRequest`` messages."""
    made = []
    for number in range(batches):
        chance = random.Random(seed << 32 | number)  # noqa: S311 - payloads
        body = field(5, field(7, chance.randbytes(LOG_BODY)))
        attribute = field(6, field(1, b"region") + field(2, field(1, b"eu-central")))
        kind = field(6, field(1, b"type") + field(2, field(1, b"order.created")))
        stamp = b"\x09" + (1_780_000_000_123_456_789).to_bytes(8, "little")
        record = field(2, stamp + body + attribute + kind)
        made.append(field(1, field(2, record * size)))
    return made
