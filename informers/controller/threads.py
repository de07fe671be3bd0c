"""Plain, blocking reconcilers in threads."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from informers.objects import ObjectKey, Result

_SPARE = 32
"""Threads beyond the number of workers, to make up for those that do not return."""


class Threads:
    """Calls a blocking function per key, and remembers the threads whose caller gave up waiting.

    A thread that never returns also holds up the end of the process.

    :param name: of the controller, for thread names.
    :param workers: concurrent calls.
    """

    def __init__(self, reconcile: Callable[[ObjectKey], Result], name: str, workers: int) -> None:
        self._reconcile = reconcile
        self._most = workers + _SPARE
        self._pool = ThreadPoolExecutor(self._most, thread_name_prefix=f"reconcile-{name}")
        self._left: dict[ObjectKey, Future[Result]] = {}

    @property
    def left_behind(self) -> int:
        """Threads that still run although nobody waits for them."""
        return len(self._left)

    @property
    def exhausted(self) -> bool:
        """Whether all threads are left behind, and none is left to run anything."""
        return len(self._left) >= self._most

    def busy(self, key: ObjectKey) -> bool:
        """Whether a thread that nobody waits for is at this key."""
        return key in self._left

    async def call(self, key: ObjectKey) -> Result:
        """Run the function in a thread. When cancelled, the thread goes on and counts as left behind."""
        future = self._pool.submit(contextvars.copy_context().run, self._run, key)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not future.cancelled() and not future.done():
                self._left[key] = future
            raise

    def _run(self, key: ObjectKey) -> Result:
        try:
            return self._reconcile(key)
        except StopIteration as error:
            # No future takes one: its waiter would wait for ever. Coroutines say the same.
            raise RuntimeError("reconcile raised StopIteration") from error

    def when_returned(self, key: ObjectKey, then: Callable[[], object]) -> None:
        """Call ``then`` in the event loop once the thread that was left behind at this key returns."""
        loop = asyncio.get_running_loop()

        def returned() -> None:
            self._left.pop(key, None)
            then()

        def tell(_: Future[Result]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(returned)

        self._left[key].add_done_callback(tell)

    def close(self) -> None:
        """Start no more threads. Does not wait."""
        self._pool.shutdown(wait=False, cancel_futures=True)
