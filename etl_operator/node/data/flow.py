"""A pipeline on a node, whatever its plan at the moment: its ledgers, its counters, and what is under way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from etl_operator.node.data.balance import Key, selects
from etl_operator.node.data.chunk import Packed, Trace
from etl_operator.node.data.conditions import PlanError
from etl_operator.node.data.frames import Frame
from etl_operator.node.data.graph import Kind, Plan, Stage
from etl_operator.node.data.lane import Clock, Spawn
from etl_operator.node.data.ledger import Cohort, Ledger, Tally, Ticket
from etl_operator.node.data.plans import compiled
from etl_operator.node.data.processing import Processor
from etl_operator.node.data.run import Counted, Run, by_partition
from etl_operator.node.data.view import Pipeline, PipelineReport, Service
from etl_operator.router.pb import common_pb2

log = logging.getLogger(__name__)

CHANGE_SECONDS = 10.0
"""How long records by an old plan may take to end before the new plan holds and sources send them again."""
_MOST_LEDGERS = 10_000
"""Partitions remembered per pipeline. Beyond it those are forgotten that were idle for longest."""


@dataclass(frozen=True, slots=True)
class Way:
    """A pipeline that takes a source's records, and its stages where they come in."""

    flow: Flow
    stages: Sequence[Stage]
    headers: Trace = ()
    """Added to the trace of the records, which are stored before they are delivered; empty: they are
    delivered at once."""


class Flow:
    """One pipeline.

    :param moved: called when records may enter that could not before.
    :param changed: called when a new plan holds.
    :param planned: the plan of a serialised ``PipelineConfig``; raises `PlanError`.
    """

    def __init__(
        self,
        pipeline_id: str,
        services: Processor,
        clock: Clock,
        spawn: Spawn,
        moved: Callable[[], None],
        changed: Callable[[], None],
        planned: Callable[[bytes], Plan] = compiled,
    ) -> None:
        self.pipeline_id = pipeline_id
        self.problem = ""
        """Why it cannot run."""
        self.enabled = False
        self._services = services
        self._clock = clock
        self._spawn = spawn
        self._moved = moved
        self._changed = changed
        self._plan_of = planned
        self.config = b""
        """As it is stored, serialised; the plan of it holds, or will."""
        self._plan: Plan | None = None
        self._run: Run | None = None
        self._next: Plan | None = None
        self._changing: asyncio.Task[None] | None = None
        self._emptied = asyncio.Event()
        self._counted = Counted()
        self._ledgers: dict[Key, Ledger] = {}
        self._undecided: dict[Tally, None] = {}
        self._cohorts: dict[Cohort, None] = {}
        """Batches of which all records are undecided; none of them is in ``_undecided``."""
        self._dirty: set[Ledger] = set()
        self._torn: set[Ledger] = set()
        """Those that may have holes."""

    # What holds.

    def update(self, pipeline: Pipeline) -> None:
        """The pipeline as it is stored now."""
        if pipeline.config != self.config:
            self.config = pipeline.config
            self._change(self._planned(pipeline.config))
        if self.enabled and not pipeline.enabled:
            self._moved()
        self.enabled = pipeline.enabled
        if not pipeline.enabled and not pipeline.drain:
            self.let_go()

    def _planned(self, config: bytes) -> Plan | None:
        try:
            plan = self._plan_of(config)
        except PlanError as error:
            self.problem = str(error)
            log.error("pipeline %s cannot run: %s", self.pipeline_id, error)
            return None
        self.problem = ""
        return plan

    def use(self, plan: Plan) -> None:
        """Run by a plan that is not that of a stored pipeline."""
        self._change(plan)

    def _change(self, plan: Plan | None) -> None:
        self._next = plan
        if self._changing is None and not self.pending:
            self._switch()
        elif self._changing is None:
            self._changing = self._spawn(self._switch_when_empty())

    async def _switch_when_empty(self) -> None:
        """Order is kept across plans: nothing new comes in before what is under way has ended."""
        try:
            async with asyncio.timeout(CHANGE_SECONDS):
                while self.pending:
                    self._emptied.clear()
                    await self._emptied.wait()
        except TimeoutError:
            log.warning(
                "pipeline %s: dropping %d records that did not end before the change; "
                "their sources must send them again",
                self.pipeline_id,
                self.pending,
            )
        self._changing = None
        self.let_go()
        self._switch()

    def _switch(self) -> None:
        if self._run is not None:
            self._run.stop()
        self._plan, self._run = self._next, None
        if self._plan is not None:
            self._counted.stages = {k: v for k, v in self._counted.stages.items() if k in self._plan.stages}
        self._changed()
        self._moved()

    @property
    def is_ready(self) -> bool:
        """Records may enter now; false while a new plan waits for what is under way by the old one."""
        return self._changing is None

    def let_go(self) -> None:
        """Stop working on all that is under way: the sources must send it again."""
        if self._run is not None:
            self._run.stop()
            self._run = None
        for cohort in list(self._cohorts):
            self._torn.add(cohort.ledger)
            cohort.let_go()
        for tally in list(self._undecided):
            self._torn.add(tally.ledger)
            tally.let_go()

    def close(self) -> None:
        """The pipeline is gone."""
        if self._changing is not None:
            self._changing.cancel()
        self.let_go()

    # Records.

    def entries(self, source_id: str, services: Sequence[Service]) -> list[Stage]:
        """Its stages where records of a source come in.

        :param services: the registered source services that ``source_id`` may stand for. A stage that selects
            by name alone needs none.
        """
        if self._plan is None:
            return []
        return [
            stage
            for stage in self._plan.sources
            if any(selects(stage.selector, one, common_pb2.SERVICE_TYPE_SOURCE) for one in services)
            or (stage.selector.name == source_id and not (stage.selector.group or stage.selector.labels))
        ]

    @property
    def plan(self) -> Plan | None:
        """What it runs by; None if it cannot run."""
        return self._plan

    def stage(self, stage_id: str) -> Stage | None:
        """One of its stages."""
        return self._plan.stages.get(stage_id) if self._plan else None

    def admit(
        self, stages: Sequence[Stage], batch: common_pb2.RecordBatch, ticket: Ticket, size: int, trace: Trace
    ) -> None:
        """Take a source's batch: what is new goes on its way, the rest is settled or joined."""
        for key, numbers in by_partition(batch.records):
            ledger = self._ledger(key)
            records, tallies = [], []
            for number in numbers:
                record = batch.records[number]
                tally = ledger.admit(record.id.sequence_number, ticket, number)
                if tally is not None:
                    records.append(record)
                    tallies.append(tally)
            self._begin(stages, key, records, tallies, size, batch, trace)

    def admit_frame(
        self, stages: Sequence[Stage], frame: Frame, ticket: Ticket, size: int, trace: Trace
    ) -> None:
        """As `admit`; as bytes, if the batch is new and all of it goes one way."""
        batch = frame.usual
        key = (batch.source, batch.partition)
        target = stages[0].only_target if len(stages) == 1 and stages[0].kind is Kind.SOURCE else None
        cohort = None
        if target is not None:
            cohort = self._ledger(key).admit_all(batch.first, ticket, len(batch), self._cohort_ended)
        if target is None or cohort is None:
            self.admit(stages, frame.batch(), ticket, size, trace)
            return
        self._cohorts[cohort] = None
        packed = Packed(
            key,
            [cohort],
            [batch.heads],
            [range(len(batch))],
            [batch.records],
            len(batch),
            size,
            batch.watermark,
            batch.batch_id,
            trace,
        )
        self._running().start_packed(stages[0], target, packed)

    def _running(self) -> Run:
        assert self._plan is not None
        if self._run is None:
            self._run = Run(self._plan, self._services, self._counted, self._clock, self._spawn, self.let_go)
        return self._run

    def inject(
        self, stage: Stage, batch: common_pb2.RecordBatch, ticket: Ticket, size: int, trace: Trace
    ) -> None:
        """Take records at a stage, whatever became of them before."""
        for key, numbers in by_partition(batch.records):
            records = [batch.records[number] for number in numbers]
            loose = Ledger(self._settled)
            tallies = [Tally(loose, 0, ticket, number) for number in numbers]
            loose.open = len(tallies)
            self._begin([stage], key, records, tallies, size, batch, trace)

    def _begin(
        self,
        stages: Sequence[Stage],
        key: Key,
        records: list[common_pb2.Record],
        tallies: list[Tally],
        size: int,
        batch: common_pb2.RecordBatch,
        trace: Trace,
    ) -> None:
        if not records:
            return
        run = self._running()
        self._undecided.update(dict.fromkeys(tallies))
        share = size * len(records) // len(batch.records)
        watermark = batch.watermark if batch.HasField("watermark") else None
        run.start(stages, key, records, tallies, share, watermark, batch.batch_id, trace)

    def _ledger(self, key: Key) -> Ledger:
        ledger = self._ledgers.pop(key, None) or Ledger(self._settled)
        self._ledgers[key] = ledger
        if len(self._ledgers) > _MOST_LEDGERS:
            # What a dirty ledger has decided is not reported yet, and would never be committed.
            idle = next(
                (
                    other_key
                    for other_key, other in self._ledgers.items()
                    if not other.open and other not in self._dirty and other_key != key
                ),
                None,
            )
            if idle is not None:
                del self._ledgers[idle]
        return ledger

    def _settled(self, tally: Tally) -> None:
        self._undecided.pop(tally, None)
        self._dirty.add(tally.ledger)
        if not self._undecided and not self._cohorts:
            self._emptied.set()

    def _cohort_ended(self, cohort: Cohort) -> None:
        """It is decided, or its tallies replace it."""
        del self._cohorts[cohort]
        if not cohort.is_whole:
            self._undecided.update(dict.fromkeys(cohort.tallies()))
            return
        self._dirty.add(cohort.ledger)
        if not self._undecided and not self._cohorts:
            self._emptied.set()

    # What it tells.

    @property
    def pending(self) -> int:
        """Records taken and not decided."""
        return len(self._undecided) + sum(cohort.count for cohort in self._cohorts)

    def committed(self) -> dict[Key, int]:
        """Positions committed, of the partitions where something was decided since the last call."""
        dirty, self._dirty = self._dirty, set()
        found = {}
        if dirty:
            found = {key: ledger.committed for key, ledger in self._ledgers.items() if ledger in dirty}
        return {key: position for key, position in found.items() if position}

    def holes(self) -> dict[Key, int]:
        """The lowest position that was let go and did not come again, of the partitions that have one."""
        if not self._torn:
            return {}
        found = {key: ledger for key, ledger in self._ledgers.items() if ledger in self._torn and ledger.hole}
        self._torn = set(found.values())
        return {key: ledger.hole for key, ledger in found.items()}

    def passed_elsewhere(self, key: Key, position: int) -> None:
        """Other members have delivered a partition up to ``position``."""
        ledger = self._ledgers.get(key)
        if ledger is not None and ledger.passed_elsewhere(position):
            self._dirty.add(ledger)

    def is_clear(self, key: Key, position: int) -> bool:
        """Nothing at or below ``position`` of a partition is undecided here."""
        ledger = self._ledgers.get(key)
        return ledger is None or ledger.is_clear(position)

    def report(self) -> PipelineReport:
        """Its counters."""
        stages = dict(self._run.counters()) if self._run else {}
        if not stages and self._plan:
            stages = {s: self._counted.stage(s).counters(0) for s in self._plan.stages}
        return PipelineReport(
            pending=self.pending,
            dead_letters=self._counted.dead_letters,
            parked=self._run.parked if self._run else 0,
            rejected=self._counted.rejected,
            problem=self.problem,
            stages=stages,
        )

    async def flush(self) -> None:
        """Ask its sinks to make what they have last."""
        if self._run is not None:
            await self._run.flush()
