"""Payloads of records as JSON, and records as lines of JSON."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from etl_operator.router.pb.common_pb2 import Record, RecordId


class PayloadError(ValueError):
    """A payload that is not JSON, or a value that JSON cannot express."""


def decode(record: Record) -> Any:
    """Decode the payload of a record from JSON.

    :raises PayloadError: the payload is not JSON.
    """
    try:
        return msgspec.json.decode(record.payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PayloadError(f"the payload is not JSON: {error}") from None


def encode(record: Record, value: Any) -> None:
    """Set the payload of a record to a value, encoded as JSON.

    :raises PayloadError: JSON cannot express the value.
    """
    try:
        record.payload = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise PayloadError(f"cannot encode the payload as JSON: {error}") from None


def name_of(record_id: RecordId) -> str:
    """``source/partition/sequence number``, for messages."""
    return f"{record_id.source_id}/{record_id.partition}/{record_id.sequence_number}"


def json_text(payload: bytes) -> str | None:
    """The payload without insignificant white space; ``None`` if it is not JSON."""
    try:
        return msgspec.json.format(payload, indent=-1).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def line_of(record: Record) -> bytes:
    """A record as one line of JSON Lines, with the line break.

    The keys are ``source_id``, ``partition``, ``sequence_number`` and, if they are set, ``idempotency_key``,
    ``record_type``, ``key``, ``metadata``, ``event_time`` (RFC 3339). ``payload`` has the payload if that is
    JSON, otherwise ``payload_base64`` has it. Values that are not UTF-8 are encoded in base64, and the name
    of their key ends with ``_base64``.
    """
    line: dict[str, Any] = {
        "source_id": record.id.source_id,
        "partition": record.id.partition,
        "sequence_number": record.id.sequence_number,
    }
    line |= _bytes("idempotency_key", record.id.idempotency_key)
    if record.record_type:
        line["record_type"] = record.record_type
    line |= _bytes("key", record.key)
    if record.metadata:
        line["metadata"] = dict(record.metadata)
    if record.HasField("event_time"):
        line["event_time"] = record.event_time.ToJsonString()
    text = json_text(record.payload)
    if text is not None:
        line["payload"] = msgspec.Raw(text.encode())
    elif record.payload:
        line["payload_base64"] = base64.b64encode(record.payload).decode()
    return msgspec.json.encode(line) + b"\n"


class LineError(ValueError):
    """A line that :func:`line_of` cannot have written."""


class _Line(msgspec.Struct):
    source_id: str
    partition: int
    sequence_number: int
    idempotency_key: str = ""
    idempotency_key_base64: bytes = b""
    record_type: str = ""
    key: str = ""
    key_base64: bytes = b""
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    event_time: str = ""
    payload: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    payload_base64: bytes = b""


def record_of(line: bytes) -> Record:
    """The record of a line that :func:`line_of` wrote; a JSON payload has the bytes that are in the line.

    :raises LineError: the line is not such a record.
    """
    try:
        found = msgspec.json.decode(line, type=_Line)
        record = Record(
            id=RecordId(
                source_id=found.source_id,
                partition=found.partition,
                sequence_number=found.sequence_number,
                idempotency_key=found.idempotency_key.encode() or found.idempotency_key_base64,
            ),
            record_type=found.record_type,
            key=found.key.encode() or found.key_base64,
            metadata=found.metadata,
            payload=bytes(found.payload) or found.payload_base64,
        )
        if found.event_time:
            record.event_time.FromJsonString(found.event_time)
    except (msgspec.DecodeError, UnicodeError, ValueError) as error:
        raise LineError(f"not a record that the file sink wrote: {error}") from None
    return record


def _bytes(name: str, value: bytes) -> dict[str, str]:
    if not value:
        return {}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}
