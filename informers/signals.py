"""Stopping on SIGINT and SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


async def run_until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work``, such as :meth:`informers.manager.Manager.run`, until it ends or a signal ends it.

    SIGINT and SIGTERM cancel it, each further one again; when that has ended it, this returns. For the main
    thread of a process, once: both signals stay with the loop.

    :raises Exception: what ended the work.
    """
    told = False

    def stop() -> None:
        nonlocal told
        told = True
        task.cancel()

    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not told:
            raise
