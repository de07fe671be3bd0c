"""Records from a source through transforms to sinks, over real gRPC."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from etl_operator.node.data.chunk import Packed
from etl_operator.router.pb import common_pb2, router_pb2, sidecar_pb2, sink_pb2, source_pb2, transform_pb2
from tests.hanging import HANGS
from tests.node.data import made
from tests.node.data.made import batch, config, line, record, stage
from tests.node.data.services import FakeSink, FakeTransform, filtered, upper, world
from tests.processes import until

ACCEPTED, DUPLICATE, REJECTED = 1, 2, 3


async def test_records_arrive_in_order_and_are_accepted_after_the_sink_has_them() -> None:
    sink, transform = FakeSink(), FakeTransform("t")
    sink.held = asyncio.Event()
    async with world(sink, transform) as w:
        w.run(line(transforms=["t"]))
        source = w.source()
        await source.push(batch(range(1, 101), "b1"))
        await until(lambda: sink.calls == 1)
        assert w.plane.report().pipelines["ns/p"].pending == 100
        assert w.plane.budget.used.records == 100
        sink.held.set()
        ack = await source.ack()
        assert ack.batch_id == "b1"
        assert [each.record_id.sequence_number for each in ack.record_acks] == list(range(1, 101))
        assert {each.status for each in ack.record_acks} == {ACCEPTED}
        assert sink.sequences == list(range(1, 101))
        assert sink.records[0].payload == b"SRC/0/1"
        assert w.plane.budget.used == (0, 0)
        request = sink.batches[0]
        assert (request.sink_id, request.batch.batch_id) == ("out", "b1")
        assert request.options.require_ack
        assert request.options.guarantee == sink_pb2.DELIVERY_GUARANTEE_AT_LEAST_ONCE
        assert request.options.timeout_ms == 30_000
        stages = w.plane.report().pipelines["ns/p"].stages
        assert {name: (c.processed, c.buffered) for name, c in stages.items()} == {
            "src": (100, 0),
            "t": (100, 0),
            "out": (100, 0),
        }
        assert stages["out"].average_ms > 0


async def test_a_usual_batch_stays_bytes_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to 1000 records and 2 MiB are one call, and nothing makes objects of them."""
    monkeypatch.setattr(Packed, "records", property(no_objects))
    sink = FakeSink()
    async with world(sink) as w:
        w.run(line())
        usual = batch(range(1001, 2001), payload=bytes(1500))
        assert await w.source().send(usual) == [ACCEPTED] * 1000
        assert sink.calls == 1


def no_objects(_: Packed) -> list[common_pb2.Record]:
    raise AssertionError("a batch was parsed")


@pytest.mark.parametrize("keys", [False, True])
async def test_a_usual_batch_that_a_transform_changes_and_filters_stays_bytes(
    monkeypatch: pytest.MonkeyPatch, keys: bool
) -> None:
    """Also behind a second transform, where two batches are in one call, and where a sink lists results."""

    def first(one: common_pb2.Record) -> transform_pb2.TransformResult:
        if one.id.sequence_number < 1100:
            return filtered(one)
        return filtered(one) if one.id.sequence_number % 3 else upper(one)

    def second(one: common_pb2.Record) -> transform_pb2.TransformResult:
        result = upper(one)
        if one.id.sequence_number % 2:
            result.ClearField("output_records")
        return result

    def listing(request: sink_pb2.WriteBatchRequest) -> sink_pb2.WriteBatchResponse:
        sink.records += request.batch.records
        results = [
            sink_pb2.RecordWriteResult(record_id=one.id, success=True) for one in request.batch.records
        ]
        return sink_pb2.WriteBatchResponse(status=sink_pb2.WRITE_STATUS_SUCCESS, results=results)

    monkeypatch.setattr(Packed, "records", property(no_objects))
    sink, transforms = FakeSink(), [FakeTransform("t", first), FakeTransform("u", second)]
    sink.say = listing
    sink.held = asyncio.Event()
    async with world(sink, *transforms) as w:
        w.run(line(transforms=["t", "u"]))
        source = w.source()
        for start in range(1000, 1400, 100):
            usual = batch(range(start, start + 100), f"b{start}")
            for one in usual.records if keys else ():
                one.id.idempotency_key = b"key %d" % one.id.sequence_number
            await source.push(usual)
        await until(lambda: w.plane.report().pipelines["ns/p"].stages["u"].processed == 100)
        sink.held.set()
        acks = [await source.ack() for _ in range(4)]
        # All of the first batch is filtered, so its answer does not wait for the sink.
        assert [ack.batch_id for ack in acks] == ["b1000", "b1100", "b1200", "b1300"]
        for start, ack in zip(range(1000, 1400, 100), acks, strict=True):
            numbers = [each.record_id.sequence_number for each in ack.record_acks]
            assert numbers == list(range(start, start + 100))
            assert {each.status for each in ack.record_acks} == {ACCEPTED}
        assert sink.sequences == [n for n in range(1100, 1400) if n % 6 == 0]
        assert sink.calls < 4
        assert w.plane.budget.used == (0, 0)
        stages = w.plane.report().pipelines["ns/p"].stages
        assert [(c.processed, c.errors, c.buffered) for c in stages.values()] == [
            (400, 0, 0),
            (400, 0, 0),
            (100, 0, 0),
            (50, 0, 0),
        ]
        assert [each.position for each in w.plane.progress().offsets] == [1399]


async def test_what_is_done_is_a_duplicate_and_what_is_under_way_is_joined() -> None:
    sink = FakeSink()
    async with world(sink) as w:
        w.run(line())
        source = w.source()
        assert await source.send(batch([1, 2, 3])) == [ACCEPTED] * 3
        assert await source.send(batch([2, 3, 4])) == [DUPLICATE, DUPLICATE, ACCEPTED]
        assert sink.sequences == [1, 2, 3, 4]
        sink.held = asyncio.Event()
        await source.push(batch([5], "first"))
        await until(lambda: sink.calls == 3)
        again = w.source()
        await again.push(batch([5, 6], "again"))
        await until(lambda: w.plane.report().pipelines["ns/p"].pending == 2)
        sink.held.set()
        assert [each.status for each in (await again.ack()).record_acks] == [ACCEPTED, ACCEPTED]
        assert [each.status for each in (await source.ack()).record_acks] == [ACCEPTED]
        assert sink.sequences == [1, 2, 3, 4, 5, 6]


async def test_records_without_numbers_are_delivered_each_time() -> None:
    sink = FakeSink()
    async with world(sink) as w:
        w.run(line())
        source = w.source()
        assert await source.send(batch([0, 0])) == [ACCEPTED, ACCEPTED]
        assert await source.send(batch([0])) == [ACCEPTED]
        assert len(sink.records) == 3
        assert not w.plane.progress().offsets


async def test_filtered_split_and_routed() -> None:
    a, b, every = FakeSink("a"), FakeSink("b"), FakeSink("every")

    def change(one: common_pb2.Record) -> transform_pb2.TransformResult:
        if one.id.sequence_number % 2:
            return filtered(one)
        result = upper(one)
        result.status = transform_pb2.TRANSFORM_STATUS_SPLIT
        result.output_records.add(record_type="child")
        return result

    transform = FakeTransform("t", change)
    stages = [stage("src", made.SOURCE), stage("t", made.TRANSFORM)]
    stages += [stage(name, made.SINK) for name in ("a", "b", "every")]
    pipeline = config("p", stages, [("src", "t"), ("t", "every")])
    child = router_pb2.Condition(record_type="child")
    pipeline.edges.add(from_stage="t", to_stage="a", condition=child)
    pipeline.edges.add(
        from_stage="t", to_stage="b", condition=router_pb2.Condition(expression="size(record.payload) > 0")
    )
    pipeline.metadata["etl.router/config.t.mode"] = "fast"
    async with world(a, b, every, transform) as w:
        w.run(pipeline)
        assert await w.source().send(batch([1, 2, 3, 4])) == [ACCEPTED] * 4
        assert [r.id.idempotency_key for r in a.records] == [b"src/0/2#1", b"src/0/4#1"]
        assert b.sequences == [2, 4]
        assert every.sequences == [2, 2, 4, 4]
        assert transform.configs == [{"mode": "fast"}]
        report = w.plane.report().pipelines["p"]
        assert report.stages["t"].processed == 4
        assert report.pending == 0


async def test_all_pipelines_of_a_source_decide() -> None:
    one, two = FakeSink("one"), FakeSink("two")
    two.held = asyncio.Event()
    async with world(one, two) as w:
        w.run(line("p1", sink="one"), line("p2", sink="two"))
        source = w.source()
        await source.push(batch([1, 2]))
        await until(lambda: one.sequences == [1, 2] and two.calls == 1)
        assert w.plane.budget.used.records == 2
        assert await w.source(etl_pipeline="p1").send(batch([1, 2, 3])) == [DUPLICATE, DUPLICATE, ACCEPTED]
        two.held.set()
        assert [each.status for each in (await source.ack()).record_acks] == [ACCEPTED] * 2
        assert (one.sequences, two.sequences) == ([1, 2, 3], [1, 2])


@pytest.mark.parametrize(
    ("pushed", "header", "code", "words"),
    [
        (
            batch([1], source="stranger"),
            "",
            "FAILED_PRECONDITION",
            "no pipeline selects the source 'stranger'",
        ),
        (batch([1]), "ns/none", "FAILED_PRECONDITION", "pipeline 'ns/none' not found"),
        (batch([1]), "ns/off", "FAILED_PRECONDITION", "disabled: ns/off"),
        (batch([1], source=""), "", "INVALID_ARGUMENT", "batch.records[0].id.source_id: is required"),
        (
            common_pb2.RecordBatch(records=[record(1), record(2, source="other")]),
            "",
            "INVALID_ARGUMENT",
            "batch.records[1].id.source_id: 'other' is not 'src'",
        ),
    ],
)
async def test_a_batch_that_nobody_takes_ends_the_stream_unanswered(
    pushed: common_pb2.RecordBatch, header: str, code: str, words: str
) -> None:
    sink = FakeSink()
    async with world(sink) as w:
        w.run(line(), line("ns/off"))
        w.disable("ns/off", drain=True)
        source = w.source(etl_pipeline=header) if header else w.source()
        assert await source.send(batch([1], source="src")) == [ACCEPTED] if not header else True
        await source.push(pushed)
        found, text = await source.end()
        assert (found.name, words in text) == (code, True), text


async def test_a_node_that_knows_no_service_yet_asks_to_come_again() -> None:
    async with world() as w:
        w.run(line())
        source = w.source()
        await source.push(batch([1], source="ns/src-1"))
        assert (await source.end())[0] is grpc.StatusCode.UNAVAILABLE


async def test_a_source_calls_itself_by_the_id_or_the_name_of_its_service() -> None:
    sink, source = FakeSink(), FakeSink("src")
    source.kind = common_pb2.SERVICE_TYPE_SOURCE
    async with world(sink, source) as w:
        w.run(line())
        assert await w.source().send(batch([1], source="ns/src")) == [ACCEPTED]
        assert await w.source().send(batch([1], source="src")) == [ACCEPTED]


async def test_trace_context_and_watermark_go_along() -> None:
    sink, transform = FakeSink(), FakeTransform("t")
    async with world(sink, transform) as w:
        w.run(line(transforms=["t"]))
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        source = w.source(traceparent=trace, tracestate="a=b", other="no")
        pushed = batch([1, 2])
        pushed.watermark.position = 2
        pushed.watermark.timestamp.seconds = 7
        await source.send(pushed)
        for seen in (sink.metadata[0], transform.metadata[0]):
            assert (seen["traceparent"], seen["tracestate"]) == (trace, "a=b")
            assert "other" not in seen
        assert sink.batches[0].batch.watermark.position == 2
        progress = w.plane.progress()
        assert [(o.pipeline_id, o.source, o.partition, o.position) for o in progress.offsets] == [
            ("ns/p", "src", 0, 2)
        ]
        assert [(m.source, m.position, m.seconds) for m in progress.watermarks] == [("src", 2, 7)]
        w.plane.confirm(progress)
        assert w.plane.progress() == type(progress)()


async def test_partitions_are_split_and_the_answer_joined() -> None:
    sink = FakeSink()
    async with world(sink) as w:
        w.run(line(lanes=3))
        mixed = common_pb2.RecordBatch(records=[record(n, partition=n % 4) for n in range(1, 41)])
        assert await w.source().send(mixed) == [ACCEPTED] * 40
        for request in sink.batches:
            assert len({r.id.partition for r in request.batch.records}) == 1
        for partition in range(4):
            assert [n for n in sink.sequences if n % 4 == partition] == [
                n for n in range(1, 41) if n % 4 == partition
            ]


async def test_credits_and_heartbeats() -> None:
    async with world(FakeSink()) as w:
        w.run(line())
        source = w.source()
        await source.beat()
        await source.read()
        assert source.grants[0].credits == 10_000
        assert source.grants[0].expires_at_ms > 1e12
        await source.send(batch([1]))
        await source.beat()
        await source.read()
        assert w.plane.budget.granted() == 10_000
        answer = await w.router.RequestCredits(
            source_pb2.CreditRequest(source_id="src", pipeline_id="ns/p", requested_credits=10**9)
        )
        assert (answer.granted_credits, answer.total_available) == (80_000, 0)
        assert (answer.expires_in_ms, answer.current_pressure) == (30_000, 0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await w.router.RequestCredits(source_pb2.CreditRequest(source_id="src", pipeline_id="no"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await w.router.RequestCredits(source_pb2.CreditRequest())
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def init(pipeline: str) -> sidecar_pb2.PushRecordsRequest:
    return sidecar_pb2.PushRecordsRequest(init=sidecar_pb2.PushInit(source_id="src", pipeline_id=pipeline))


async def test_the_sidecar_protocol_names_its_pipeline_and_can_say_retry() -> None:
    sink = FakeSink()
    async with world(sink) as w:
        w.run(line())
        heartbeat = sidecar_pb2.PushRecordsRequest(heartbeat=sidecar_pb2.PushHeartbeat())
        call = w.sidecar.PushRecords()
        await call.write(init("ns/p"))
        await call.write(heartbeat)
        assert (await call.read()).credits.granted == 10_000
        await call.write(sidecar_pb2.PushRecordsRequest(batch=batch([1, 2], "b")))
        ack = (await call.read()).ack
        assert (ack.batch_id, ack.success) == ("b", True)
        assert [each.status for each in ack.record_acks] == [sidecar_pb2.ACK_STATUS_SUCCESS] * 2
        sink.held = asyncio.Event()
        await call.write(sidecar_pb2.PushRecordsRequest(batch=batch([3])))
        await until(lambda: sink.calls == 2)
        w.disable("ns/p", drain=False)
        ack = (await call.read()).ack
        assert not ack.success
        assert [each.status for each in ack.record_acks] == [sidecar_pb2.ACK_STATUS_RETRY]
        await call.write(sidecar_pb2.PushRecordsRequest(batch=batch([3])))
        assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION
        sink.held.set()


@pytest.mark.parametrize("first", [sidecar_pb2.PushRecordsRequest(), init("")])
async def test_the_sidecar_protocol_begins_with_a_pipeline(first: sidecar_pb2.PushRecordsRequest) -> None:
    async with world(FakeSink()) as w:
        call = w.sidecar.PushRecords()
        await call.write(first)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_records_are_injected_at_a_stage() -> None:
    sink, transform = FakeSink(), FakeTransform("t")
    async with world(sink, transform) as w:
        w.run(line(transforms=["t"]))
        await w.source().send(batch([1]))
        again = batch([1])
        again.records[0].metadata["_dlq_error_code"] = "SINK_FAILED"
        again.records[0].metadata["kept"] = "yes"
        request = sidecar_pb2.ReceiveRecordsRequest(pipeline_id="ns/p", stage_id="out", batch=again)
        answer = await w.sidecar.ReceiveRecords(request, timeout=HANGS)
        assert (answer.success, [each.status for each in answer.record_acks]) == (True, [1])
        assert transform.calls == 1
        assert dict(sink.records[1].metadata) == {"kept": "yes"}
        for wrong, code in (
            (sidecar_pb2.ReceiveRecordsRequest(pipeline_id="no"), grpc.StatusCode.NOT_FOUND),
            (sidecar_pb2.ReceiveRecordsRequest(pipeline_id="ns/p", stage_id="no"), grpc.StatusCode.NOT_FOUND),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await w.sidecar.ReceiveRecords(wrong)
            assert caught.value.code() is code
        w.disable("ns/p", drain=True)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await w.sidecar.ReceiveRecords(request)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_batches_that_wait_go_in_one_call_within_the_limits_of_a_service() -> None:
    sink, transform = FakeSink(), FakeTransform("t")
    transform.most = 7
    async with world(sink, transform) as w:
        w.run(line(transforms=["t"]))
        source = w.source()
        sink.held = asyncio.Event()
        for n in range(1, 31):
            await source.push(batch([n]))
        await until(lambda: w.plane.report().pipelines["ns/p"].stages["t"].processed == 30)
        sink.held.set()
        for _ in range(30):
            await source.ack()
        assert sink.sequences == list(range(1, 31))
        assert sink.calls < 30
        assert max(transform.sizes) <= 7
        assert await source.send(batch(range(100, 120))) == [ACCEPTED] * 20
        assert transform.sizes[-3:] == [7, 7, 6]
        assert transform.asked == 1


async def test_services_that_serve_streams_only() -> None:
    sink, transform, lost = FakeSink(), FakeTransform("t"), FakeSink("lost")
    sink.streaming = transform.streaming = True
    sink.bad = {4: False}
    pipeline = line(transforms=["t"], dlq="lost")
    pipeline.metadata["etl.router/config.t.mode"] = "fast"
    async with world(sink, transform, lost) as w:
        w.run(pipeline)
        assert await w.source().send(batch(range(1, 10))) == [ACCEPTED] * 9
        assert sink.sequences == [1, 2, 3, 5, 6, 7, 8, 9]
        assert sink.records[0].payload == b"SRC/0/1"
        assert lost.sequences == [4]
        assert sink.on_stream == ["init", *["record"] * 9, "commit"]
        assert transform.configs == [{"mode": "fast"}]
        assert w.plane.report().pipelines["ns/p"].stages["out"].broken == ""


async def test_a_stream_that_ends_without_a_commit_writes_nothing_for_sure() -> None:
    sink = FakeSink()
    sink.streaming = True
    ends = [True]

    async def cut_short(requests: Any, context: Any) -> Any:
        async for _ in requests:
            if ends:
                return
            yield sink_pb2.WriteStreamResponse(ready=sink_pb2.StreamWriteReady())
            break
        async for request in requests:
            if request.HasField("commit"):
                ack = sink_pb2.CommitAck(committed_sequence=request.commit.up_to_sequence)
                yield sink_pb2.WriteStreamResponse(commit_ack=ack)

    sink.WriteStream = cut_short  # type: ignore[method-assign]
    async with world(sink) as w:
        w.run(line())
        source = w.source()
        await source.push(batch([1]))
        await until(lambda: "commit" in w.plane.report().pipelines["ns/p"].stages["out"].broken)
        ends.clear()
        assert [each.status for each in (await source.ack()).record_acks] == [ACCEPTED]
