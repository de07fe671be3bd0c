"""The data plane in workers: what the control process sends them, and what they say as one."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from etl_operator.node.bridge import merging
from etl_operator.node.bridge.worker import STOP_SECONDS, Worker
from etl_operator.node.consensus.address import Address
from etl_operator.node.data.view import Offset, PipelineReport, Progress, Report, Service, Snapshot
from etl_operator.node.settings import Settings
from etl_operator.node.worker import link

PORT_SECONDS = 5.0
"""How long a port may still be in use at the start, by workers of a node that was killed."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One worker, for metrics."""

    number: int
    serving: bool
    restarts: int
    cpu_seconds: float
    """Of the present process."""
    resident_bytes: int


class Workers:
    """A `planes.Plane` in worker processes.

    :param listen: the public address.
    :param control: gRPC target of this process, for them.
    :param on_serving: called when a worker begins or ceases to serve.
    """

    def __init__(
        self, number: int, listen: Address, control: str, settings: Settings, on_serving: Callable[[], None]
    ) -> None:
        self._listen = listen
        self._control = control
        self._settings = settings
        self._snapshot: Snapshot | None = None
        self._gone: dict[str, PipelineReport] = {}
        """Counters of workers that have ended, by pipeline."""
        self._gone_calls: Counter[str] = Counter()
        self._opened = asyncio.Event()
        self._due = asyncio.Event()
        self._workers = [
            Worker(i, self._begin, self._opened, on_serving, self._due.set, self._ended)
            for i in range(number)
        ]
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_serving(self) -> bool:
        """At least one of them serves."""
        return any(worker.serving for worker in self._workers)

    @property
    def buffer_trouble(self) -> str:
        """See `planes.Plane`."""
        found = (worker.last.report.buffer for worker in self._workers if worker.last is not None)
        return next((trouble for trouble in found if trouble), "")

    def start(self) -> None:
        """Start the processes; they serve after `open`."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(worker.run()) for worker in self._workers]

    def open(self) -> None:
        """See `planes.Plane`."""
        self._opened.set()

    def update(self, snapshot: Snapshot) -> None:
        """See `planes.Plane`. What is as before is not sent again."""
        last, number = self._snapshot, len(self._workers)
        services = [_part_of(service, number) for service in snapshot.services]
        self._snapshot = Snapshot(snapshot.applied, snapshot.pipelines, services)
        change = link.Change(
            snapshot.applied,
            None if last and snapshot.pipelines == last.pipelines else snapshot.pipelines,
            None if last and services == last.services else services,
        )
        if change.pipelines is not None and self._gone:
            known = {pipeline.pipeline_id for pipeline in snapshot.pipelines}
            self._gone = {key: value for key, value in self._gone.items() if key in known}
        for worker in self._workers:
            worker.send(change)

    async def report(self, only: str = "") -> Report:
        """See `planes.Plane`. Counters of workers that have ended are in it."""
        applied = self._snapshot.applied if self._snapshot else -1
        answers = await asyncio.gather(*(worker.ask(only=only) for worker in self._workers))
        reports = [answer.report for answer in answers if answer is not None]
        gone = {key: value for key, value in self._gone.items() if only in ("", key)}
        return merging.report_of(applied, reports, gone)

    async def progress_due(self) -> None:
        """See `planes.Plane`."""
        await self._due.wait()

    async def progress(self) -> Progress:
        """See `planes.Plane`."""
        self._due.clear()
        answers = await asyncio.gather(*(worker.ask(progress=True) for worker in self._workers))
        return merging.progress_of([answer.progress for answer in answers if answer is not None])

    def confirm(self, progress: Progress) -> None:
        """See `planes.Plane`."""
        for worker in self._workers:
            own = merging.share_of(progress, worker.progress)
            if own != Progress():
                worker.send(link.Confirm(own))

    def passed_elsewhere(self, offsets: Sequence[Offset]) -> None:
        """See `planes.Plane`."""
        for worker in self._workers:
            worker.send(link.Passed(list(offsets)))

    async def leave(self, seconds: float) -> None:
        """See `planes.Plane`. Control services are forwarded until `close`."""
        await asyncio.gather(*(worker.leave(seconds) for worker in self._workers))

    async def close(self) -> None:
        """End the processes."""
        for worker, task in zip(self._workers, self._tasks, strict=False):
            if worker.has_begun:
                worker.stop()
            else:
                task.cancel()
        if self._tasks:
            _, pending = await asyncio.wait(self._tasks, timeout=2 * STOP_SECONDS)
            for task in pending:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def calls(self) -> Mapping[str, int]:
        """gRPC calls that workers served themselves, by ``Service/Method``, as of their last answers."""
        total = Counter(self._gone_calls)
        for worker in self._workers:
            if worker.last is not None:
                total.update(worker.last.calls)
        return total

    def figures(self) -> list[Figures]:
        """Of each worker, as of its last answer."""
        return [
            Figures(
                worker.number,
                worker.serving,
                worker.restarts,
                worker.last.cpu_seconds if worker.last else 0.0,
                worker.last.resident_bytes if worker.last else 0,
            )
            for worker in self._workers
        ]

    def _begin(self, number: int) -> link.Begin:
        return link.Begin(
            number, len(self._workers), str(self._listen), self._control, self._settings, self._snapshot
        )

    def _ended(self, last: link.Answer) -> None:
        known = {pipeline.pipeline_id for pipeline in self._snapshot.pipelines} if self._snapshot else set()
        for pipeline_id, report in last.report.pipelines.items():
            if pipeline_id in known:
                parts = [merging.counters_of(report)]
                if pipeline_id in self._gone:
                    parts.append(self._gone[pipeline_id])
                self._gone[pipeline_id] = merging.pipeline_of(parts)
        self._gone_calls.update(last.calls)


def _part_of(service: Service, workers: int) -> Service:
    """A service as one of several workers sees it: they share the calls that it takes at a time."""
    if workers == 1 or not service.most_calls:
        return service
    return msgspec.structs.replace(service, most_calls=max(service.most_calls // workers, 1))


async def port_is_free(listen: Address) -> None:
    """Refuse a port that another program listens on: with SO_REUSEPORT it would get some of the calls.

    :raises OSError: it is still in use after `PORT_SECONDS`.
    """
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    end = time.monotonic() + PORT_SECONDS
    while True:
        try:
            with socket.socket(family) as probe:
                # Connections of an earlier process that are about to close do not count.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((listen.host, listen.port))
            return
        except OSError:
            if time.monotonic() > end:
                raise
        await asyncio.sleep(0.05)
