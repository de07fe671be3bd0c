"""The worker of the loops: one look per key at a time, and again after an error."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

from etl_operator.sandbox.loops.keyed import KeyedLoop
from informers.errors import ServerError
from informers.objects import ObjectKey
from informers.testing.clock import run_virtual

A, B = ObjectKey("ns", "a"), ObjectKey("ns", "b")


async def during(loop: KeyedLoop, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(loop.run(), seconds)


def test_a_key_added_twice_is_looked_at_once() -> None:
    async def main() -> list[ObjectKey]:
        seen: list[ObjectKey] = []

        async def sync(key: ObjectKey) -> None:
            seen.append(key)

        loop = KeyedLoop("test", sync)
        for key in (A, B, A):
            loop.add(key)
        await during(loop, 100)
        return seen

    assert run_virtual(main()) == [A, B]


def test_failures_back_off_and_a_success_forgets_them() -> None:
    async def main() -> list[float]:
        moments: list[float] = []

        async def sync(_: ObjectKey) -> None:
            moments.append(asyncio.get_running_loop().time())
            if len(moments) < 10:
                raise ServerError(500)

        loop = KeyedLoop("test", sync)
        loop.add(A)
        await during(loop, 1000)
        return moments

    moments = run_virtual(main())
    pauses = [round(after - before, 3) for before, after in itertools.pairwise(moments)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_time_alone_brings_a_key_back_when_it_asked_for_that() -> None:
    async def main() -> list[float]:
        moments: list[float] = []

        async def sync(_: ObjectKey) -> float | None:
            moments.append(asyncio.get_running_loop().time())
            return 30.0 if len(moments) == 1 else None

        loop = KeyedLoop("test", sync)
        loop.add(A)
        await during(loop, 1000)
        return moments

    assert run_virtual(main()) == [0.0, 30.0]
