"""A pipeline that runs: its lanes by one plan, and what is under way in them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from etl_operator.node.data.balance import Key, lane_of
from etl_operator.node.data.call import Parcel
from etl_operator.node.data.chunk import Chunk, Packed, Passed, Trace
from etl_operator.node.data.conditions import ConditionError
from etl_operator.node.data.deadletter import Cause, dead_letter
from etl_operator.node.data.graph import Kind, Plan, Stage
from etl_operator.node.data.lane import Clock, Deliver, Lane, Spawn
from etl_operator.node.data.ledger import Tally, Verdict
from etl_operator.node.data.policy import Result
from etl_operator.node.data.processing import Processor
from etl_operator.node.data.stats import StageStats
from etl_operator.node.data.view import StageCounters
from etl_operator.router.pb import common_pb2

log = logging.getLogger(__name__)

MOST_PARKED = 1000
"""Failed records that are held because nothing takes them; then their stages wait."""


@dataclass(slots=True)
class Counted:
    """Counters of a pipeline that outlive its plan."""

    stages: dict[str, StageStats] = field(default_factory=dict)
    dead_letters: int = 0
    rejected: int = 0

    def stage(self, stage_id: str) -> StageStats:
        """The counters of one stage."""
        found = self.stages.get(stage_id)
        if found is None:
            found = self.stages[stage_id] = StageStats(stage_id)
        return found


class Run:
    """A plan at work.

    :param let_go: ends the run and lets go of all that is under way in it.
    """

    def __init__(
        self,
        plan: Plan,
        services: Processor,
        counted: Counted,
        clock: Clock,
        spawn: Spawn,
        let_go: Callable[[], None],
    ) -> None:
        self.plan = plan
        self._services = services
        self._counted = counted
        self._clock = clock
        self._let_go = let_go
        self._parked = 0
        self._unparked = asyncio.Event()
        self._stopped = False
        self._lanes: dict[str, list[Lane]] = {
            stage.stage_id: [
                Lane(stage, plan.dead_letters, services.tuning, self._deliver(stage), self, clock, spawn)
                for _ in range(stage.lanes)
            ]
            for stage in plan.stages.values()
            if stage.kind is not Kind.SOURCE
        }

    def _deliver(self, stage: Stage) -> Deliver:
        balancer, stats = self._services.balancer(stage), self._counted.stage(stage.stage_id)

        async def deliver(parcel: Parcel | Packed) -> list[Result] | Passed:
            return await self._services.process(stage, parcel, balancer, stats)

        return deliver

    def start(
        self,
        stages: Sequence[Stage],
        key: Key,
        records: list[common_pb2.Record],
        tallies: list[Tally],
        size: int,
        watermark: common_pb2.Watermark | None = None,
        batch_id: str = "",
        trace: Trace = (),
    ) -> None:
        """Records enter: through sources, or at a stage that is called. Each stage gets all of them."""
        chunk = Chunk(key, records, tallies, size, watermark, batch_id, trace)
        if len(stages) > 1:
            for tally in tallies:
                tally.more(len(stages) - 1)
        for stage in stages:
            target: str | None = stage.stage_id
            if stage.kind is Kind.SOURCE:
                self._counted.stage(stage.stage_id).processed += len(records)
                target = stage.only_target
            if target is None:
                self._put(self._routed(stage, chunk, [Result([record]) for record in records]))
            else:
                own = Chunk(key, list(records), list(tallies), size, watermark, batch_id, trace)
                self._lane(target, key).put(own)

    def start_packed(self, stage: Stage, target: str, packed: Packed) -> None:
        """Whole batches enter through a source whose records all go to ``target``."""
        self._counted.stage(stage.stage_id).processed += packed.count
        self._lane(target, packed.key).put(packed)

    def stop(self) -> None:
        """End all work. What is under way is for the caller to let go."""
        self._stopped = True
        for lanes in self._lanes.values():
            for lane in lanes:
                lane.stop()
        self._unparked.set()

    @property
    def parked(self) -> int:
        """Failed records that are held."""
        return self._parked

    def counters(self) -> Mapping[str, StageCounters]:
        """By stage."""
        return {
            stage_id: self._counted.stage(stage_id).counters(
                sum(lane.waiting + lane.flying for lane in self._lanes.get(stage_id, ()))
            )
            for stage_id in self.plan.stages
        }

    async def flush(self) -> None:
        """Ask the sinks to make what they have last."""
        for stage in self.plan.stages.values():
            if stage.kind is Kind.SINK:
                await self._services.flush(stage)

    # What lanes hand on.

    async def hand_on(self, stage: Stage, chunk: Chunk, results: list[Result]) -> None:
        """See `lane.Sink`."""
        stats = self._counted.stage(stage.stage_id)
        done = [not result.error for result in results]
        stats.processed += sum(done)
        if stage.kind is Kind.SINK:
            if stage.stage_id == self.plan.dead_letters.sink:
                self._counted.dead_letters += sum(done)
            for tally, is_done in zip(chunk.tallies, done, strict=True):
                if is_done:
                    tally.finish()
            return
        for lane, part in self._routed(stage, chunk, results):
            await lane.room()
            if not self._stopped:
                lane.put(part)

    async def pass_on(self, stage: Stage, packed: Packed, passed: Passed) -> None:
        """See `lane.Sink`."""
        if passed.outputs is None:
            self._counted.stage(stage.stage_id).processed += packed.count
            packed.finish()
            return
        target = stage.only_target
        if target is None:
            results = [Result() for _ in range(packed.count)]
            for number, output in zip(passed.numbers, passed.outputs.records, strict=True):
                results[number].outputs.append(output)
            await self.hand_on(stage, packed.unpacked(), results)
            return
        self._counted.stage(stage.stage_id).processed += packed.count
        for cohort in passed.ended:
            cohort.finish()
        if not passed.outputs.count:
            return
        lane = self._lane(target, packed.key)
        await lane.room()
        if not self._stopped:
            lane.put(passed.outputs)

    def _put(self, parts: Iterable[tuple[Lane, Chunk]]) -> None:
        for lane, part in parts:
            lane.put(part)

    def _routed(self, stage: Stage, chunk: Chunk, results: Sequence[Result]) -> list[tuple[Lane, Chunk]]:
        """Outputs by the lane they go to, in order. Settles those that go nowhere."""
        parts: dict[str, tuple[list[common_pb2.Record], list[Tally]]] = {}
        lost: list[tuple[int, Cause]] = []
        for i, result in enumerate(results):
            if result.error:
                continue
            tally = chunk.tallies[i]
            try:
                ways = [(output, self._targets(stage, output)) for output in result.outputs]
            except ConditionError as error:
                lost.append((i, self._cause("VALIDATION_FAILED", str(error))))
                continue
            if not all(targets for _, targets in ways):
                text = f"no routing rule or edge of stage {stage.stage_id} matches the record"
                lost.append((i, self._cause("NO_ROUTE", text)))
                continue
            copies = sum(len(targets) for _, targets in ways)
            tally.more(copies)
            for output, targets in ways:
                for target in targets:
                    records, tallies = parts.setdefault(target, ([], []))
                    records.append(output)
                    tallies.append(tally)
            # The input itself has come to its end.
            tally.finish()
        found = [(self._lane(target, chunk.key), self._part(chunk, *part)) for target, part in parts.items()]
        for i, cause in lost:
            found += self._failed(stage, chunk.records[i], chunk.tallies[i], cause)
        return found

    @staticmethod
    def _targets(stage: Stage, record: common_pb2.Record) -> tuple[str, ...]:
        return stage.targets(record)

    def _cause(self, code: str, text: str) -> Cause:
        now = self._clock.now()
        return Cause(code, text, 1, now, now)

    @staticmethod
    def _part(chunk: Chunk, records: list[common_pb2.Record], tallies: list[Tally]) -> Chunk:
        size = chunk.size * len(records) // max(len(chunk.records), 1)
        if records is not chunk.records and len(records) != len(chunk.records):
            size = sum(record.ByteSize() for record in records)
        return Chunk(chunk.key, records, tallies, size, chunk.watermark, chunk.batch_id, chunk.trace)

    def _lane(self, stage_id: str, key: Key) -> Lane:
        lanes = self._lanes[stage_id]
        return lanes[lane_of(key, len(lanes))]

    async def fail(self, stage: Stage, record: common_pb2.Record, tally: Tally, cause: Cause) -> None:
        """See `lane.Sink`."""
        for lane, part in self._failed(stage, record, tally, cause):
            await lane.room()
            if not self._stopped:
                lane.put(part)
        while self._parked >= MOST_PARKED and not self._stopped:
            self._unparked.clear()
            await self._unparked.wait()

    def _failed(
        self, stage: Stage, record: common_pb2.Record, tally: Tally, cause: Cause
    ) -> list[tuple[Lane, Chunk]]:
        """A record failed finally: where its dead letter goes, if anywhere."""
        self._counted.stage(stage.stage_id).errors += 1
        letters = self.plan.dead_letters
        if not letters.kept or stage.stage_id == letters.sink:
            self._counted.rejected += 1
            tally.finish(Verdict.REJECTED, f"stage {stage.stage_id}: {cause.code}: {cause.text}")
            return []
        if letters.sink is None:
            # Held, not answered: what only memory has cannot be called accepted.
            self._parked += 1
            return []
        letter = dead_letter(record, self.plan.pipeline_id, stage, cause)
        key = (record.id.source_id, record.id.partition)
        return [(self._lane(letters.sink, key), Chunk(key, [letter], [tally], letter.ByteSize()))]

    def broken_lane(self) -> None:
        """See `lane.Sink`."""
        # All of them: what went on alone would overtake the rest.
        self._let_go()


def by_partition(
    records: Iterable[common_pb2.Record],
) -> Iterator[tuple[Key, list[int]]]:
    """Numbers of the records of each partition, in order."""
    found: dict[Key, list[int]] = {}
    for number, record in enumerate(records):
        found.setdefault((record.id.source_id, record.id.partition), []).append(number)
    return iter(found.items())
