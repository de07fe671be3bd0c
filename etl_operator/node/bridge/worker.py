"""One worker, as the control process sees it: started, asked, and started again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count

import msgspec

from etl_operator.node.bridge import watchdog
from etl_operator.node.data import view
from etl_operator.node.worker import link

log = logging.getLogger(__name__)

ANSWER_SECONDS = 1.0
"""How long an answer may take until the one before holds."""
STOP_SECONDS = 3.0
"""How long a worker has to end before it is killed."""
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 10.0
_STEADY = 30.0
"""Seconds after which the end of a worker counts as the first one again."""


def _end(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a process whose link is closed: it ends by itself, or is of no use any more."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(STOP_SECONDS)
    process.kill()
    return process.wait()


class _Gone(Exception):
    """The worker has ended."""


class Worker:
    """One place for a worker process.

    :param begin: makes the first message, for the worker of this number, once the node is open.
    :param on_serving: called when it begins or ceases to serve.
    :param on_due: called when it has progress that should be committed.
    :param on_end: called with its last answer when it has ended.
    """

    def __init__(
        self,
        number: int,
        begin: Callable[[int], link.Begin],
        opened: asyncio.Event,
        on_serving: Callable[[], None],
        on_due: Callable[[], None],
        on_end: Callable[[link.Answer], None],
    ) -> None:
        self.number = number
        self.serving = False
        self.restarts = 0
        self.last: link.Answer | None = None
        """Its last answer; the report is that of all pipelines."""
        self.progress = view.Progress()
        """What it said last."""
        self._begin = begin
        self._opened = opened
        self._on_serving = on_serving
        self._on_due = on_due
        self._on_end = on_end
        self._link: link.Link | None = None
        """Only once it has begun: before, it takes no records and holds none."""
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[link.Answer]] = {}
        self._left = asyncio.Event()
        self._ending = False

    @property
    def has_begun(self) -> bool:
        """It may take records."""
        return self._link is not None

    async def run(self) -> None:
        """Keep a process running, until it is stopped."""
        wait = 0.0
        while not self._ending:
            started = time.monotonic()
            how = await self._live()
            if self._ending:
                return
            lasted = time.monotonic() - started
            wait = _FIRST_WAIT if lasted > _STEADY or not wait else min(wait * 2, _LONGEST_WAIT)
            self.restarts += 1
            log.error("data worker %d %s; starting it again in %g s", self.number, how, wait)
            await asyncio.sleep(wait)

    def send(self, message: link.Message) -> None:
        """Send, if it has begun."""
        if self._link is not None:
            self._link.send(message)

    async def ask(self, *, progress: bool = False, only: str = "") -> link.Answer | None:
        """What it holds. None: it is gone, and holds nothing.

        If it does not answer in time, its answer before holds, which says what it had applied then.
        """
        if self._link is None:
            return None
        number = next(self._numbers)
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        self._link.send(link.Ask(number, progress, only))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer: link.Answer = await asked
        except TimeoutError:
            if self.last is not None:
                return msgspec.structs.replace(self.last, progress=view.Progress())
            return link.Answer(number, only, view.Report(-1), view.Progress(), {})
        except _Gone:
            return None
        finally:
            self._asked.pop(number, None)
        if progress:
            self.progress = answer.progress
        return answer

    async def leave(self, seconds: float) -> None:
        """Have it finish its records, and wait until it has or is gone. It is not started again."""
        self._ending = True
        if self._link is None:
            return
        self._link.send(link.Leave(seconds))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds + STOP_SECONDS):
                await self._left.wait()

    def stop(self) -> None:
        """Have it end."""
        self._ending = True
        self.send(link.Stop())

    async def _live(self) -> str:
        """From its start to its end; says how it ended."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                # The kernel ends it with the thread that started it: that must be the main one.
                process = subprocess.Popen(  # noqa: ASYNC220
                    [sys.executable, "-P", "-m", "etl_operator.node.worker", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                )
        except OSError as error:
            ours.close()
            return f"cannot be started: {error}"
        end = await link.Link.over(ours)
        dog = watchdog.Watchdog(lambda: end.send(link.Beat()), lambda: self._hangs(process))
        try:
            await self._serve(end, dog)
        finally:
            end.close()
            self._gone()
            code = await asyncio.to_thread(_end, process)
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def _hangs(self, process: subprocess.Popen[bytes]) -> None:
        seconds = watchdog.BEAT_SECONDS * watchdog.MOST_SILENT
        log.error("data worker %d has not answered for %g s; killing it", self.number, seconds)
        process.kill()

    async def _serve(self, end: link.Link, dog: watchdog.Watchdog) -> None:
        watching: asyncio.Task[None] | None = None
        try:
            while (message := await end.read()) is not None:
                dog.heard()
                if isinstance(message, link.Up):
                    await self._opened.wait()
                    end.send(self._begin(self.number))
                    self._link = end
                    watching = asyncio.create_task(dog.run())
                else:
                    self._take(message)
        finally:
            if watching is not None:
                watching.cancel()

    def _take(self, message: link.Message) -> None:
        match message:
            case link.Serving():
                log.info("data worker %d is serving", self.number)
                self.serving = True
                self._on_serving()
            case link.Answer():
                self._answered(message)
            case link.Due():
                self._on_due()
            case link.Left():
                self._left.set()

    def _answered(self, answer: link.Answer) -> None:
        asked = self._asked.pop(answer.number, None)
        if asked is not None and not asked.done():
            asked.set_result(answer)
        if answer.only:
            if self.last is None:
                return
            # A part only: what was known of the other pipelines holds.
            known = {**self.last.report.pipelines, **answer.report.pipelines}
            report = msgspec.structs.replace(answer.report, applied=self.last.report.applied, pipelines=known)
            answer = msgspec.structs.replace(answer, report=report)
        self.last = answer

    def _gone(self) -> None:
        self._link = None
        self._left.set()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(_Gone())
        self._asked.clear()
        last, self.last, self.progress = self.last, None, view.Progress()
        if last is not None:
            self._on_end(last)
        if self.serving:
            self.serving = False
            self._on_serving()
