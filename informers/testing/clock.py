"""Virtual time: an event loop that never waits. Hours of back-off run in milliseconds.

Whenever nothing is ready to run, the loop leaps to its next timer instead of sleeping. What runs in it
must do its waiting through the loop; real sockets and threads have no place there, because virtual time
would run away while they work. What is handed to the loop for a thread is therefore done on the spot, and
plain reconcilers have their threads, but only one of all threads and the loop works at a time.
"""

from __future__ import annotations

import asyncio
import contextvars
import selectors
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

T = TypeVar("T")

START = 1_800_000_000.0
"""The virtual epoch, 2027-01-15T08:00:00Z: what :meth:`VirtualClock.time` shows at the start."""

_YEAR = 366 * 86_400.0

_PATIENCE = 60.0
"""Real seconds a thread may work while virtual time stands still."""

_TURNS = 1_000_000
"""Turns of the loop without any time passing, after which nobody believes that it ever will."""


class VirtualStandstill(RuntimeError):
    """Every task waits for something that no timer and no task will ever bring, or some task never waits."""


class _LeapingSelector(selectors.BaseSelector):
    """Advances a reading instead of blocking."""

    def __init__(self, limit: float) -> None:
        self._real = selectors.DefaultSelector()
        self._limit = limit
        self._turns = 0
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = self._real.select(0)
        if events or timeout == 0:
            self._turns += 1
            if self._turns > _TURNS:
                self._turns = 0
                raise VirtualStandstill(
                    f"{_TURNS} turns of the loop took no time: something never waits, or for 0 seconds only"
                )
            return events
        self._turns = 0
        if timeout is None:
            raise VirtualStandstill("every task waits and no timer is set")
        self.now += max(timeout, 0.0)
        if self.now > self._limit:
            raise VirtualStandstill(f"still running after {self._limit:.0f} virtual seconds")
        return events

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time starts at 0 and leaps from timer to timer.

    :param limit: virtual seconds after which a run that does not end is given up; a year by default.
    """

    def __init__(self, limit: float = _YEAR) -> None:
        self._leaping = _LeapingSelector(limit)
        super().__init__(self._leaping)
        self._turn = threading.Semaphore(0)
        # Coarser than the rounding of added-up floats, so that a leap always reaches its timer.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._leaping.now

    def submit(self, pool: Executor, work: Callable[[], T]) -> Future[T]:
        """Let a thread of the pool work until it ends or says :meth:`hand_back`.

        :returns: what comes of it.
        """
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()

        def run() -> None:
            try:
                result = work()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            # Last, after whatever the end of the work brings into the loop.
            self.hand_back()

        pool.submit(run)
        self.hand_over()
        return future

    def hand_over(self) -> None:
        """Let the thread that can continue do so, until it ends or says :meth:`hand_back`. No time passes.

        :raises VirtualStandstill: when it takes a minute of real time.
        """
        if not self._turn.acquire(timeout=_PATIENCE):
            raise VirtualStandstill("a thread waits for something that is not in the loop")

    def hand_back(self) -> None:
        """In a thread: let the loop continue."""
        self._turn.release()

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Call ``func`` now; no virtual time passes."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


_LOOP: contextvars.ContextVar[asyncio.AbstractEventLoop] = contextvars.ContextVar("_LOOP")
"""Of the thread of a plain reconciler, which has no running loop."""


class VirtualClock:
    """The :class:`informers.clock.Clock` of the running virtual loop.

    :param skew: seconds the shown time is ahead of other clocks of the same loop.
    """

    def __init__(self, skew: float = 0.0) -> None:
        self._skew = skew

    def monotonic(self) -> float:
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return _LOOP.get().time()

    def time(self) -> float:
        return START + self._skew + self.monotonic()


def run_virtual(work: Coroutine[Any, Any, T], *, limit: float = _YEAR) -> T:
    """Run a coroutine to its end in virtual time, like ``asyncio.run``, and return what it returns.

    :param limit: virtual seconds the work may take; a year by default.
    :raises VirtualStandstill: when nothing can ever happen any more, when something continues forever in no
        time at all, or the limit has passed.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(limit)) as runner:
        context = contextvars.copy_context()
        context.run(_LOOP.set, runner.get_loop())
        return runner.run(work, context=context)
