"""The durable buffer of a data plane in this process, with a real NATS server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from etl_operator.node.buffer.nats import NatsBuffer
from etl_operator.node.data.credit import Amount, Limits
from etl_operator.router.pb import common_pb2
from tests.node.buffer.servers import NatsCluster, needs_server, serving
from tests.node.data.made import batch, line, record
from tests.node.data.services import FakeSink, FakeTransform, Served, World, failed, world
from tests.processes import until

pytestmark = needs_server

ACCEPTED, DUPLICATE, REJECTED = 1, 2, 3
STREAM = "etl-router_records_ns_p"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    async with serving(tmp_path) as made:
        yield made


@asynccontextmanager
async def buffered(
    cluster: NatsCluster, *served: Served, limits: Limits | None = None, **settings: Any
) -> AsyncIterator[World]:
    """A data plane with the buffer on these servers."""
    async with world(*served, limits=limits, buffer=NatsBuffer(cluster.settings(**settings))) as made:
        yield made


async def pending(made: World, pipeline_id: str = "ns/p") -> int:
    """Records that the node reports, what is stored included."""
    await made.plane.refresh(pipeline_id)
    report = made.plane.report(pipeline_id).pipelines[pipeline_id]
    assert not report.uncertain
    return report.pending + report.stored


async def empty(made: World) -> None:
    """Wait until nothing is pending."""

    async def none() -> bool:
        return not await pending(made)

    await until(none)


async def messages(cluster: NatsCluster, stream: str = STREAM) -> int:
    async with cluster.client() as client:
        found: int = (await client.jetstream().stream_info(stream)).state.messages
        return found


@pytest.mark.parametrize("fast", [True, False])
async def test_a_source_is_answered_when_the_stream_has_its_records(cluster: NatsCluster, fast: bool) -> None:
    sink = FakeSink()
    # Without gaps a batch is handled as bytes; otherwise as objects.
    numbers = [range(1, 101), range(101, 201)] if fast else [range(1, 200, 2), range(201, 400, 2)]
    async with buffered(cluster, sink) as made:
        made.run(line())
        await sink.stop()
        source = made.source()
        for one in numbers:
            assert set(await source.send(batch(one))) == {ACCEPTED}
        assert sink.records == []
        assert await pending(made) == 200
        await sink.start()
        await empty(made)
        assert sink.sequences == [*numbers[0], *numbers[1]]
        assert await messages(cluster) == 0
        stages = made.plane.report().pipelines["ns/p"].stages
        assert stages["src"].processed == stages["out"].processed == 200


async def test_records_outlive_the_data_plane_and_the_server(cluster: NatsCluster) -> None:
    sink = FakeSink()
    async with buffered(cluster, sink) as made:
        made.run(line())
        await sink.stop()
        assert await made.source().send(batch([1, 2, 3])) == [ACCEPTED] * 3
    cluster.servers[0].kill()
    cluster.servers[0].start()
    async with buffered(cluster, sink) as made:
        made.run(line())
        await until(lambda: len(sink.records) == 3, cluster.logs)
        assert sink.sequences == [1, 2, 3]
        await empty(made)


async def test_without_a_server_nothing_is_answered_and_it_goes_on_without_a_restart(
    cluster: NatsCluster,
) -> None:
    sink = FakeSink()
    limits = Limits(source=Amount(150, 2**24))
    async with buffered(cluster, sink, limits=limits) as made:
        made.run(line())
        source = made.source()
        assert await source.send(batch([1])) == [ACCEPTED]
        await empty(made)
        cluster.servers[0].kill()
        for start in range(2, 402, 100):
            await source.push(batch(range(start, start + 100)))
        while not any(signal.pause for signal in source.signals):
            await source.read()
        await until(lambda: "NATS at nats://" in made.plane.report().pipelines["ns/p"].buffer)
        await made.plane.refresh("ns/p")
        assert made.plane.report().pipelines["ns/p"].uncertain
        cluster.servers[0].start()
        for _ in range(4):
            assert {each.status for each in (await source.ack()).record_acks} == {ACCEPTED}
        await empty(made)
        assert sink.sequences == list(range(1, 402))
        assert made.plane.report().pipelines["ns/p"].buffer == ""


async def test_a_full_stream_holds_records_back_and_loses_none(cluster: NatsCluster) -> None:
    sink = FakeSink()
    payload = b"x" * 20_000
    limits = Limits(source=Amount(1000, 2**20))
    async with buffered(cluster, sink, limits=limits, max_bytes=2**20) as made:
        made.run(line())
        await sink.stop()
        source = made.source()
        for number in range(100):
            await source.push(batch([number + 1], payload=payload))
        await until(lambda: "maximum bytes exceeded" in made.plane.report().pipelines["ns/p"].buffer)
        while not any(signal.pause for signal in source.signals):
            await source.read()
        await sink.start()
        answered = 0
        while answered < 100:
            ack = await source.ack()
            assert {each.status for each in ack.record_acks} == {ACCEPTED}
            answered += len(ack.record_acks)
        await empty(made)
        counted = sink.counted()
        assert sorted(counted) == list(range(1, 101))
        assert max(counted.values()) == 1
        assert sink.sequences == sorted(sink.sequences)


async def test_what_was_stored_by_another_node_is_not_stored_again(cluster: NatsCluster) -> None:
    sink = FakeSink()
    async with buffered(cluster, sink) as one, buffered(cluster) as other:
        other.know(sink)
        one.run(line())
        other.run(line())
        await sink.stop()
        assert set(await one.source().send(batch(range(1, 11)))) == {ACCEPTED}
        # As after a broken connection: the answer did not arrive.
        assert set(await other.source().send(batch(range(1, 11)))) == {ACCEPTED}
        assert set(await one.source().send(batch(range(1, 11)))) == {DUPLICATE}
        assert await messages(cluster) == 1
        await sink.start()
        await empty(one)
        assert sink.sequences == list(range(1, 11))


async def test_messages_larger_than_the_server_takes_are_split(tmp_path: Path) -> None:
    async with serving(tmp_path, options="max_payload: 65536") as cluster:
        sink = FakeSink()
        async with buffered(cluster, sink) as made:
            made.run(line())
            source = made.source()
            large = batch(range(1, 41), payload=b"x" * 5000)
            assert set(await source.send(large)) == {ACCEPTED}
            await empty(made)
            assert sink.sequences == list(range(1, 41))
            await source.push(batch([41], payload=b"x" * 100_000))
            [ack] = (await source.ack()).record_acks
            assert ack.status == REJECTED
            assert "RECORD_TOO_LARGE" in ack.error_message


@pytest.mark.parametrize("kept", [True, False])
async def test_dead_letters_without_a_sink_are_in_a_stream(cluster: NatsCluster, kept: bool) -> None:
    sink, transform = FakeSink(), FakeTransform("t", failed)
    async with buffered(cluster, sink, transform) as made:
        config = line(transforms=["t"], max_retries="1", retry_backoff_ms="1")
        if kept:
            config.metadata["etl.router/dlq.enabled"] = "true"
        made.run(config)
        assert await made.source().send(batch([1, 2])) == [ACCEPTED] * 2
        await empty(made)
        assert sink.records == []
        async with cluster.client() as client:
            js = client.jetstream()
            found = [await js.get_msg("etl-router_dead-letters", number) for number in (1, 2)]
        records = [common_pb2.Record.FromString(one.data or b"") for one in found]
        assert [one.id.sequence_number for one in records] == [1, 2]
        assert {one.metadata["_dlq_error_code"] for one in records} == {"TRANSFORM_FAILED"}
        assert {one.subject for one in found} == {"etl-router.dead-letters.ns_p"}
        assert made.plane.report().pipelines["ns/p"].dead_letters == 2


async def test_what_a_dead_letter_sink_refuses_is_in_the_stream(cluster: NatsCluster) -> None:
    sink, dlq = FakeSink(), FakeSink("dlq")
    sink.bad, dlq.bad = {1: False}, {1: False}
    async with buffered(cluster, sink, dlq) as made:
        made.run(line(dlq="dlq"))
        assert await made.source().send(batch([1, 2])) == [ACCEPTED] * 2
        await empty(made)
        assert sink.sequences == [2]
        async with cluster.client() as client:
            letter = await client.jetstream().get_msg("etl-router_dead-letters", 1)
        found = common_pb2.Record.FromString(letter.data or b"")
        assert found.id.sequence_number == 1
        assert found.metadata["_dlq_failed_stage"] == "p-dlq"
        assert found.metadata["_dlq_error_code"] == "SINK_FAILED"


UNSAFE = {
    "storage": StorageType.MEMORY,
    "discard": DiscardPolicy.OLD,
    "retention": RetentionPolicy.LIMITS,
    "max_age": 60.0,
}


@pytest.mark.parametrize("field", UNSAFE)
async def test_a_stream_that_could_lose_records_is_refused(cluster: NatsCluster, field: str) -> None:
    fields: dict[str, Any] = {
        "name": STREAM,
        "subjects": ["etl-router.records.ns_p.*"],
        "storage": StorageType.FILE,
        "discard": DiscardPolicy.NEW,
        "retention": RetentionPolicy.WORK_QUEUE,
        "num_replicas": 1,
    }
    async with cluster.client() as client:
        await client.jetstream().add_stream(StreamConfig(**{**fields, field: UNSAFE[field]}))
    async with buffered(cluster, FakeSink()) as made:
        made.run(line())
        await made.source().push(batch([1]))
        await until(lambda: field in made.plane.report().pipelines["ns/p"].buffer)
    assert await messages(cluster) == 0


async def test_a_changed_size_reaches_the_stream(cluster: NatsCluster) -> None:
    for size in (2**22, 2**23):
        async with buffered(cluster, FakeSink(), max_bytes=size) as made:
            made.run(line())
            assert set(await made.source().send(batch([size]))) == {ACCEPTED}
        async with cluster.client() as client:
            assert (await client.jetstream().stream_info(STREAM)).config.max_bytes == size


async def test_a_drained_pipeline_delivers_what_is_stored_and_a_disabled_one_keeps_it(
    cluster: NatsCluster,
) -> None:
    sink = FakeSink()
    async with buffered(cluster, sink) as made:
        made.run(line())
        await sink.stop()
        source = made.source()
        assert set(await source.send(batch(range(1, 6)))) == {ACCEPTED}
        made.disable("ns/p", drain=False)
        await sink.start()
        await until(lambda: not made.plane.pending)
        assert await pending(made) == 5
        assert sink.records == []
        made.run(line())
        made.disable("ns/p", drain=True)
        await source.push(batch([6]))
        assert (await source.end())[0] is grpc.StatusCode.FAILED_PRECONDITION
        await empty(made)
        assert sink.sequences == list(range(1, 6))


async def test_the_pipeline_that_is_there_now_delivers(cluster: NatsCluster) -> None:
    sink, other = FakeSink(), FakeSink("other")
    async with buffered(cluster, sink, other) as made:
        made.run(line())
        await sink.stop()
        assert await made.source().send(batch([1, 2])) == [ACCEPTED] * 2
        await until(lambda: made.plane.pending == 2)
        # What is on its way by the old plan is released after some time, and delivered by the new one.
        made.disable("ns/p", drain=False)
        made.run(line(sink="other"))
        await until(lambda: len(other.records) == 2)
        await empty(made)
        assert other.sequences == [1, 2]


async def test_partitions_keep_their_order_across_two_nodes(cluster: NatsCluster) -> None:
    sink = FakeSink()
    async with buffered(cluster, sink) as one, buffered(cluster) as other:
        other.know(sink)
        for made in (one, other):
            made.run(line(lanes=3))
        sources = [one.source(), other.source()]
        for start in range(1, 401, 20):
            # The stream of the source moves from node to node.
            source = sources[start // 20 % 2]
            records = [record(n, partition=n % 7) for n in range(start, start + 20)]
            assert set(await source.send(common_pb2.RecordBatch(records=records))) == {ACCEPTED}
        await empty(one)
        for partition in range(7):
            found = [r.id.sequence_number for r in sink.records if r.id.partition == partition]
            assert found == [n for n in range(1, 401) if n % 7 == partition]


async def test_watermarks_are_reached_when_their_records_are_delivered(cluster: NatsCluster) -> None:
    sink = FakeSink()
    async with buffered(cluster, sink) as made:
        made.run(line())
        await sink.stop()
        pushed = batch([1, 2])
        pushed.watermark.CopyFrom(common_pb2.Watermark(source_id="src", position=2))
        assert await made.source().send(pushed) == [ACCEPTED] * 2
        progress = made.plane.progress()
        # A source starts behind what is stored, and need not send it again.
        assert [(one.source, one.position) for one in progress.offsets] == [("src", 2)]
        assert progress.watermarks == []
        await sink.start()
        await empty(made)
        assert [mark.position for mark in made.plane.progress().watermarks] == [2]


async def test_trace_context_and_stages_are_stored(cluster: NatsCluster) -> None:
    sink = FakeSink()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with buffered(cluster, sink) as made:
        made.run(line())
        assert await made.source(traceparent=trace).send(batch([1])) == [ACCEPTED]
        await until(lambda: len(sink.records) == 1)
        assert sink.metadata[-1]["traceparent"] == trace
        assert "etl-stages" not in sink.metadata[-1]


async def test_a_node_without_services_leaves_the_records_to_others(cluster: NatsCluster) -> None:
    sink = FakeSink()
    async with buffered(cluster, sink) as knowing, buffered(cluster) as new:
        for made in (knowing, new):
            made.run(line())
        assert await knowing.source().send(batch([1])) == [ACCEPTED]
        await empty(knowing)
        assert sink.sequences == [1]
        assert new.plane.pending == 0
