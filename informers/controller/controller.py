"""The controller: keys from a queue, reconciled by a few long-lived workers.

Workers live as long as the controller; a reconcile costs no task and no timeout object of its own. One
watchdog knows when each began, and cancels the one that passes its deadline. Whatever a reconcile raises
ends here: this is the one place that logs it, counts it, and decides when the key is tried again.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from informers.access import Access
from informers.cache.informer import Informer
from informers.clock import Clock, SystemClock
from informers.controller.current import CURRENT, Reconcile
from informers.controller.deadlines import Slot, Watchdog
from informers.controller.failures import DeadlineExceeded, cause_of, tell
from informers.controller.gate import Gate, GatedInformer
from informers.controller.measuring import ControllerMetrics, Probe
from informers.controller.predicates import Predicate
from informers.controller.reconciler import BlockingReconciler, Reconciler
from informers.controller.sources import Mapper, Source
from informers.controller.threads import Threads
from informers.errors import RuntimeFault, Terminal
from informers.metrics import Metrics
from informers.objects import ObjectKey, Result
from informers.queue import Backoff, Priority, QueueClosed, Work, WorkQueue
from informers.tracing import Tracing

log = logging.getLogger(__name__)

WEDGED_AFTER = 60.0
"""Seconds beyond the deadline after which a reconcile that ignores its cancellation counts as wedged."""

_CLEANUP = 3.0
"""Seconds cancelled workers get to end before they are left behind."""

AHEAD = 1000
"""Keys of a resync that wait in the queue at a time."""

_TURN = 0.002
"""Seconds a worker may keep the event loop with reconciles that never wait."""

_TURN_COUNT = 256
"""The same as a number of reconciles, for a clock that stands still meanwhile."""


@dataclass(frozen=True, slots=True)
class Running:
    """A reconcile that is under way, and for how many seconds."""

    key: ObjectKey
    seconds: float
    causes: tuple[str, ...] = ()
    id: str = ""


class Controller:
    """Runs a reconciler over the keys of what it watches.

    :param name: appears in logs and metrics; one word, unique in the process.
    :param reconciler: with ``async def reconcile``; a plain ``def`` runs in threads.
    :param workers: concurrent reconciles; 4 by default. One key is never reconciled twice at once.
    :param deadline: seconds a reconcile may take before it is cancelled and retried; 60 by default.
    :param clock: for durations; the running loop's own time by default.
    :param rng: for the jitter of back-off; seeded by the manager by default.
    :param backoff: delays by error; see :data:`informers.queue.backoff.DEFAULT_STEPS`.
    :param gate: declares the reconciler pure, and skips runs whose inputs have not moved; none by default.
    :param access: what the reconciler does with the API server beyond watching; for the manager's preflight.
    """

    def __init__(
        self,
        name: str,
        reconciler: Reconciler | BlockingReconciler,
        *,
        workers: int = 4,
        deadline: float = 60.0,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        backoff: Backoff | None = None,
        gate: Gate | None = None,
        access: Sequence[Access] = (),
    ) -> None:
        if workers < 1 or deadline <= 0:
            raise ValueError("a controller needs at least one worker and a positive deadline")
        self.name = name
        self.workers = workers
        self.deadline = deadline
        self.access = tuple(access)
        # Jitter and names need no secrecy.
        self._rng = rng or random.Random()  # noqa: S311
        self._seeded = rng is not None
        self.queue = WorkQueue(clock=clock, rng=self._rng, backoff=backoff)
        self._process = _name(self._rng)
        self._gate = gate
        if gate is not None:
            gate.claim(name)
        self._tracing: Tracing | None = None
        self._clock = clock or SystemClock()
        self._threads: Threads | None = None
        reconcile = reconciler.reconcile
        self._reconcile: Callable[[ObjectKey], Awaitable[Result]]
        if inspect.iscoroutinefunction(reconcile):
            self._reconcile = reconcile
        else:
            self._threads = Threads(reconcile, name, workers)  # type: ignore[arg-type]  # as just asked
            self._reconcile = self._threads.call
        self._metrics: ControllerMetrics | None = None
        self._sources: list[Source] = []
        self._slots: list[Slot] = []
        self._task: asyncio.Task[None] | None = None
        """The one of :meth:`run`."""
        self._ended: asyncio.Future[None] | None = None
        self._stopping = False

    # -- wiring -----------------------------------------------------------------------------------

    def watches(
        self,
        informer: Informer | GatedInformer,
        *,
        predicate: Predicate | None = None,
        mapper: Mapper | None = None,
    ) -> Source:
        """Reconcile on changes of a resource: from :meth:`run` on, or at once when it runs already; either
        begins with all that is there.

        :param predicate: which changes count; all by default.
        :param mapper: the keys a changed object concerns; its own by default.
        :returns: what :meth:`Source.close` ends it with, whenever that is wanted.
        """
        if isinstance(informer, GatedInformer):
            informer = informer.informer
        source = Source(self.queue, informer, predicate, mapper, self._sources.remove)
        self._sources.append(source)
        if self._ended is not None and not self._stopping:
            source.start()
        return source

    def unwatch(self, informer: Informer) -> None:
        """Close every source on this informer."""
        for source in list(self._sources):
            if source.informer is informer:
                source.close()

    def enqueue(
        self, key: ObjectKey, *, cause: str = "", priority: Priority = Priority.EVENT, force: bool = False
    ) -> None:
        """Reconcile a key as soon as a worker is free; with a gate, only if it finds that an input has moved.

        :param force: also when no input has moved.
        """
        if self._gate is not None:
            if force:
                self._gate.forget(key)
            elif self._gate.unmoved(key, self._clock.monotonic()) is not None:
                # Not even queued: a resync of everything costs next to nothing. What the last run asked for
                # is still in the queue.
                if self._metrics is not None:
                    self._metrics.skipped()
                return
        self.queue.add(key, priority=priority, cause=cause)

    async def resync(self, keys: Iterable[ObjectKey], *, ahead: int = AHEAD) -> None:
        """Look at these keys again because time has passed; ends when all are queued or the controller stops.

        At most ``ahead`` of them wait in the queue at a time: a look at everything must not become a heap of
        work that everything else is compared with, and that grows with the number of objects.
        """
        burst = max(1, ahead // 2)
        for count, key in enumerate(keys, 1):
            self.enqueue(key, cause="resync", priority=Priority.RESYNC)
            if count % burst == 0:
                # A gate may let nothing into the queue at all; others get their turn all the same.
                await asyncio.sleep(0)
                await self.queue.room(Priority.RESYNC, burst)
                if self._stopping:
                    return

    @property
    def informers(self) -> Sequence[Informer]:
        """What it watches."""
        return [source.informer for source in self._sources]

    def seed(self, rng: random.Random) -> None:
        """Make what is random depend on ``rng``, unless a source was given. Once, before :meth:`run`."""
        if not self._seeded:
            self._rng.seed(rng.getrandbits(64))
            self._process = _name(self._rng)

    def measure(self, metrics: Metrics) -> None:
        """Show the controller and its queue in these metrics. Once, before :meth:`run`."""
        probe = Probe(self._active, self._stuck, self.workers, self.queue)
        self._metrics = ControllerMetrics(metrics, self.name, probe)

    def trace(self, tracing: Tracing) -> None:
        """Make a span of every reconcile. Once, before :meth:`run`."""
        self._tracing = tracing

    # -- life -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until :meth:`stop`; cancelling ends every reconcile at once. For one call.

        :raises BaseException: what ended a worker, if that was no ``Exception``.
        """
        if self._ended is not None:
            raise RuntimeError(f"controller {self.name} was started already")
        self._task = asyncio.current_task()
        self._ended = asyncio.get_running_loop().create_future()
        for source in list(self._sources):
            source.start()
        for _ in range(self.workers):
            self._start_worker()
        watching = Watchdog(
            self.name,
            self._slots,
            self.deadline,
            self._clock,
            late=self._timed_out,
            replace=self._start_worker,
        )
        watchdog = asyncio.create_task(watching.run(), name=f"{self.name}-watchdog")
        try:
            await asyncio.wait((self._ended, watchdog), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Before anything is waited for: this may be cancelled again, and nobody must wait for keys then.
            self._stopping = True
            self.queue.shut_down()
            watchdog.cancel()
            await asyncio.gather(watchdog, self._cancel_workers(), return_exceptions=True)
        for one in (self._ended, watchdog):
            if one.done() and not one.cancelled():
                one.result()

    async def stop(self, grace: float) -> list[ObjectKey]:
        """Take no more keys, let running reconciles finish for ``grace`` seconds, cancel the rest.

        :returns: the keys that had to be cancelled.
        """
        self._stopping = True
        self.queue.shut_down()
        tasks = self._tasks()
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        late = [running.key for running in self.running()]
        await self._cancel_workers()
        return late

    async def _cancel_workers(self) -> None:
        tasks = self._tasks()
        for task in tasks:
            task.cancel()
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=_CLEANUP)
            for running in self.running() if left else ():
                log.error(
                    "reconcile ignores its cancellation; the process stops without it",
                    extra={"controller": self.name, "key": running.key, "seconds": round(running.seconds, 1)},
                )
        if self._threads is not None:
            self._threads.close()

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [slot.task for slot in self._slots if slot.task is not None and not slot.task.done()]

    # -- looking ----------------------------------------------------------------------------------

    def running(self) -> list[Running]:
        """What is being reconciled, longest first."""
        now = self._clock.monotonic()
        busy = [
            Running(
                work.key,
                now - work.taken_at,
                work.causes,
                Reconcile(self.name, self._process, work, None).id,
            )
            for slot in self._slots
            if (work := slot.work) is not None
        ]
        return sorted(busy, key=lambda running: running.seconds, reverse=True)

    @property
    def idle(self) -> bool:
        """Whether nothing is being reconciled, not even by a thread or a worker that was left behind."""
        return not self._stuck() and not self._active()

    def health(self) -> str | None:
        """What is wrong with the workers, for a liveness check; ``None`` when nothing is."""
        if self._threads is not None and self._threads.exhausted:
            return f"{self._threads.left_behind} threads have not returned, and none is left to run anything"
        limit = self.deadline + WEDGED_AFTER
        wedged = [running for running in self.running() if running.seconds > limit]
        if not wedged:
            return None
        worst = wedged[0]
        return f"reconcile of {worst.key} has run for {worst.seconds:.0f} s and ignores its cancellation"

    def _active(self) -> int:
        return sum(slot.work is not None for slot in self._slots)

    def _stuck(self) -> int:
        threads = self._threads.left_behind if self._threads is not None else 0
        return threads + sum(slot.overdue for slot in self._slots)

    # -- working ----------------------------------------------------------------------------------

    def _start_worker(self) -> None:
        slot = Slot()
        self._slots.append(slot)
        name = f"{self.name}-worker-{len(self._slots)}"
        slot.task = asyncio.create_task(self._work(slot), name=name)
        slot.task.add_done_callback(lambda task: self._worker_ended(slot, task))

    def _worker_ended(self, slot: Slot, task: asyncio.Task[None]) -> None:
        self._slots.remove(slot)
        ended = self._ended
        if ended is None or ended.done():
            if not task.cancelled():
                task.exception()
            return
        error = None if task.cancelled() else task.exception()
        if error is not None:
            ended.set_exception(error)
        elif not self._slots:
            ended.set_result(None)

    async def _work(self, slot: Slot) -> None:
        get_nowait, gate, reconcile = self.queue.get_nowait, self._gate, self._reconcile
        waited = self._metrics.waited if self._metrics is not None else None
        turn_began, turn_count = self._clock.monotonic(), 0
        while not slot.replaced:
            try:
                # A coroutine for every key costs as much as taking it.
                work = get_nowait() or await self.queue.get()
            except QueueClosed:
                return
            if waited is not None:
                waited(work.taken_at - work.since)
            if gate is not None and self._skipped(gate, work.key, work.taken_at):
                now = work.taken_at
            else:
                slot.work = work
                reads = gate.begin(work.key) if gate is not None else None
                # Set in this worker's own context, until its next reconcile.
                CURRENT.set((self.name, self._process, work, reads))
                try:
                    result = await (reconcile(work.key) if self._tracing is None else self._traced(work))
                except BaseException as error:
                    now = self._raised(slot, work, error)
                else:
                    now = self._returned(slot, work, result)
            turn_count += 1
            if turn_count >= _TURN_COUNT or now - turn_began >= _TURN:
                # Neither a full queue nor a reconcile that finds nothing to do ever waits.
                await asyncio.sleep(0)
                if self._metrics is not None:
                    self._metrics.settle()
                turn_began, turn_count = self._clock.monotonic(), 0

    def _returned(self, slot: Slot, work: Work, result: Result) -> float:
        """A reconcile has ended well; returns the time."""
        if not isinstance(result, Result):
            wrong = TypeError(f"reconcile must return a Result, not {type(result).__name__}")
            return self._raised(slot, work, wrong)
        queue, metrics, key = self.queue, self._metrics, work.key
        if work.failures:
            queue.forget(key)
        if result.requeue_after is not None:
            queue.add_after(key, result.requeue_after, cause="requeue")
        if slot.overdue or self._gate is not None or self._threads is not None:
            return self._let_go(slot, work, result)
        # Spelt out: how nearly all of them end.
        slot.work = None
        ended = queue.done(key)
        if metrics is not None:
            metrics.reconciled(work, result, ended)
        return ended

    def _raised(self, slot: Slot, work: Work, error: BaseException) -> float:
        """A reconcile has not ended well; returns the time.

        :raises BaseException: what ends the worker.
        """
        if isinstance(error, asyncio.CancelledError) and not self._told_to_end():
            error = self._explain(slot, error)
        if not isinstance(error, Exception):
            self._let_go(slot, work, None, counts=False)
            raise error
        try:
            self._failed(work, cause_of(error))
        finally:
            ended = self._let_go(slot, work, None)
        return ended

    def _let_go(self, slot: Slot, work: Work, result: Result | None, *, counts: bool = True) -> float:
        """The key is free, unless a thread still has it; returns the time.

        :param counts: false for what was cut short.
        """
        slot.work = None
        if self._gate is not None:
            self._gate.end(work.key, self._clock.monotonic(), result)
        if slot.overdue or self._threads is not None:
            ended = self._release(slot, work.key)
        else:
            ended = self.queue.done(work.key)
        if self._metrics is not None and counts:
            self._metrics.reconciled(work, result, ended)
        return ended

    async def _traced(self, work: Work) -> Result:
        assert self._tracing is not None
        with self._tracing.reconcile(self.name, work, Reconcile(self.name, self._process, work, None).id):
            return await self._reconcile(work.key)

    def _skipped(self, gate: Gate, key: ObjectKey, now: float) -> bool:
        """Whether there is nothing to run for; what the last run asked for still stands."""
        due = gate.unmoved(key, now)
        if due is None:
            return False
        if due < math.inf:
            self.queue.add_after(key, due - now, cause="requeue")
        self.queue.done(key)
        if self._metrics is not None:
            self._metrics.skipped()
        return True

    def _told_to_end(self) -> bool:
        """Whether a cancellation means the worker. Else it comes from inside, or from the deadline, and the
        worker's own task cannot tell: a reconcile may have cancelled it before, and gone on."""
        return self._stopping or (self._task is not None and self._task.cancelling() > 0)

    def _release(self, slot: Slot, key: ObjectKey) -> float:
        """Let the key go; returns the time."""
        if slot.overdue:
            slot.overdue = False
            if slot.task is not None:
                slot.task.uncancel()
        if self._threads is not None and self._threads.busy(key):
            # The key is not free before its thread has returned.
            self._threads.when_returned(key, lambda: self.queue.done(key))
            return self._clock.monotonic()
        return self.queue.done(key)

    def _explain(self, slot: Slot, cancelled: asyncio.CancelledError) -> Exception:
        if slot.overdue:
            error: Exception = DeadlineExceeded(f"the reconcile took longer than {self.deadline:g} s")
        else:
            # It awaited a task that someone cancelled. Without this, the worker would end unnoticed.
            error = RuntimeFault("a task that the reconcile waited for was cancelled")
        error.__cause__ = cancelled
        return error

    def _failed(self, work: Work, error: Exception) -> None:
        delay = self.queue.retry(work.key, error)
        if self._metrics is not None:
            self._metrics.failed(terminal=isinstance(error, Terminal))
        extra = {
            **Reconcile(self.name, self._process, work, None).fields(),
            "failures": work.failures + 1,
            "retry_in": None if delay is None else round(delay, 3),
            "seconds": round(self._clock.monotonic() - work.taken_at, 3),
        }
        tell(error, extra, again=work.failures > 0)

    def _timed_out(self) -> None:
        if self._metrics is not None:
            self._metrics.timed_out()


def _name(rng: random.Random) -> str:
    return f"{rng.getrandbits(32):08x}"
