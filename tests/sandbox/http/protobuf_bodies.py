"""Bytes in protobuf's form that no encoder would write."""

from __future__ import annotations


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def as_message(kind: str, filled: tuple[bytes, bytes, int, int]) -> bytes:
    """Metadata whose managed fields, times and names are odd, as every kind has them."""
    text, data, seconds, nanos = filled
    moment = varint(1 << 3) + varint(seconds % 2**64) + varint(2 << 3) + varint(nanos % 2**64)
    managed = field(1, text) + field(2, b"Update") + field(4, moment) + field(7, field(1, data))
    return field(1, field(1, b"x") + field(8, moment) + field(17, managed) + field(11, field(1, text)))
