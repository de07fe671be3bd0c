"""Whose code runs when, and what becomes of callers that go away."""

from __future__ import annotations

import asyncio
import threading

import pytest

from etl_operator.services.working import Worker
from tests.processes import until


async def test_a_caller_that_goes_away_before_its_turn_is_not_served() -> None:
    worker, gate = Worker(1), threading.Event()
    ran: list[str] = []

    def work(name: str) -> str:
        ran.append(name)
        gate.wait()
        return name

    first = asyncio.create_task(worker.run(work, "first"))
    await until(lambda: bool(ran))
    gone = asyncio.create_task(worker.run(work, "gone"))
    last = asyncio.create_task(worker.run(work, "last"))
    await asyncio.sleep(0)
    # The one that runs goes on without its caller: a thread cannot be stopped.
    first.cancel()
    gone.cancel()
    gate.set()
    assert await last == "last"
    await worker.idle()
    assert ran == ["first", "last"]
    with pytest.raises(asyncio.CancelledError):
        await first


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_at_most_so_many_run_at_once(concurrency: int) -> None:
    worker = Worker(concurrency)
    running = most = 0

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await asyncio.gather(*(worker.run(work) for _ in range(20)))
    assert most == concurrency


async def test_an_error_reaches_the_caller_and_frees_the_place() -> None:
    worker = Worker(1)

    def fail() -> None:
        raise ValueError("no")

    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            await worker.run(fail)
    await worker.idle()
