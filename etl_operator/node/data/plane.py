"""The data plane of one node: which pipelines take whose records, within which budget, what it reports."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol

from etl_operator.node.data.balance import Key
from etl_operator.node.data.buffer import Buffer, Memory
from etl_operator.node.data.call import Services, Tuning
from etl_operator.node.data.chunk import Trace
from etl_operator.node.data.credit import Amount, Budget, Limits
from etl_operator.node.data.flow import Flow, Way
from etl_operator.node.data.frames import Frame
from etl_operator.node.data.graph import Stage
from etl_operator.node.data.lane import Clock
from etl_operator.node.data.ledger import Ticket
from etl_operator.node.data.plans import Plans
from etl_operator.node.data.view import Offset, Pipeline, Progress, Report, Service, Snapshot, Watermark
from etl_operator.router.pb import common_pb2

log = logging.getLogger(__name__)

_RECORD_COST = 200
"""Bytes that a record takes in memory beside its own."""
_MOST_ROUTES = 10_000
"""Sources whose pipelines are remembered."""
COMMIT_RECORDS = 10_000
"""Records decided after which progress is due at once."""


class NoPipeline(Exception):
    """Nothing takes records of this source."""

    def __init__(self, text: str, *, lasting: bool) -> None:
        super().__init__(text)
        self.lasting = lasting
        """It stays so until somebody acts."""


class Stream(Protocol):
    """An open stream of a source."""

    def leave(self) -> None:
        """The node is leaving: take nothing more, answer what is under way, end."""

    def cut(self) -> None:
        """End now, whatever is unanswered."""


class RealClock:
    """A `lane.Clock`."""

    def now(self) -> float:
        """See `Clock`."""
        return time.time()

    def chance(self) -> float:
        """See `Clock`."""
        return random.random()  # noqa: S311 - jitter

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds)


class DataPlane:
    """All pipelines of a node. Belongs to one event loop.

    :param services: `call.Services`, or what a test puts in its place.
    :param buffer: where records are before they are delivered; by default in memory.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        tuning: Tuning | None = None,
        *,
        services: Services | None = None,
        clock: Clock | None = None,
        buffer: Buffer | None = None,
    ) -> None:
        self.budget = Budget(limits or Limits(), time.monotonic)
        self.streams: set[Stream] = set()
        self.leaving = False
        self._services = services or Services(tuning or Tuning())
        self.clock = clock or RealClock()
        self._held = Snapshot(-1, [], [])
        """The last snapshot; -1: none has come yet."""
        self._flows: dict[str, Flow] = {}
        self._sources: dict[str, Service] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._routes: dict[tuple[str, str], list[Way]] = {}
        self._freed = asyncio.Event()
        self._due = asyncio.Event()
        self._decided = 0
        self._confirmed: dict[tuple[str, str, int], int] = {}
        self._reached: dict[tuple[str, str, int], int] = {}
        self._marks: dict[Key, common_pb2.Watermark] = {}
        self._later_marks: dict[Key, common_pb2.Watermark] = {}
        self._buffer = buffer or Memory()
        self._buffer.attach(self)
        self._called = self._buffer.processor(self._services)
        self._plans = Plans(self._buffer.plan)

    # What the control side says.

    async def prepare(self, pipelines: Sequence[Pipeline], on_slice: Callable[[], None]) -> None:
        """Do what an `update` with these pipelines takes long for, while other tasks run.

        :param on_slice: called now and then meanwhile.
        """
        changed = (
            pipeline.config
            for pipeline in pipelines
            if (flow := self._flows.get(pipeline.pipeline_id)) is None or flow.config != pipeline.config
        )
        await self._plans.prepare(changed, on_slice)

    def update(self, snapshot: Snapshot) -> None:
        """Pipelines and services as they are now."""
        # Most snapshots bring a new number and nothing else.
        if snapshot.services is not self._held.services:
            self._services.update(snapshot.services)
            self._sources = {
                one.service_id: one for one in snapshot.services if one.kind == common_pb2.SERVICE_TYPE_SOURCE
            }
        if snapshot.pipelines is not self._held.pipelines:
            self._update_pipelines(snapshot.pipelines)
        if snapshot.pipelines is not self._held.pipelines or snapshot.services is not self._held.services:
            self._buffer.update({one.pipeline_id: one for one in snapshot.pipelines}, self._flows)
        self._held = snapshot
        self._routes.clear()
        self.wake()

    def _update_pipelines(self, pipelines: Sequence[Pipeline]) -> None:
        wanted = {pipeline.pipeline_id: pipeline for pipeline in pipelines}
        for gone in self._flows.keys() - wanted.keys():
            self._flows.pop(gone).close()
            self._forget(gone)
        for pipeline_id, pipeline in wanted.items():
            flow = self._flows.get(pipeline_id)
            if flow is None:
                flow = self._flows[pipeline_id] = Flow(
                    pipeline_id,
                    self._called,
                    self.clock,
                    self.spawn,
                    self.wake,
                    self._routes.clear,
                    self._plans.of,
                )
            flow.update(pipeline)

    @property
    def is_told(self) -> bool:
        """A snapshot has come."""
        return self._held.applied >= 0

    def report(self, only: str = "") -> Report:
        """What this node holds and did.

        :param only: id of the one pipeline to report; empty for all.
        """
        return Report(
            applied=self._held.applied,
            pipelines={
                name: self._buffer.report(flow) for name, flow in self._flows.items() if only in ("", name)
            },
            credits=self.budget.granted(),
            pending_bytes=self.budget.used.size,
            streams=len(self.streams),
            outstanding=dict(self._services.outstanding),
            buffer=self.buffer_trouble,
        )

    def progress(self) -> Progress:
        """All that is done and was not confirmed as committed."""
        self._due.clear()
        self._decided = 0
        for pipeline_id, flow in self._flows.items():
            for (source, partition), position in self._buffer.committed(flow).items():
                self._reached[pipeline_id, source, partition] = position
        holes = [
            Offset(pipeline_id, *key, position)
            for pipeline_id, flow in self._flows.items()
            for key, position in flow.holes().items()
        ]
        clear = [mark for key, mark in self._marks.items() if self._is_clear(key, mark.position)]
        return Progress(
            [Offset(*where, position) for where, position in self._reached.items()],
            [
                Watermark(m.source_id, m.partition, m.position, m.timestamp.seconds, m.timestamp.nanos)
                for m in clear
            ],
            holes,
        )

    def confirm(self, progress: Progress) -> None:
        """``progress`` has been committed."""
        for offset in progress.offsets:
            where = (offset.pipeline_id, offset.source, offset.partition)
            if self._reached.get(where) == offset.position:
                del self._reached[where]
        for done in progress.watermarks:
            mark = self._marks.get((done.source, done.partition))
            if mark is not None and mark.position <= done.position:
                key = (done.source, done.partition)
                del self._marks[key]
                if key in self._later_marks:
                    self._marks[key] = self._later_marks.pop(key)

    @property
    def buffer_trouble(self) -> str:
        """Why no record can be stored in the durable buffer at the moment; empty if they can."""
        return self._buffer.trouble

    async def refresh(self, only: str) -> None:
        """Make the next report of the pipeline ``only`` exact, if its records are in a durable buffer."""
        await self._buffer.refresh(only)

    def passed_elsewhere(self, offsets: Iterable[Offset]) -> None:
        """The cluster has delivered these partitions so far, whichever member did."""
        for offset in offsets:
            flow = self._flows.get(offset.pipeline_id)
            if flow is not None:
                flow.passed_elsewhere((offset.source, offset.partition), offset.position)

    async def progress_due(self) -> None:
        """Wait until so much was done that it should be committed."""
        await self._due.wait()

    def _forget(self, pipeline_id: str) -> None:
        for where in [where for where in self._reached if where[0] == pipeline_id]:
            del self._reached[where]

    def _is_clear(self, key: Key, position: int) -> bool:
        return all(flow.is_clear(key, position) for flow in self._flows.values())

    # Records.

    def ways(self, source_id: str, only: str = "") -> list[Way]:
        """Who takes records of a source.

        :param only: id of the one pipeline that shall.
        :raises NoPipeline: nobody.
        """
        known = self._routes.get((source_id, only))
        if known is None:
            known = self._found_ways(source_id, only)
            if len(self._routes) >= _MOST_ROUTES:
                self._routes.clear()
            self._routes[source_id, only] = known
        return known

    def _found_ways(self, source_id: str, only: str) -> list[Way]:
        if not self.is_told:
            raise NoPipeline("the node has not loaded the state of its cluster yet; try again", lasting=False)
        flows = [flow for flow in self._flows.values() if only in ("", flow.pipeline_id)]
        services = self._standing_for(source_id)
        found = [Way(flow, entries) for flow in flows if (entries := flow.entries(source_id, services))]
        enabled = [way for way in found if way.flow.enabled]
        if enabled:
            return [self._buffer.way(way) for way in enabled]
        if only and only not in self._flows:
            raise NoPipeline(f"pipeline {only!r} not found", lasting=True)
        if found:
            ids = ", ".join(way.flow.pipeline_id for way in found)
            raise NoPipeline(
                f"no enabled pipeline selects the source {source_id!r}; disabled: {ids}", lasting=True
            )
        if not self._held.services:
            raise NoPipeline("no service is registered with this node yet", lasting=False)
        wanted = f"pipeline {only!r}" if only else "no pipeline"
        verb = "does not select" if only else "selects"
        raise NoPipeline(f"{wanted} {verb} the source {source_id!r}", lasting=True)

    def _standing_for(self, source_id: str) -> list[Service]:
        """A source calls itself by a service's id, or by its name."""
        service = self._sources.get(source_id)
        if service is not None:
            return [service]
        return [one for one in self._sources.values() if one.name == source_id]

    def has_services(self, stage: Stage) -> bool:
        """At least one service is registered behind a stage."""
        return bool(self._services.behind(stage))

    def flow(self, pipeline_id: str) -> Flow | None:
        """One pipeline."""
        return self._flows.get(pipeline_id)

    async def moved(self) -> None:
        """Wait until something was decided, or pipelines changed."""
        await self._freed.wait()

    def has_room(self, source: str, ways: Sequence[Way], amount: Amount) -> bool:
        """Whether a batch may be taken now."""
        return all(way.flow.is_ready for way in ways) and self.budget.admits(source, ids(ways), amount)

    def take(
        self,
        batch: common_pb2.RecordBatch | Frame,
        source: str,
        ways: Sequence[Way],
        amount: Amount,
        trace: Trace,
        answered: Callable[[Ticket], None],
    ) -> None:
        """Take a batch of a source; ``answered`` gets its ticket once it is decided, maybe at once."""
        watermark = _watermark(batch)
        if watermark is not None and not any(way.headers for way in ways):
            self._note_watermark(watermark, source)
        ticket = self._ticket(amount.records, source, ways, amount, answered)
        if isinstance(batch, Frame):
            if len(ways) == 1:
                trace += ways[0].headers
                ways[0].flow.admit_frame(ways[0].stages, batch, ticket, _bytes_of(amount), trace)
                return
            batch = batch.batch()
        for way in ways:
            way.flow.admit(way.stages, batch, ticket, _bytes_of(amount), trace + way.headers)

    def inject(
        self,
        batch: common_pb2.RecordBatch,
        source: str,
        way: Way,
        amount: Amount,
        trace: Trace,
        answered: Callable[[Ticket], None],
    ) -> None:
        """Take records at the one stage of ``way``."""
        ticket = self._ticket(len(batch.records), source, [way], amount, answered)
        way.flow.inject(way.stages[0], batch, ticket, _bytes_of(amount), trace)

    def _ticket(
        self,
        size: int,
        source: str,
        ways: Sequence[Way],
        amount: Amount,
        answered: Callable[[Ticket], None],
    ) -> Ticket:
        names = ids(ways)
        self.budget.take(source, names, amount)

        def decided(ticket: Ticket) -> None:
            self.budget.give_back(source, names, amount)
            self._decided += size
            if self._decided >= COMMIT_RECORDS:
                self._due.set()
            self.wake()
            answered(ticket)

        return Ticket(size, len(ways), decided)

    def _note_watermark(self, watermark: common_pb2.Watermark, source: str) -> None:
        mark = common_pb2.Watermark()
        mark.CopyFrom(watermark)
        mark.source_id = mark.source_id or source
        key = (mark.source_id, mark.partition)
        # Under load there is always a later one that is not reached yet: the older is committed first.
        if key in self._marks:
            self._later_marks[key] = mark
        else:
            self._marks[key] = mark

    def wake(self) -> None:
        """Let all look again who wait for room, for changed pipelines, or for the end."""
        self._freed.set()
        self._freed = asyncio.Event()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task that ends with the data plane."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # The end.

    async def leave(self, seconds: float) -> int:
        """Take nothing more, and bring to its end what is under way.

        :param seconds: how long that may take.
        :returns: records that did not end; their sources were not answered and send them again.
        """
        self.leaving = True
        self._buffer.leave()
        for stream in list(self.streams):
            stream.leave()
        self.wake()
        try:
            async with asyncio.timeout(seconds):
                while self.streams or self.pending:
                    await self._freed.wait()
                await asyncio.gather(*(flow.flush() for flow in self._flows.values()))
        except TimeoutError:
            log.warning(
                "dropping %d records that did not end within %g s; their sources must send them again",
                self.pending,
                seconds,
            )
        left = self.pending
        for stream in list(self.streams):
            stream.cut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                while self.streams:
                    await self._freed.wait()
        return left

    @property
    def pending(self) -> int:
        """Records taken and not decided, of all pipelines; one in two pipelines counts twice."""
        return sum(flow.pending for flow in self._flows.values()) + self._buffer.pending

    def opened(self, stream: Stream) -> None:
        """A stream begins."""
        self.streams.add(stream)
        self.budget.opened()

    def closed(self, stream: Stream) -> None:
        """A stream has ended."""
        self.streams.discard(stream)
        self.budget.closed()
        self.wake()

    async def close(self) -> None:
        """Let everything go and close all connections."""
        for flow in self._flows.values():
            flow.close()
        self._flows.clear()
        await self._buffer.close()
        self.wake()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._services.close()


def ids(ways: Iterable[Way]) -> list[str]:
    """Ids of the pipelines."""
    return [way.flow.pipeline_id for way in ways]


def _watermark(batch: common_pb2.RecordBatch | Frame) -> common_pb2.Watermark | None:
    if isinstance(batch, Frame):
        return batch.usual.watermark
    return batch.watermark if batch.HasField("watermark") else None


def amount_of(batch: common_pb2.RecordBatch | Frame) -> Amount:
    """What a batch costs: messages take about twice their bytes in memory."""
    if isinstance(batch, Frame):
        count, size = len(batch.usual), len(batch.data)
    else:
        count, size = len(batch.records), batch.ByteSize()
    return Amount(count, 2 * size + count * _RECORD_COST)


def _bytes_of(amount: Amount) -> int:
    """The bytes of a batch whose cost `amount_of` computed."""
    return (amount.size - amount.records * _RECORD_COST) // 2
