"""Running an informer in a test."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from informers.cache.informer import Informer
from informers.client import Client
from informers.objects import Resource
from informers.testing.clock import VirtualClock
from tests.informers.watch.server import PODS, Server


class Slowest(random.Random):
    """Draws the most that can be drawn: back-off without luck."""

    def uniform(self, a: float, b: float) -> float:
        return b


def informer_of(server: Server, resource: Resource = PODS, /, **options: Any) -> Informer:
    """An informer on the test server, under virtual time."""
    clock = VirtualClock()
    options.setdefault("rng", random.Random(1))
    return Informer(Client(server, clock=clock), resource, clock=clock, **options)


@asynccontextmanager
async def running(informer: Informer, *, synced: bool = True) -> AsyncIterator[None]:
    """The informer runs for the time of the context; it must end only by cancellation."""
    task = asyncio.ensure_future(informer.run())
    try:
        if synced:
            await informer.wait_synced()
        yield
        assert not task.done(), "the informer ended by itself"
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()


async def until(condition: Callable[[], object], within: float = 300.0) -> None:
    """Wait, in virtual time, for a condition."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 (any condition, and virtual time)
            await asyncio.sleep(0.05)
