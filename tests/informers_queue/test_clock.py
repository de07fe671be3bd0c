"""The machine's clock agrees with whatever loop runs."""

from __future__ import annotations

import asyncio
import time

import pytest

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


def test_without_a_loop_there_is_no_such_time() -> None:
    with pytest.raises(RuntimeError):
        SystemClock().monotonic()
