"""A worker that hangs is ended; one that is only slow is not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from etl_operator.node.bridge import watchdog
from etl_operator.node.bridge.watchdog import BEAT_SECONDS, MOST_SILENT, Watchdog
from etl_operator.node.bridge.worker import Worker
from etl_operator.node.settings import Settings
from etl_operator.node.worker import link
from tests.processes import until
from tests.virtual import play

LIMIT = BEAT_SECONDS * MOST_SILENT


async def watched(messages: Sequence[float], for_seconds: float) -> tuple[float | None, int]:
    """When a worker was ended, if at all, and how often it was asked.

    :param messages: when it says something.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    ended: list[float] = []
    asked: list[float] = []
    dog = Watchdog(lambda: asked.append(loop.time()), lambda: ended.append(loop.time() - began))
    watching = asyncio.create_task(dog.run())
    for at in messages:
        await asyncio.sleep(began + at - loop.time())
        dog.heard()
    await asyncio.sleep(began + for_seconds - loop.time())
    watching.cancel()
    return (ended[0] if ended else None), len(asked)


@pytest.mark.parametrize(
    ("messages", "ends"),
    [
        ([], LIMIT),
        ([12.0, 13.0], 15.0 + LIMIT),
        # Slow, and always in time.
        ([LIMIT - 1, 2 * LIMIT - 2, 3 * LIMIT - 3], None),
        ([float(second) for second in range(1, 100)], None),
    ],
)
def test_silence_ends_a_worker_after_its_time(messages: list[float], ends: float | None) -> None:
    async def check() -> None:
        found, asked = await watched(
            messages, max(messages, default=0.0) + LIMIT - 1 if ends is None else 100
        )
        assert found == ends
        assert asked >= MOST_SILENT

    play(check())


async def test_a_worker_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "BEAT_SECONDS", 1.0)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{probe.getsockname()[1]}"
    opened = asyncio.Event()
    opened.set()

    def begin(number: int) -> link.Begin:
        return link.Begin(number, 1, where, where, Settings(), None)

    worker = Worker(0, begin, opened, lambda: None, lambda: None, lambda last: None)
    running = asyncio.create_task(worker.run())
    try:
        await until(lambda: worker.serving)
        answer = await worker.ask()
        assert answer is not None
        [pid] = children()
        # As one that is in a loop: the process is there and does nothing.
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: worker.restarts > 0)
        await until(lambda: worker.serving)
        assert pid not in children()
    finally:
        worker.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def children() -> list[int]:
    """Worker processes that this process has started."""
    listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in listed if "etl_operator.node.worker" in command_of(pid)]


def command_of(pid: str) -> str:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""
