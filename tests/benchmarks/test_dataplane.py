"""The load of the data plane's benchmark, its tables and its plot."""

from __future__ import annotations

import json
import re
from typing import Any

import grpc.aio
import pytest

from benchmarks.dataplane import load, wire
from benchmarks.dataplane.measure import COLLECTOR, FILTERED, LINE, TRANSFORMED, Figure
from benchmarks.dataplane.plot import svg
from benchmarks.dataplane.report import Report, as_json, table
from etl_operator.node.data import frames
from etl_operator.router.pb import source_pb2, transform_pb2
from tests.node.data.made import line
from tests.node.data.services import FakeSink, world


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


@pytest.mark.parametrize(("stage", "left"), [(wire.TRANSFORM, 5), (wire.FILTER, 3)])
async def test_the_transform_returns_what_came_or_half_of_it(stage: str, left: int) -> None:
    server, port = await load.serve()
    message = wire.push_requests(1, 5)[0]
    batch = source_pb2.PushRequest.FromString(message).batch
    request = transform_pb2.ProcessBatchRequest(transform_id=stage, input_batch=batch)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: Any = channel.unary_unary("/etl.transform.TransformService/ProcessBatch", None, None)
        data: bytes = await method(request.SerializeToString())
    answer = transform_pb2.ProcessBatchResponse.FromString(data)
    kept = [one for one in batch.records if left == 5 or one.id.sequence_number % 2 == 0]
    assert [one for result in answer.results for one in result.output_records] == kept
    assert len(kept) == left
    frame = frames.pushed(message)
    assert frame is not None
    # The measured router keeps it as bytes.
    assert frames.all_transformed(data, [frame.usual.heads]) is not None
    await server.stop(None)


@pytest.mark.parametrize("rate", [0.0, 10_000.0])
async def test_the_load_sends_all_batches_and_counts_the_answers(rate: float) -> None:
    sink, sent = FakeSink(), load.Sent()
    async with world(sink) as w:
        w.run(line(source=wire.SOURCE))
        await load.push(w.channel, wire.push_requests(20, 10), rate, sent)
    assert sink.sequences == list(range(wire.FIRST, wire.FIRST + 200))
    assert sent.batches == 20
    assert len(sent.seconds) == (20 if rate else 0)


REPORT = Report(
    cpu={
        (LINE, 100): Figure(2.0, 1.0),
        (COLLECTOR, 100): Figure(1.0, 1.0),
        (LINE, 1000): Figure(1.0, 1.0),
        (COLLECTOR, 1000): Figure(1.5, 1.0),
        (TRANSFORMED, 1000): Figure(2.0, 1.0),
        (FILTERED, 1000): Figure(1.5, 1.0),
    },
    half={(LINE, 100): Figure(2.0, 1000.0, 1.0, 50.5), (COLLECTOR, 100): Figure(2.0, 1000.0, 1.0, 60.0)},
    workers={(1, 100): Figure(2.0, 1000.0), (2, 100): Figure(2.1, 1500.0)},
    setting={"CPUs": 2},
)


def test_the_tables_compare_with_the_collector_and_with_the_targets() -> None:
    lines = table(REPORT).splitlines()
    assert "| router | 100 | 2.00 | 500,000 | 0.50× | >= 0.6× | fails |" in lines
    assert "| router | 1000 | 1.00 | 1,000,000 | 1.50× | >= 1.1× | holds |" in lines
    assert "| router, transform | 1000 | 2.00 | 500,000 | 0.75× | >= 400,000 | holds |" in lines
    assert "| router, filter | 1000 | 1.50 | 666,667 | 1.00× |  |  |" in lines
    assert "| router | 100 | 1,000 | 1.00 | 50.50 | <= 50 ms | fails |" in lines
    assert "| collector | 100 | 1,000 | 1.00 | 60.00 |  |  |" in lines
    assert "| 2 | 100 | 1,500 | 1.50× | 2.10 | 1.05× |" in lines
    assert "CPUs: 2" in lines


def test_a_collector_that_cannot_be_built_is_named_with_the_reason() -> None:
    text = table(Report({(LINE, 100): Figure(2.0, 1.0)}, missing="no go on PATH"))
    assert "was skipped: no go on PATH" in text
    assert "holds" not in text


def test_the_figures_are_written_for_programs() -> None:
    document = json.loads(as_json(REPORT))
    assert {key: document["cpu"][0][key] for key in ("program", "batch", "cpu_us")} == {
        "program": LINE,
        "batch": 100,
        "cpu_us": 2.0,
    }
    assert [one["workers"] for one in document["workers"]] == [1, 2]
    assert document["half_load"][0]["p99_ms"] == 50.5


def test_the_longest_bar_of_the_plot_is_the_dearest_program() -> None:
    bars = [float(width) for width in re.findall(r'<rect x=.* width="([0-9.]+)"', svg(REPORT))]
    assert len(bars) == len(REPORT.cpu)
    assert bars[0] == max(bars)
    assert bars[1] == pytest.approx(max(bars) / 2, abs=0.1)
