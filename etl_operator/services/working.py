"""Runs the code of a service, which can block or be asynchronous, with limited concurrency."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Worker:
    """Runs calls in its own threads, so that a call that blocks does not delay probes and other calls.

    :param concurrency: maximum number of calls at the same time; others wait in order.
    """

    def __init__(self, concurrency: int) -> None:
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="service")
        self._free = asyncio.Semaphore(concurrency)
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """The result of the call. If the caller is cancelled before the call starts, the call does not start;
        after that it continues, because a thread cannot be interrupted."""
        await self._free.acquire()
        task = asyncio.get_running_loop().create_task(self._call(call, *arguments))
        self._running.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def idle(self) -> None:
        """Wait until the calls that run now have ended, but not for calls that start later."""
        if self._running:
            await asyncio.wait(self._running)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        self._free.release()
        if not task.cancelled():
            # The caller may be cancelled; asyncio logs an error that is never retrieved.
            task.exception()

    async def _call(self, call: Callable[..., Any], *arguments: Any) -> Any:
        if inspect.iscoroutinefunction(call):
            return await call(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
