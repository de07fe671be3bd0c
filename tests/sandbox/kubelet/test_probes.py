"""Probes while they are watched."""

from __future__ import annotations

import asyncio

from etl_operator.sandbox.kubelet.probes import watch
from tests.hanging import HANGS


async def test_a_cancellation_that_meets_the_answer_is_not_lost() -> None:
    answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    asked = asyncio.Event()

    async def ask() -> str | None:
        asked.set()
        return await answer

    probe = {"periodSeconds": 60, "timeoutSeconds": 60}
    task = asyncio.create_task(watch(probe, ask, lambda *_: None, healthy=True))
    await asked.wait()
    answer.set_result(None)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=HANGS)
    assert done == {task}
    assert task.cancelled()
