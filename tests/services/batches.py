"""Records and requests for the tests of transforms and sinks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from etl_operator.router.pb import common_pb2, sink_pb2, transform_pb2


def record(number: int, payload: Any = None, **fields: Any) -> common_pb2.Record:
    """One with a JSON payload."""
    made = common_pb2.Record(
        record_type=fields.pop("record_type", "event"),
        payload=payload if isinstance(payload, bytes) else json.dumps(payload).encode(),
        **fields,
    )
    made.id.source_id = "ns/events"
    made.id.sequence_number = number
    return made


def batch(records: Iterable[common_pb2.Record], batch_id: str = "b") -> common_pb2.RecordBatch:
    return common_pb2.RecordBatch(batch_id=batch_id, records=records)


def process(records: Sequence[common_pb2.Record]) -> transform_pb2.ProcessBatchRequest:
    """A call to a transform."""
    return transform_pb2.ProcessBatchRequest(transform_id="t", input_batch=batch(records))


def write(records: Iterable[common_pb2.Record], batch_id: str = "b") -> sink_pb2.WriteBatchRequest:
    """A call to a sink."""
    options = sink_pb2.WriteOptions(
        require_ack=True, guarantee=sink_pb2.DELIVERY_GUARANTEE_AT_LEAST_ONCE, timeout_ms=600_000
    )
    return sink_pb2.WriteBatchRequest(sink_id="s", batch=batch(records, batch_id), options=options)
