"""Runs an author's code, which may block or be asynchronous, a bounded number of times at once."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Worker:
    """Calls in threads of its own, so that a blocking one leaves probes and other calls alone.

    :param concurrency: calls at once; others wait in order.
    """

    def __init__(self, concurrency: int) -> None:
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="service")
        self._free = asyncio.Semaphore(concurrency)
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """What the call gives. A caller that goes away before its turn is not served; after that, the call
        goes on without it, because a thread cannot be stopped half-way."""
        await self._free.acquire()
        task = asyncio.get_running_loop().create_task(self._call(call, *arguments))
        self._running.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def idle(self) -> None:
        """Wait until what runs now has ended; what starts meanwhile is not waited for."""
        if self._running:
            await asyncio.wait(self._running)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        self._free.release()
        if not task.cancelled():
            # Whoever asked may be gone; an error that nobody fetches would be logged as such.
            task.exception()

    async def _call(self, call: Callable[..., Any], *arguments: Any) -> Any:
        if inspect.iscoroutinefunction(call):
            return await call(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
