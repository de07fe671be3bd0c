"""Failing services, failing records, and who pays for them."""

from __future__ import annotations

import grpc
import pytest

from etl_operator.router.pb import router_pb2, sink_pb2
from tests.node.data import made
from tests.node.data.made import batch, config, line, record, stage
from tests.node.data.progress import ACCEPTED, patient, under_way
from tests.node.data.services import FakeSink, FakeTransform, upper, world
from tests.processes import until


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
