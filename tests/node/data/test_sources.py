"""Streams of sources: pauses, budgets, and ends."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from etl_operator.node.data.credit import Amount, Limits
from etl_operator.node.data.stream import End
from tests.node.data.made import batch, line
from tests.node.data.progress import ACCEPTED, DUPLICATE, under_way
from tests.node.data.services import FakeSink, world
from tests.processes import until


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
