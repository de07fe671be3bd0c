"""How often a data plane is given the pipelines and services of its node; in virtual time."""

from __future__ import annotations

import asyncio
import contextlib

from etl_operator.node.bridge.feed import PAUSE, Feed
from etl_operator.node.control.registry import SINK, Registry
from etl_operator.node.control.state import Create, RouterState
from etl_operator.node.data.view import Snapshot
from tests.virtual import play

SERVICES, EVERY = 500, 0.001


def test_many_changes_one_after_the_other_are_taken_together() -> None:
    async def check() -> None:
        loop = asyncio.get_running_loop()
        registry, taken, times = Registry(loop.time), list[Snapshot](), list[float]()

        def take(snapshot: Snapshot) -> None:
            taken.append(snapshot)
            times.append(loop.time())

        feed = Feed(RouterState(), registry, lambda: 1, take)
        feeding = asyncio.create_task(feed.run())
        for number in range(SERVICES):
            registry.register(f"ns/s-{number:04d}", SINK, f"s-{number}", "127.0.0.1", 1)
            await asyncio.sleep(EVERY)
        # The last change waits no longer than it has to.
        await asyncio.sleep(2 * PAUSE * SERVICES)
        assert len(taken[-1].services) == SERVICES
        # All snapshots together have fewer objects than some for each change would have.
        assert sum(len(one.services) for one in taken) < SERVICES * SERVICES / 5
        for (before, at), then in zip(zip(taken, times, strict=True), times[1:], strict=False):
            assert then - at >= PAUSE * len(before.services) * 0.999
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeding

    play(check())


def test_one_change_is_handed_on_at_once() -> None:
    async def check() -> None:
        loop = asyncio.get_running_loop()
        state, taken = RouterState(), list[tuple[float, int]]()
        feed = Feed(
            state, Registry(loop.time), lambda: 1, lambda one: taken.append((loop.time(), len(one.pipelines)))
        )
        feeding = asyncio.create_task(feed.run())
        await asyncio.sleep(5.5)
        state.run(Create("ns/p", b"", 0.0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert taken[-1] == (5.5, 1)
        # Whoever asks for a report does not wait for the pause.
        state.run(Create("ns/q", b"", 0.0))
        feed.refresh()
        assert taken[-1] == (5.5, 2)
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeding

    play(check())
