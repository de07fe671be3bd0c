"""The load of the data plane's benchmark, and its table."""

from __future__ import annotations

from typing import Any

import grpc.aio

from benchmarks.dataplane import load, wire
from benchmarks.dataplane.__main__ import COLLECTOR, LINE, TRANSFORM, Figure, table
from etl_operator.node.data import frames
from etl_operator.router.pb import source_pb2, transform_pb2


def test_pushed_records_have_281_bytes_and_are_usual() -> None:
    messages = wire.push_requests(3, 100)
    batches = [source_pb2.PushRequest.FromString(message).batch for message in messages]
    positions = [record.id.sequence_number for batch in batches for record in batch.records]
    assert positions == list(range(wire.FIRST, wire.FIRST + 300))
    for message, batch in zip(messages, batches, strict=True):
        assert frames.pushed(message) is not None
        sizes = {len(frames.nested(2, record.SerializeToString())) for record in batch.records}
        assert sizes == {281}


def test_a_log_record_is_as_large() -> None:
    one, two = (len(wire.export_requests(1, count)[0]) for count in (100, 101))
    assert two - one == 281


async def test_the_transform_returns_what_came() -> None:
    server, port = await load.serve()
    message = wire.push_requests(1, 5)[0]
    batch = source_pb2.PushRequest.FromString(message).batch
    request = transform_pb2.ProcessBatchRequest(input_batch=batch)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: Any = channel.unary_unary("/etl.transform.TransformService/ProcessBatch", None, None)
        answer = transform_pb2.ProcessBatchResponse.FromString(await method(request.SerializeToString()))
    assert [list(result.output_records) for result in answer.results] == [[one] for one in batch.records]
    await server.stop(None)


def test_the_table_compares_with_the_collector_and_with_the_targets() -> None:
    figures = {
        (LINE, 100): Figure(2.0, 1.0),
        (COLLECTOR, 100): Figure(1.0, 1.0),
        (LINE, 1000): Figure(1.0, 1.0),
        (COLLECTOR, 1000): Figure(1.5, 1.0),
        (TRANSFORM, 1000): Figure(2.0, 1.0),
    }
    lines = table(figures, "").splitlines()
    assert "| router | 100 | 2.00 | 500,000 | 0.50× | >= 0.6× | fails |" in lines
    assert "| router | 1000 | 1.00 | 1,000,000 | 1.50× | >= 1.1× | holds |" in lines
    assert "| router, transform | 1000 | 2.00 | 500,000 | 0.75× | >= 400,000 | holds |" in lines


def test_a_collector_that_cannot_be_built_is_named_with_the_reason() -> None:
    text = table({(LINE, 100): Figure(2.0, 1.0)}, "no go on PATH")
    assert "was skipped: no go on PATH" in text
    assert "holds" not in text
