"""Records that fail: how often they are tried, and when they become dead letters."""

from __future__ import annotations

import asyncio
from math import log2

import grpc
import pytest

from etl_operator.node.data.call import Tuning
from etl_operator.router.pb import common_pb2, router_pb2, sidecar_pb2
from tests.hanging import HANGS
from tests.node.data import made
from tests.node.data.made import batch, config, line, record, stage
from tests.node.data.progress import ACCEPTED, DUPLICATE, REJECTED, patient, under_way
from tests.node.data.services import FakeSink, FakeTransform, failed, upper, world
from tests.processes import until


async def test_one_poison_record_among_a_thousand_costs_one_dead_letter() -> None:
    sink, lost = FakeSink(), FakeSink("lost")
    sink.poison = {637}
    async with world(sink, lost) as w:
        w.run(patient(1))
        assert await w.source().send(batch(range(1, 1001))) == [ACCEPTED] * 1000
        assert sink.sequences == [n for n in range(1, 1001) if n != 637]
        assert lost.sequences == [637]
        assert sink.calls - 1 <= 2 * log2(1000) + 1
        letter = lost.records[0]
        assert letter.payload == b"src/0/637"
        assert {k: v for k, v in letter.metadata.items() if "failure" not in k and "timestamp" not in k} == {
            "_dlq_error_code": "SINK_FAILED",
            "_dlq_error_message": "poison",
            "_dlq_failed_stage": "out",
            "_dlq_failed_stage_type": "sink",
            "_dlq_retry_count": "1",
            "_dlq_pipeline": "ns/p",
            "_dlq_source": "src",
        }
        report = w.plane.report().pipelines["ns/p"]
        assert (report.dead_letters, report.stages["out"].errors, report.stages["p-dlq"].processed) == (
            1,
            1,
            1,
        )


async def test_attempts_are_counted_per_record_and_only_failed_ones_are_sent_again() -> None:
    sink, lost = FakeSink(), FakeSink("lost")
    sink.bad = {2: True, 3: False}
    async with world(sink, lost) as w:
        w.run(patient(3))
        assert await w.source().send(batch([1, 2, 3, 4])) == [ACCEPTED] * 4
        assert [[r.id.sequence_number for r in call.batch.records] for call in sink.batches] == [
            [1, 2, 3, 4],
            [2],
            [2],
        ]
        retried = {r.id.sequence_number: r.metadata["_dlq_retry_count"] for r in lost.records}
        assert retried == {3: "1", 2: "3"}


async def test_a_record_that_gets_better_is_no_dead_letter_and_keeps_later_batches_waiting() -> None:
    sink, lost = FakeSink(), FakeSink("lost")
    sink.bad = {2: True}
    async with world(sink, lost) as w:
        w.run(line(dlq="lost", max_retries="1000", retry_backoff_ms="1", max_retry_backoff_ms="5"))
        source = w.source()
        await source.push(batch([1, 2, 3]))
        await until(lambda: sink.calls >= 4)
        await source.push(batch([4, 5]))
        sink.bad = {}
        await source.ack()
        await source.ack()
        # Its own batch may overtake it, a later one never.
        assert sink.sequences == [1, 3, 2, 4, 5]
        assert not lost.records


async def test_without_a_dead_letter_queue_the_source_is_told() -> None:
    transform = FakeTransform("t", lambda r: failed(r) if r.id.sequence_number == 2 else upper(r))
    async with world(FakeSink(), transform) as w:
        w.run(line(transforms=["t"]))
        source = w.source()
        await source.push(batch([1, 2, 3]))
        ack = await source.ack()
        assert [each.status for each in ack.record_acks] == [ACCEPTED, REJECTED, ACCEPTED]
        assert ack.record_acks[1].error_message == "stage t: TRANSFORM_FAILED: cannot"
        assert transform.calls == 3
        report = w.plane.report().pipelines["ns/p"]
        assert (report.rejected, report.dead_letters, report.pending) == (1, 0, 0)


async def test_failed_records_without_a_sink_are_held_and_go_where_a_new_plan_says() -> None:
    sink, lost = FakeSink(), FakeSink("lost")
    sink.bad = {2: False}
    async with world(sink, lost) as w:
        w.run(line(enabled="true"))
        source = w.source()
        await source.push(batch([1, 2]))
        await until(lambda: w.plane.report().pipelines["ns/p"].parked == 1)
        assert await w.source().send(batch([3])) == [ACCEPTED]  # Others go on.
        report = w.plane.report().pipelines["ns/p"]
        assert (report.pending, report.parked) == (1, 1)
        w.disable("ns/p", drain=False)
        assert (await source.end())[0] is grpc.StatusCode.UNAVAILABLE
        assert w.plane.report().pipelines["ns/p"].pending == 0
        w.run(line(dlq="lost"))
        assert await w.source().send(batch([1, 2])) == [DUPLICATE, ACCEPTED]
        assert lost.sequences == [2]


async def test_a_dead_letter_sink_that_is_down_blocks_and_loses_nothing() -> None:
    sink, lost = FakeSink(), FakeSink("lost")
    sink.bad = dict.fromkeys(range(1, 1000, 10), False)
    lost.status = grpc.StatusCode.UNAVAILABLE
    async with world(sink, lost) as w:
        w.run(line(dlq="lost"))
        source = w.source()
        await source.push(batch(range(1, 1001)))
        await until(lambda: lost.calls >= 3)
        assert w.plane.report().pipelines["ns/p"].pending == 100
        assert len(sink.records) == 900
        lost.status = None
        assert {each.status for each in (await source.ack()).record_acks} == {ACCEPTED}
        assert lost.sequences == list(range(1, 1000, 10))


async def test_a_dead_letter_that_is_refused_is_rejected() -> None:
    sink, lost = FakeSink(), FakeSink("lost")
    sink.bad, lost.bad = {1: False}, {1: False}
    async with world(sink, lost) as w:
        w.run(line(dlq="lost"))
        assert await w.source().send(batch([1, 2])) == [REJECTED, ACCEPTED]


async def test_a_record_that_no_edge_takes_and_one_without_a_value_fail_visibly() -> None:
    stages = [stage("src", made.SOURCE), stage("out", made.SINK), stage("p-dlq", made.SINK, "lost")]
    pipeline = config("p", stages, [], {"etl.router/dlq.enabled": "true", "etl.router/dlq.sink": "lost"})
    expression = router_pb2.Condition(expression="record.metadata['go'] == 'yes'")
    pipeline.edges.add(from_stage="src", to_stage="out", condition=expression)
    sink, lost = FakeSink(), FakeSink("lost")
    async with world(sink, lost) as w:
        w.run(pipeline)
        records = [record(1, go="yes"), record(2, go="no"), record(3)]
        assert await w.source().send(common_pb2.RecordBatch(records=records)) == [ACCEPTED] * 3
        assert sink.sequences == [1]
        codes = {r.id.sequence_number: r.metadata["_dlq_error_code"] for r in lost.records}
        assert codes == {2: "NO_ROUTE", 3: "VALIDATION_FAILED"}


async def test_a_record_larger_than_a_message_fails_by_itself() -> None:
    sink, lost = FakeSink(), FakeSink("lost")
    async with world(sink, lost, tuning=Tuning(message_bytes=100_000)) as w:
        w.run(line())
        large = batch([1, 2])
        large.records[0].payload = b"x" * 200_000
        assert await w.source().send(large) == [REJECTED, ACCEPTED]


async def test_injected_records_that_fail_are_dead_letters_again() -> None:
    sink, lost = FakeSink(), FakeSink("lost")
    sink.bad = {1: False}
    async with world(sink, lost) as w:
        w.run(line(dlq="lost"))
        await w.source().send(batch([1]))
        again = common_pb2.RecordBatch(records=lost.records)
        request = sidecar_pb2.ReceiveRecordsRequest(pipeline_id="ns/p", stage_id="out", batch=again)
        assert (await w.sidecar.ReceiveRecords(request, timeout=HANGS)).success
        assert len(lost.records) == 2
        sink.bad = {}
        assert (await w.sidecar.ReceiveRecords(request, timeout=HANGS)).success
        assert sink.records[0].metadata == {}


async def test_injected_records_wait_for_a_new_plan_and_meet_it() -> None:
    old, new = FakeSink("old"), FakeSink("new")
    async with under_way(old, new, sequences=[1]) as (w, source):
        w.run(line(sink="new"))
        gone, kept = (
            asyncio.ensure_future(
                w.sidecar.ReceiveRecords(
                    sidecar_pb2.ReceiveRecordsRequest(
                        pipeline_id="ns/p", stage_id=stage_id, batch=batch([2])
                    ),
                    timeout=HANGS,
                )
            )
            for stage_id in ("old", "src")
        )
        await until(lambda: w.received == 2)
        old.release()
        await source.ack()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gone
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert (await kept).success
        assert new.sequences == [2]
        assert w.plane.budget.used == (0, 0)
