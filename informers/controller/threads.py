"""Plain, blocking reconcilers in threads."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, TypeVar

from informers.objects import ObjectKey, Result

T = TypeVar("T")

_SPARE = 32
"""Threads beyond the number of workers, to make up for those that do not return."""


class _Call:
    """One call in a thread: what connects it to the event loop.

    Virtual time must not pass while a thread works: its loop has ``submit`` and ``hand_over``, which let a
    thread continue, and block until that thread ends or says ``hand_back``.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.virtual: Any = loop if hasattr(loop, "hand_over") else None
        self._over = False
        self._task: asyncio.Task[Any] | None = None

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, and wait in the thread, in any case until it has ended: before that
        the key is not free."""
        if self._over:
            work.close()
            raise CancelledError
        ended: Future[T] = Future()

        def start() -> None:
            self._task = self.loop.create_task(work)
            self._task.add_done_callback(lambda task: _settle(ended, task))
            if self._over:
                self._task.cancel()

        if self.virtual is not None:
            ended.add_done_callback(lambda _: self.virtual.hand_over())
        self.loop.call_soon_threadsafe(start)
        if self.virtual is not None:
            self.virtual.hand_back()
        return ended.result()

    def give_up(self) -> None:
        """Nobody waits for the thread any more, and what it waits for is to end. In the loop."""
        self._over = True
        if self._task is not None:
            self._task.cancel()


def _settle(ended: Future[T], task: asyncio.Task[T]) -> None:
    error = CancelledError() if task.cancelled() else task.exception()
    if error is not None:
        ended.set_exception(error)
    else:
        ended.set_result(task.result())


_CALL: ContextVar[_Call] = ContextVar("_CALL")


def block_on(work: Coroutine[Any, Any, T]) -> T:
    """In a plain ``def reconcile``: run a coroutine, such as a request of a client, in the event loop, and
    wait for its end.

    :raises concurrent.futures.CancelledError: when the reconcile has passed its deadline, or all of it stops.
    :raises RuntimeError: anywhere else, where one awaits.
    """
    # What it runs knows of the call as well, and would wait for itself, with the whole loop.
    call = _CALL.get(None) if asyncio._get_running_loop() is None else None
    if call is None:
        work.close()
        raise RuntimeError("block_on is for plain reconcilers, in their threads; await it here")
    return call.wait(work)


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
        """Run the function in a thread. When cancelled, the thread continues and counts as left behind."""
        call = _Call(asyncio.get_running_loop())
        context = contextvars.copy_context()
        context.run(_CALL.set, call)

        future: Future[Result]
        if call.virtual is None:
            future = self._pool.submit(context.run, self._run, key)
        else:
            future = call.virtual.submit(self._pool, lambda: context.run(self._run, key))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            call.give_up()
            if not future.cancelled() and not future.done():
                self._left[key] = future
            raise

    def _run(self, key: ObjectKey) -> Result:
        try:
            return self._reconcile(key)
        except CancelledError as error:
            # That of a future is an ordinary exception, which would be taken for the thread's own.
            raise RuntimeError("what the reconcile waited for was cancelled") from error
        except StopIteration as error:
            # No future takes one: its waiter would wait forever. Coroutines say the same.
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
