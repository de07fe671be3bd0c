"""Sources as real processes, against routers that come and go."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc

from etl_operator.router.pb import source_pb2
from tests.processes import until
from tests.services.processes import ServiceProcess, service, started
from tests.services.router import DUPLICATE, REJECTED, Answers, Batch, FakeRouter, ack, credits, routers

COUNT = 2_000
GENERATE = ("source", "generate", "--source-id=ns/events", f"--count={COUNT}", "--batch-size=100")


def to(*nodes: FakeRouter) -> list[str]:
    return [f"--router={node.address}" for node in nodes]


async def done(process: ServiceProcess) -> None:
    assert await process.exit_code() == 0, process.logs()
    assert "the router has acknowledged all records" in process.logs()


async def test_every_record_arrives_once_and_in_order_and_the_process_ends(tmp_path: Path) -> None:
    async with routers() as (node,), started(tmp_path, *GENERATE, *to(node)) as process:
        await done(process)
    assert [number for batch in node.batches for number in batch] == list(range(1, COUNT + 1))
    assert {record.id.source_id for record in node.records} == {"ns/events"}
    assert node.streams == 1
    assert "etl-pipeline" not in node.metadata[0]
    event = json.loads(node.records[0].payload)
    assert event.keys() == {"user", "active", "country", "action", "amount", "padding"}
    assert len(node.records[0].payload) >= 200


async def test_the_same_seed_makes_the_same_records_and_another_others(tmp_path: Path) -> None:
    async with routers(3) as nodes:
        for node, seed in zip(nodes, (7, 7, 8), strict=True):
            options = (f"--seed={seed}", "--size=0", *to(node))
            async with started(tmp_path, *GENERATE, *options) as process:
                await done(process)
    assert nodes[0].records == nodes[1].records
    assert nodes[0].payloads != nodes[2].payloads
    active = sum(json.loads(payload)["active"] for payload in nodes[0].payloads)
    assert COUNT / 2 < active < COUNT, "three of four"


async def test_a_pipeline_of_its_own_is_named_in_the_header(tmp_path: Path) -> None:
    async with (
        routers() as (node,),
        started(tmp_path, *GENERATE, *to(node), "--pipeline=ns/p") as process,
    ):
        await done(process)
    assert node.metadata[0]["etl-pipeline"] == "ns/p"


async def test_a_source_goes_on_from_the_router_s_offset(tmp_path: Path) -> None:
    async with routers() as (node,):
        node.offsets = {0: COUNT - 3}
        async with started(tmp_path, *GENERATE, *to(node)) as process:
            await done(process)
    assert node.batches == [[COUNT - 2, COUNT - 1, COUNT]]


async def test_a_router_without_checkpoints_gets_everything(tmp_path: Path) -> None:
    async with routers() as (node,):
        node.keeps_checkpoints = False
        async with started(tmp_path, *GENERATE, *to(node)) as process:
            await done(process)
    assert len(node.records) == COUNT


async def test_nodes_that_are_killed_cost_no_record_and_few_duplicates(tmp_path: Path) -> None:
    """Two nodes; the one in use is cut off three times, with batches that arrived and were not answered."""
    cuts = 0

    async with routers(2) as nodes:

        async def cutting(batch: Batch, context: Any) -> Answers:
            nonlocal cuts
            total = sum(len(node.batches) for node in nodes)
            if cuts < 3 and total > 4 * (cuts + 1):
                cuts += 1
                # As after kill -9: the batch is here, its answer is not.
                await context.abort(grpc.StatusCode.UNAVAILABLE, "killed")
            yield ack(batch)

        for node in nodes:
            node.taking = cutting
        async with started(tmp_path, *GENERATE, *to(*nodes)) as process:
            await done(process)
    seen = nodes[0].seen + nodes[1].seen
    assert seen.keys() == set(range(1, COUNT + 1))
    assert cuts == 3
    assert all(node.streams for node in nodes), "the other node was tried"
    repeated = sum(seen.values()) - COUNT
    assert 0 < repeated <= cuts * 8 * 100, "at most the window of each stream"


async def test_a_router_that_restarts_gets_what_it_did_not_answer(tmp_path: Path) -> None:
    async with routers() as (node,):

        async def silent(batch: Batch, _: Any) -> Answers:
            return
            yield

        node.taking = silent
        async with started(tmp_path, *GENERATE, *to(node)) as process:
            await until(lambda: len(node.batches) == 8, process.logs)
            await node.stop()
            node.taking = node.accept
            await until(lambda: "the router does not accept records: UNAVAILABLE" in process.logs())
            await node.start()
            await done(process)
    assert node.seen.keys() == set(range(1, COUNT + 1))
    assert node.batches[:8] == node.batches[8:16], "the same batches, in the same order"


async def test_answers_that_come_twice_or_leave_records_out(tmp_path: Path) -> None:
    """A half answer ends the stream, and only the other half comes again."""
    async with routers() as (node,):

        async def odd(batch: Batch, _: Any) -> Answers:
            whole = ack(batch)
            if len(node.batches) == 3:
                del whole.ack.record_acks[50:]
                yield whole
                return
            yield whole
            yield whole

        node.taking = odd
        async with started(tmp_path, *GENERATE, *to(node)) as process:
            await done(process)
    assert node.seen.keys() == set(range(1, COUNT + 1))
    assert list(range(251, 301)) in node.batches
    assert node.seen[250] == 1
    assert node.streams == 2
    assert "lacks 50 of 100 records" in process.logs()


async def test_a_source_that_is_killed_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    async with routers() as (node,):
        process = ServiceProcess(tmp_path, [*GENERATE, *to(node), "--rate=3000"])
        try:
            process.start()
            await until(lambda: len(node.records) > COUNT // 3, process.logs)
            process.kill()
            node.offsets = {0: min(node.seen) + 299}
            process.start()
            await done(process)
        finally:
            await process.close()
    assert node.seen.keys() == set(range(1, COUNT + 1))
    assert node.seen[300] == 1, "what the checkpoint has is not sent again"
    assert node.streams == 2


async def test_rejected_and_duplicate_records_do_not_stop_a_source(tmp_path: Path) -> None:
    async with routers() as (node,):

        async def mixed(batch: Batch, _: Any) -> Answers:
            answer = ack(batch, DUPLICATE)
            answer.ack.record_acks[0].status = REJECTED
            answer.ack.record_acks[0].error_message = "not wanted"
            yield answer

        node.taking = mixed
        async with started(tmp_path, *GENERATE, *to(node), "--stay") as process:
            await until(lambda: "the router has acknowledged all records" in process.logs(), process.logs)
            values = process.values()
            assert values["etl_service_records_total", "rejected"] == COUNT / 100
            assert values["etl_service_records_total", "duplicate"] == COUNT - COUNT / 100
            assert values["etl_service_records_total", "sent"] == COUNT
            assert values["etl_service_in_flight_records",] == 0
            assert process.get("/readyz")[0] == 200, "--stay"
            assert await process.terminate() == 0
    assert "rejected a record: not wanted  record=ns/events/0/1" in process.logs()


async def test_a_pause_is_kept_and_nothing_is_lost(tmp_path: Path) -> None:
    """The router pauses after each batch; the source says nothing until it may."""
    async with routers() as (node,):

        async def pausing(batch: Batch, _: Any) -> Answers:
            signal = source_pb2.BackpressureSignal(pause=True, resume_after_ms=20, recommended_batch_size=50)
            yield source_pb2.PushResponse(backpressure=signal)
            yield ack(batch)

        node.taking = pausing
        async with started(tmp_path, *GENERATE, *to(node)) as process:
            await done(process)
    assert [number for batch in node.batches for number in batch] == list(range(1, COUNT + 1))
    assert len(node.batches[-1]) == 50, "the recommended size"


async def test_a_pause_without_end_lasts_until_the_router_says_so(tmp_path: Path) -> None:
    async with routers() as (node,):
        paused: list[Batch] = []

        async def pausing(batch: Batch, _: Any) -> Answers:
            yield ack(batch)
            if not paused:
                paused.append(batch)
                signal = source_pb2.BackpressureSignal(pause=True, level=4)  # type: ignore[arg-type]
                yield source_pb2.PushResponse(backpressure=signal)

        node.taking = pausing
        async with started(tmp_path, *GENERATE, *to(node)) as process:
            await until(lambda: process.values().get(("etl_service_paused",)) == 1, process.logs)
            # What was on its way when the signal came does not count.
            arrived = len(node.batches)
            await node.stop()
            await node.start()
            await done(process)
    assert arrived <= 8 + 1, "the window, and one for the answer before the signal"
    assert node.seen.keys() == set(range(1, COUNT + 1)), "a new stream is not paused"


async def test_a_source_asks_for_credits_when_they_are_used_up(tmp_path: Path) -> None:
    async with routers() as (node,):
        node.on_heartbeat = lambda: [credits(150)]
        async with started(tmp_path, *GENERATE, *to(node), "--window=2") as process:
            await done(process)
    assert len(node.records) == COUNT
    assert node.heartbeats >= COUNT // 250 - 1


async def test_without_credits_nothing_more_is_sent(tmp_path: Path) -> None:
    async with routers() as (node,):

        async def stingy(batch: Batch, _: Any) -> Answers:
            yield ack(batch)
            yield credits(0)

        node.taking = stingy
        node.on_heartbeat = lambda: [credits(0 if node.heartbeats < 4 else 10_000)]
        async with started(tmp_path, *GENERATE, *to(node), "--window=1") as process:
            await until(lambda: node.heartbeats >= 3, process.logs)
            assert len(node.batches) <= 2
            await done(process)
    assert len(node.records) == COUNT


async def test_a_source_waits_for_its_pipeline(tmp_path: Path) -> None:
    said = "the router does not accept records: FAILED_PRECONDITION: no pipeline has the source events"
    refusals = 0
    async with routers() as (node,), started(tmp_path, *GENERATE, *to(node)) as process:

        async def nobody(batch: Batch, context: Any) -> Answers:
            nonlocal refusals
            # A write that meets the end of the stream hides its status: refuse until one got through.
            if refusals < 3 or said not in process.logs():
                refusals += 1
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no pipeline has the source events")
            yield ack(batch)

        node.taking = nobody
        await done(process)
    assert node.seen.keys() == set(range(1, COUNT + 1))
    assert process.logs().count(said) == 1, process.logs()


async def test_sigterm_finishes_what_is_in_flight(tmp_path: Path) -> None:
    async with routers() as (node,):

        async def slow(batch: Batch, _: Any) -> Answers:
            # The window is full nearly all the time, also when the signal comes.
            await asyncio.sleep(0.01)
            yield ack(batch)

        node.taking = slow
        arguments = ("source", "generate", "--source-id=s", "--batch-size=100", "--window=4", *to(node))
        async with service(tmp_path, *arguments) as process:
            await until(lambda: len(node.batches) > 20, process.logs)
            assert await process.terminate() == 0
    assert "the router has acknowledged all records" in process.logs()
    numbers = [number for batch in node.batches for number in batch]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_sigterm_ends_in_time_without_answers(tmp_path: Path) -> None:
    async with routers() as (node,):

        async def silent(batch: Batch, _: Any) -> Answers:
            return
            yield

        node.taking = silent
        arguments = (*GENERATE, *to(node), "--grace-seconds=0.2")
        async with service(tmp_path, *arguments) as process:
            await until(lambda: len(node.batches) == 8, process.logs)
            assert await process.terminate() == 0
    assert "the router has not acknowledged 800 records" in process.logs()


async def test_a_rate_is_kept(tmp_path: Path) -> None:
    """As far as it can be told without a clock: records come in many small lists, not in full batches."""
    async with (
        routers() as (node,),
        started(tmp_path, *GENERATE[:3], "--count=20", "--rate=100", *to(node)) as process,
    ):
        await done(process)
    assert len(node.batches) >= 2
    assert sum(map(len, node.batches)) == 20
