"""Failing services, failing records, and who pays for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import log2
from typing import Any

import grpc
import pytest

from etl_operator.node.data.call import Tuning
from etl_operator.node.data.credit import Amount, Limits
from etl_operator.node.data.stream import End
from etl_operator.router.pb import common_pb2, router_pb2, sidecar_pb2, sink_pb2
from tests.hanging import HANGS
from tests.node.data import made
from tests.node.data.made import batch, config, line, record, stage
from tests.node.data.services import FakeSink, FakeTransform, Source, World, failed, upper, world
from tests.processes import until

ACCEPTED, DUPLICATE, REJECTED = 1, 2, 3


def patient(attempts: int) -> router_pb2.PipelineConfig:
    """A line with dead letters and hardly any pause."""
    return line(dlq="lost", max_retries=str(attempts), retry_backoff_ms="1", max_retry_backoff_ms="5")


@asynccontextmanager
async def under_way(
    sink: FakeSink, *others: FakeSink, sequences: Sequence[int]
) -> AsyncIterator[tuple[World, Source]]:
    """A pipeline into a sink that holds a batch of these records until it is released."""
    sink.held = asyncio.Event()
    async with world(sink, *others) as w:
        w.run(line(sink=sink.name))
        source = w.source()
        await source.push(batch(sequences))
        await until(lambda: sink.calls == 1)
        yield w, source


async def test_an_outage_is_waited_for_and_makes_no_dead_letter() -> None:
    sink, lost = FakeSink(), FakeSink("lost")
    async with world(sink, lost) as w:
        w.run(patient(1))
        source = w.source()
        for code in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.ABORTED,
            grpc.StatusCode.UNIMPLEMENTED,
            grpc.StatusCode.PERMISSION_DENIED,
        ):
            sink.status, before = code, sink.calls
            await source.push(batch([code.value[0] + 1]))
            await until(lambda before=before: sink.calls >= before + 4)  # type: ignore[misc]
            stages = w.plane.report().pipelines["ns/p"].stages
            assert bool(stages["out"].broken) is (code.value[0] in (7, 12))
            sink.status = None
            assert [each.status for each in (await source.ack()).record_acks] == [ACCEPTED]
        await sink.stop()
        await source.push(batch([100]))
        await until(lambda: w.plane.report().pipelines["ns/p"].pending == 1)
        await sink.start()
        assert [each.status for each in (await source.ack()).record_acks] == [ACCEPTED]
        report = w.plane.report().pipelines["ns/p"]
        assert (lost.calls, report.dead_letters, report.rejected) == (0, 0, 0)
        assert (report.stages["out"].errors, report.stages["out"].broken) == (0, "")
        assert report.stages["out"].unanswered > 15
        assert set(sink.counted().values()) == {1}


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


async def test_results_that_fit_no_record_break_the_stage_until_they_do() -> None:
    transform = FakeTransform("t", lambda r: upper(record(99)))
    async with world(FakeSink(), transform) as w:
        w.run(line(transforms=["t"]))
        source = w.source()
        await source.push(batch([1]))
        await until(lambda: "src/0/99" in w.plane.report().pipelines["ns/p"].stages["t"].broken)
        transform.change = upper
        assert [each.status for each in (await source.ack()).record_acks] == [ACCEPTED]
        assert w.plane.report().pipelines["ns/p"].stages["t"].broken == ""


async def test_what_is_pending_in_a_sink_is_flushed_before_it_is_accepted() -> None:
    sink = FakeSink()
    sink.say = lambda request: sink_pb2.WriteBatchResponse(status=sink_pb2.WRITE_STATUS_PENDING)
    async with world(sink) as w:
        w.run(line())
        assert await w.source().send(batch([1, 2])) == [ACCEPTED, ACCEPTED]
        assert (sink.calls, sink.flushes) == (1, 1)


async def test_a_batch_failed_as_a_whole_by_a_sink_is_halved() -> None:
    sink, lost = FakeSink(), FakeSink("lost")

    def say(request: sink_pb2.WriteBatchRequest) -> sink_pb2.WriteBatchResponse | None:
        numbers = [r.id.sequence_number for r in request.batch.records]
        return sink_pb2.WriteBatchResponse(status=sink_pb2.WRITE_STATUS_FAILED) if 3 in numbers else None

    sink.say = say
    async with world(sink, lost) as w:
        w.run(patient(2))
        assert await w.source().send(batch(range(1, 9))) == [ACCEPTED] * 8
        assert sink.sequences == [1, 2, 4, 5, 6, 7, 8]
        assert lost.sequences == [3]


async def test_a_record_larger_than_a_message_fails_by_itself() -> None:
    sink, lost = FakeSink(), FakeSink("lost")
    async with world(sink, lost, tuning=Tuning(message_bytes=100_000)) as w:
        w.run(line())
        large = batch([1, 2])
        large.records[0].payload = b"x" * 200_000
        assert await w.source().send(large) == [REJECTED, ACCEPTED]


async def test_another_service_takes_what_one_does_not_answer() -> None:
    one, two = FakeSink("one"), FakeSink("two")
    pipeline = config("p", [stage("src", made.SOURCE), stage("out", made.SINK)], [("src", "out")])
    pipeline.stages[1].service_selector.CopyFrom(router_pb2.ServiceSelector(group_id="g"))
    async with world(one, two) as w:
        w.know(one, two, group="g")
        w.run(pipeline)
        source = w.source()
        one.status = grpc.StatusCode.UNAVAILABLE
        for n in range(1, 5):
            assert await source.send(batch([n])) == [ACCEPTED]
        assert two.sequences == [1, 2, 3, 4]
        one.status = None
        for n in range(5, 100):
            await source.send(batch([n]))
        assert len(one.records) > 20


async def test_a_source_is_asked_to_pause_and_to_go_on_and_no_batch_is_dropped() -> None:
    sink = FakeSink()
    sink.held = asyncio.Event()
    limits = Limits(Amount(1000, 10**9), Amount(100, 10**9), Amount(1000, 10**9))
    async with world(sink, limits=limits) as w:
        w.run(line())
        source = w.source()
        for n in range(20):
            await source.push(batch(range(n * 10 + 1, n * 10 + 11), str(n)))
        while not source.signals or not source.signals[-1].pause:
            await source.read()
        await until(lambda: w.plane.budget.used.records == 100)
        assert source.signals[-1].level >= 3
        assert source.signals[-1].resume_after_ms > 0
        sink.held.set()
        acks = [await source.ack() for _ in range(20)]
        assert sorted(int(ack.batch_id) for ack in acks) == list(range(20))
        assert sink.sequences == list(range(1, 201))
        assert (source.signals[-1].pause, source.signals[-1].level, source.signals[-1].resume_after_ms) == (
            False,
            0,
            0,
        )


async def test_a_batch_beyond_the_budget_is_answered() -> None:
    sink = FakeSink()
    async with world(sink, limits=Limits(Amount(10, 10), Amount(10, 10), Amount(10, 10))) as w:
        w.run(line())
        source = w.source()
        assert await source.send(batch(range(1, 101))) == [ACCEPTED] * 100
        assert await source.send(batch(range(101, 201))) == [ACCEPTED] * 100


async def test_a_slow_pipeline_delays_no_other_source() -> None:
    slow, quick = FakeSink("slow"), FakeSink("quick")
    slow.held = asyncio.Event()
    limits = Limits(Amount(100, 10**9), Amount(100, 10**9), Amount(100, 10**9))
    async with world(slow, quick, limits=limits) as w:
        w.run(line("p1", source="a", sink="slow"), line("p2", source="b", sink="quick"))
        stuck = w.source()
        for n in range(20):
            await stuck.push(batch(range(n * 10 + 1, n * 10 + 11), source="a"))
        await until(lambda: w.plane.budget.used.records == 100)
        source = w.source()
        for n in range(10):
            assert await source.send(batch(range(n * 10 + 1, n * 10 + 11), source="b")) == [ACCEPTED] * 10
        assert not slow.records
        slow.held.set()
        for _ in range(20):
            await stuck.ack()


async def test_disabled_with_drain_ends_what_is_under_way_and_takes_nothing_new() -> None:
    sink = FakeSink()
    async with under_way(sink, sequences=[1, 2]) as (w, source):
        w.disable("ns/p", drain=True)
        await source.push(batch([3]))
        other = w.source()
        await other.push(batch([4]))
        assert (await other.end())[0] is grpc.StatusCode.FAILED_PRECONDITION
        report = w.plane.report()
        assert (report.applied, report.pipelines["ns/p"].pending) == (w.applied, 2)
        sink.release()
        assert [each.status for each in (await source.ack()).record_acks] == [ACCEPTED, ACCEPTED]
        assert (await source.end())[0] is grpc.StatusCode.FAILED_PRECONDITION
        assert sink.sequences == [1, 2]
        assert w.plane.report().pipelines["ns/p"].pending == 0


async def test_a_new_plan_waits_for_what_is_under_way_by_the_old_one() -> None:
    old, new = FakeSink("old"), FakeSink("new")
    async with under_way(old, new, sequences=[1, 2]) as (w, source):
        w.run(line(sink="new"))
        await source.push(batch([3]))
        old.release()
        await source.ack()
        await source.ack()
        assert (old.sequences, new.sequences) == ([1, 2], [3])


async def test_a_deleted_pipeline_lets_its_records_go() -> None:
    sink = FakeSink()
    async with under_way(sink, sequences=[1]) as (w, source):
        w.pipelines.clear()
        w.tell()
        assert (await source.end())[0] is grpc.StatusCode.UNAVAILABLE
        assert not w.plane.report().pipelines
        assert w.plane.budget.used == (0, 0)
        sink.release()


async def test_a_stored_pipeline_that_cannot_run_is_shown_and_runs_nothing() -> None:
    async with world(FakeSink()) as w:
        bad = line()
        bad.edges.add(from_stage="out", to_stage="src")
        w.run(bad, line("ns/good"))
        assert "edges[1].from_stage" in w.plane.report().pipelines["ns/p"].problem
        assert await w.source().send(batch([1])) == [ACCEPTED]


async def test_a_source_that_goes_away_leaves_its_records_on_their_way() -> None:
    sink = FakeSink()
    async with under_way(sink, sequences=[1, 2]) as (w, source):
        source.call.cancel()
        await until(lambda: not w.plane.streams)
        sink.release()
        await until(lambda: w.plane.report().pipelines["ns/p"].pending == 0)
        assert await w.source().send(batch([1, 2, 3])) == [DUPLICATE, DUPLICATE, ACCEPTED]


async def test_a_source_that_is_done_gets_all_its_answers() -> None:
    sink = FakeSink()
    sink.held = asyncio.Event()
    async with world(sink) as w:
        w.run(line())
        source = w.source()
        for n in range(1, 4):
            await source.push(batch([n], str(n)))
        await source.call.done_writing()
        await until(lambda: sink.calls == 1)
        sink.held.set()
        assert [(await source.ack()).batch_id for _ in range(3)] == ["1", "2", "3"]
        assert (await source.end())[0] is grpc.StatusCode.OK


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


async def test_leaving_with_a_dead_sink_ends_in_time_and_says_how_many_are_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = FakeSink()
    sink.status = grpc.StatusCode.UNAVAILABLE
    async with world(sink) as w:
        w.run(line())
        source = w.source()
        await source.push(batch([1, 2, 3]))
        await until(lambda: sink.calls >= 2)
        assert await w.plane.leave(0.2) == 3
        assert (await source.end())[0] is grpc.StatusCode.UNAVAILABLE
        assert source.signals[-1].level == 4
        assert "3 records that did not end" in caplog.text
        late = w.source()
        await late.push(batch([4]))
        assert (await late.end())[0] is grpc.StatusCode.UNAVAILABLE


async def test_a_fault_in_the_data_plane_lets_the_records_go(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = FakeSink()
    async with world(sink) as w:
        w.run(line())
        with monkeypatch.context() as patch:
            patch.setattr("etl_operator.node.data.call._request", lambda *_: 1 / 0)
            source = w.source()
            await source.push(batch([1]))
            assert (await source.end())[0] is grpc.StatusCode.UNAVAILABLE
        assert await w.source().send(batch([1])) == [ACCEPTED]


async def test_a_stream_ends_at_its_age_after_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, sink = asyncio.get_running_loop(), FakeSink()
    later, ages = loop.call_later, list[Any]()

    def call_later(delay: float, callback: Any, *arguments: Any, **options: Any) -> Any:
        if arguments and isinstance(arguments[0], End):
            ages.append((delay, callback, arguments[0]))
        return later(delay, callback, *arguments, **options)

    monkeypatch.setattr(loop, "call_later", call_later)
    async with under_way(sink, sequences=[1]) as (_, source):
        [(delay, stop, end)] = ages
        assert 24 * 60 <= delay <= 36 * 60
        stop(end)
        sink.release()
        await source.ack()
        code, text = await source.end()
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "age" in text


async def test_a_source_that_reads_no_answers_is_not_read() -> None:
    sink = FakeSink()
    async with world(sink) as w:
        w.run(line())
        source = w.source()
        many = 3000

        async def push() -> None:
            for n in range(many):
                await source.push(batch(range(n * 100 + 1, n * 100 + 101), str(n)))

        pushing = asyncio.create_task(push())
        await until(lambda: len(sink.records) > 1000)
        seen = -1
        while seen != len(sink.records):  # Until it stands still.
            seen = len(sink.records)
            await asyncio.sleep(0.5)
        assert seen < many * 100
        acks = [await source.ack() for _ in range(many)]
        await pushing
        assert [ack.batch_id for ack in acks] == [str(n) for n in range(many)]


async def test_a_stream_whose_records_are_let_go_ends_without_waiting_for_others() -> None:
    one, two = FakeSink("one"), FakeSink("two")
    one.held = two.held = asyncio.Event()
    async with world(one, two) as w:
        w.run(line("p1", sink="one"), line("p2", sink="two"))
        source = w.source()
        await source.push(batch([1]))
        await until(lambda: one.calls + two.calls == 2)
        w.disable("p1", drain=False)
        two.held.set()
        assert (await source.end())[0] is grpc.StatusCode.UNAVAILABLE


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


async def test_a_full_sink_says_how_much_it_takes() -> None:
    sink = FakeSink()
    sink.capacity = 4
    async with world(sink) as w:
        w.run(line())
        source = w.source()
        assert await source.send(batch(range(1, 11))) == [ACCEPTED] * 10
        assert sink.sequences == list(range(1, 11))
        sink.capacity = 0
        assert await source.send(batch(range(11, 31))) == [ACCEPTED] * 20
        assert len(sink.batches[-1].batch.records) == 20
