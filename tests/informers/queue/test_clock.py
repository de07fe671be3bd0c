"""The machine's clock agrees with whatever loop runs."""

from __future__ import annotations

import asyncio
import threading
import time

from informers.clock import SystemClock
from informers.testing.clock import run_virtual


def test_on_a_loop_of_its_own_time_it_shows_that() -> None:
    async def main() -> None:
        clock = SystemClock()
        before = clock.monotonic()
        await asyncio.sleep(3600)
        assert clock.monotonic() == before + 3600
        assert clock.monotonic() == asyncio.get_running_loop().time()

    run_virtual(main())


async def test_on_an_ordinary_loop_timers_and_readings_agree() -> None:
    clock, loop = SystemClock(), asyncio.get_running_loop()
    for _ in range(3):
        before = loop.time()
        assert before <= clock.monotonic() <= loop.time()
    assert abs(clock.time() - time.time()) < 60


def test_without_a_loop_it_is_the_machine_s() -> None:
    clock = SystemClock()
    before = time.monotonic()
    assert before <= clock.monotonic() <= time.monotonic()


async def test_in_a_thread_it_goes_on_as_in_the_loop() -> None:
    clock = SystemClock()
    for _ in range(2):
        before = asyncio.get_running_loop().time()
        read = await asyncio.to_thread(clock.monotonic)
        assert before <= read <= clock.monotonic()


def test_a_thread_that_reads_first_does_not_keep_the_loop_from_its_own_time() -> None:
    clock = SystemClock()
    clock.monotonic()

    async def main() -> None:
        assert clock.monotonic() == asyncio.get_running_loop().time()
        # Nor does a thread see another time than the loop once that has read it.
        seen: list[float] = []
        thread = threading.Thread(target=lambda: seen.append(clock.monotonic()))
        thread.start()
        thread.join()
        assert seen == [asyncio.get_running_loop().time()]

    run_virtual(main())
