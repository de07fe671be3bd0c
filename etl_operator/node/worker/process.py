"""A worker's life: it is told what to serve, serves, and ends with its control process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import socket
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path

import grpc.aio

from etl_operator.logs import configure_logging
from etl_operator.node.data import rpc, view
from etl_operator.node.data.plane import DataPlane
from etl_operator.node.limits import GRACE, server_options
from etl_operator.node.worker import link
from etl_operator.node.worker.budget import buffer_of, limits_of, tuning_of
from etl_operator.node.worker.forward import Forward, channel_to
from etl_operator.node.worker.port import Port
from etl_operator.tls.files import TlsError

log = logging.getLogger(__name__)


class WorkerProcess:
    """The worker in this process.

    :param control: the link to the control process.
    :param begin: the first message.
    """

    def __init__(self, control: link.Link, begin: link.Begin) -> None:
        settings = begin.settings
        self._control = control
        self._begin = begin
        self._snapshot: view.Snapshot | None = None
        self._plane = DataPlane(
            limits_of(settings, begin.workers), tuning_of(settings), buffer=buffer_of(settings)
        )
        self._calls: Counter[str] = Counter()
        self._asked = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Serve until the control process says so or is gone.

        :returns: the exit code.
        """
        if self._begin.snapshot is not None:
            await self._use(self._begin.snapshot)
        settings = self._begin.settings
        channel = channel_to(self._begin.control, settings.grpc.max_message_size)
        server = grpc.aio.server(options=server_options(settings.grpc, reuse_port=True))
        server.add_generic_rpc_handlers(rpc.handlers(self._plane, settings.node.package_prefix, self._count))
        server.add_generic_rpc_handlers([Forward(channel)])
        port = Port(self._begin.listen, settings, shared=True)
        try:
            await port.open(server)
        except (OSError, RuntimeError, TlsError) as error:
            log.error("cannot listen on %s for gRPC: %s", self._begin.listen, error)
            return 1
        await server.start()
        self._control.send(link.Serving())
        self._spawn(self._say_when_due())
        if not await self._obey():
            # Nothing is worth an answer any more: no status of the control services, no checkpoint.
            return 1
        await server.stop(GRACE)
        await port.close()
        for task in self._tasks:
            task.cancel()
        await self._plane.close()
        return 0

    def _count(self, method: str) -> None:
        self._calls[method] += 1

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _obey(self) -> bool:
        """Until `link.Stop`; False if the control process is gone before."""
        while (message := await self._control.read()) is not None:
            if isinstance(message, link.Stop):
                return True
            await self._take(message)
        return False

    async def _use(self, snapshot: view.Snapshot) -> None:
        # Compiling tens of thousands of plans takes seconds: the control process must not take it for a hang.
        await self._plane.prepare(snapshot.pipelines, lambda: self._control.send(link.Beat()))
        self._plane.update(snapshot)
        self._snapshot = snapshot

    async def _take(self, message: link.Message) -> None:
        match message:
            case link.Change(applied, pipelines, services):
                last = self._snapshot or view.Snapshot(0, [], [])
                await self._use(
                    view.Snapshot(
                        applied,
                        last.pipelines if pipelines is None else pipelines,
                        last.services if services is None else services,
                    )
                )
            case link.Ask() if message.only:
                self._spawn(self._answer_exactly(message))
            case link.Ask():
                self._control.send(self._answer(message))
            case link.Beat():
                self._control.send(message)
            case link.Confirm(progress):
                self._plane.confirm(progress)
            case link.Passed(offsets):
                self._plane.passed_elsewhere(offsets)
            case link.Leave(seconds):
                self._spawn(self._leave(seconds))
            case _:
                raise ValueError(f"unexpected message from the control process: {message}")

    async def _answer_exactly(self, asked: link.Ask) -> None:
        await self._plane.refresh(asked.only)
        self._control.send(self._answer(asked))

    def _answer(self, asked: link.Ask) -> link.Answer:
        progress = view.Progress()
        if asked.progress:
            progress = self._plane.progress()
            self._asked.set()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return link.Answer(
            asked.number,
            asked.only,
            self._plane.report(asked.only),
            progress,
            dict(self._calls),
            usage.ru_utime + usage.ru_stime,
            _resident_bytes(),
        )

    async def _leave(self, seconds: float) -> None:
        await self._plane.leave(seconds)
        self._control.send(link.Left())

    async def _say_when_due(self) -> None:
        while True:
            await self._plane.progress_due()
            self._asked.clear()
            self._control.send(link.Due())
            await self._asked.wait()


def _resident_bytes() -> int:
    """0 where there is no /proc."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return 0


async def run(end: socket.socket) -> int:
    """Run a worker.

    :param end: its end of the link.
    :returns: the exit code.
    """
    control = await link.Link.over(end)
    control.send(link.Up())
    begin = await control.read()
    if not isinstance(begin, link.Begin):
        return 1
    node = begin.settings.node
    configure_logging(node.log_format, node.log_level, {"worker": begin.number})
    # What is imported stays: collections need not look at it again and again.
    gc.freeze()
    return await WorkerProcess(control, begin).run()
