"""One ordered lane of a stage: gathers records, has them processed, retries, and hands the results on.

Records of one partition of a source stay in order: a lane has one call under way, and a record that is tried
again holds up all that came after it, except what its own call already brought to an end.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from etl_operator.node.data.balance import Key
from etl_operator.node.data.call import Parcel, Refused, TooMany, Tuning
from etl_operator.node.data.chunk import Chunk, Packed, Passed
from etl_operator.node.data.deadletter import Cause
from etl_operator.node.data.graph import DeadLetters, Stage
from etl_operator.node.data.ledger import Tally
from etl_operator.node.data.policy import Result, wait_before
from etl_operator.router.pb import common_pb2

log = logging.getLogger(__name__)

MOST_WAITING = 4000
"""Records that may wait for a lane before the stage in front of it waits as well."""


class Clock(Protocol):
    """Time; a test brings its own."""

    def now(self) -> float:
        """Wall-clock seconds since 1970."""

    def chance(self) -> float:
        """A random number from 0 to 1."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Sink(Protocol):
    """Where a lane's results go: the run that it is part of."""

    async def hand_on(self, stage: Stage, chunk: Chunk, results: list[Result]) -> None:
        """Outputs go to the next stages; a record without any is done."""

    async def pass_on(self, stage: Stage, packed: Packed, passed: Passed) -> None:
        """The same, where no record failed."""

    async def fail(self, stage: Stage, record: common_pb2.Record, tally: Tally, cause: Cause) -> None:
        """A record failed finally."""

    def broken_lane(self) -> None:
        """A fault in this program: nobody knows what became of the records in the lane."""


Deliver = Callable[[Parcel | Packed], Awaitable[list[Result] | Passed]]
"""Has a parcel processed. Raises what `call.Services.process` raises."""
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


@dataclass(slots=True)
class Lane:
    """One lane.

    Its task lives while there is something to do.
    """

    stage: Stage
    letters: DeadLetters
    tuning: Tuning
    deliver: Deliver
    sink: Sink
    clock: Clock
    spawn: Spawn
    waiting: int = 0
    """Records that wait."""
    flying: int = 0
    """Records of the call that is under way."""
    _queues: dict[Key, deque[Chunk | Packed]] = field(default_factory=dict)
    _turns: deque[Key] = field(default_factory=deque)
    _task: asyncio.Task[None] | None = None
    _room: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, chunk: Chunk | Packed) -> None:
        """Take a chunk; never waits."""
        queue = self._queues.get(chunk.key)
        if queue is None:
            queue = self._queues[chunk.key] = deque()
            self._turns.append(chunk.key)
        queue.append(chunk)
        self.waiting += chunk.count
        if self._task is None:
            self._task = self.spawn(self._work())

    async def room(self) -> None:
        """Wait until not too much waits."""
        while self.waiting >= MOST_WAITING:
            self._room.clear()
            await self._room.wait()

    def stop(self) -> None:
        """End the work; what waits is left alone."""
        if self._task is not None:
            self._task.cancel()
        self._queues.clear()
        self._turns.clear()
        self.waiting = self.flying = 0
        self._room.set()

    async def _work(self) -> None:
        try:
            while self._turns:
                chunk = self._gather()
                self.flying = chunk.count
                await self._finish(chunk)
                self.flying = 0
        except Exception:
            log.exception("stage %s: internal error in the data plane", self.stage.stage_id)
            self.sink.broken_lane()
        finally:
            self.flying = 0
            self._task = None
            if self._turns:
                self._task = self.spawn(self._work())

    def _gather(self) -> Chunk | Packed:
        """What goes into the next call: what waits of the partition whose turn it is, within the limits."""
        key = self._turns.popleft()
        queue = self._queues[key]
        first = self._fitting(queue, self.tuning.most_records, self.tuning.most_bytes)
        while queue and queue[0].trace == first.trace:
            records = self.tuning.most_records - first.count
            size = self.tuning.most_bytes - first.size
            more = queue[0]
            if more.count > records or more.size > size or type(more) is not type(first):
                break
            first.absorb(more)  # type: ignore[arg-type]
            queue.popleft()
        if queue:
            self._turns.append(key)
        else:
            del self._queues[key]
        self.waiting -= first.count
        if self.waiting < MOST_WAITING:
            self._room.set()
        return first

    @staticmethod
    def _fitting(queue: deque[Chunk | Packed], most_records: int, most_bytes: int) -> Chunk | Packed:
        first = queue[0]
        count, size = first.count, first.size
        if count <= most_records and size <= most_bytes:
            return queue.popleft()
        allowed = max(min(most_records, count * most_bytes // max(size, 1)), 1)
        if allowed >= count:
            return queue.popleft()
        queue[0] = whole = first.unpacked()
        return whole.split(allowed)

    # One chunk.

    async def _finish(self, chunk: Chunk | Packed, attempt: int = 0, first_failure: float = 0.0) -> None:
        """Bring every record to its end at this stage.

        :param attempt: calls that failed for these records so far, the first at ``first_failure``.
        """
        while chunk.count:
            try:
                results = await self._call(chunk)
            except TooMany as limit:
                # To its end before the rest is called: the rest must not overtake it.
                chunk = chunk.unpacked()
                await self._finish(chunk.split(limit.most), attempt, first_failure)
                continue
            if isinstance(results, Passed):
                assert isinstance(chunk, Packed)
                await self.sink.pass_on(self.stage, chunk, results)
                return
            chunk = chunk.unpacked()
            failed = [i for i, result in enumerate(results) if result.error]
            await self.sink.hand_on(self.stage, chunk, results)
            if not failed:
                return
            attempt += 1
            now = self.clock.now()
            first_failure = first_failure or now
            again = []
            for i in failed:
                if results[i].final or attempt >= self.letters.attempts:
                    cause = Cause(results[i].code, results[i].error, attempt, first_failure, now)
                    await self.sink.fail(self.stage, chunk.records[i], chunk.tallies[i], cause)
                else:
                    again.append(i)
            chunk = Chunk(
                chunk.key,
                [chunk.records[i] for i in again],
                [chunk.tallies[i] for i in again],
                chunk.size * len(again) // len(chunk.records),
                chunk.watermark,
                chunk.batch_id,
                chunk.trace,
            )
            self.flying = len(again)
            if again:
                letters = self.letters
                await self.clock.sleep(
                    wait_before(attempt, letters.backoff, letters.longest_backoff, self.clock.chance())
                )

    async def _call(self, chunk: Chunk | Packed) -> list[Result] | Passed:
        if isinstance(chunk, Packed) and chunk.size < self.tuning.message_bytes:
            return await self._halving(chunk)
        parcel = Parcel(chunk.key, chunk.records, chunk.watermark, chunk.batch_id, chunk.trace)
        return await self._halving(parcel)

    async def _halving(self, parcel: Parcel | Packed, *, whole: bool = True) -> list[Result] | Passed:
        """The results of a call; one that is refused is made again in halves, down to the record.

        :param whole: no part of a call that was refused.
        :raises TooMany: the whole is more than the service takes.
        """
        most = self.tuning.message_bytes
        if isinstance(parcel, Parcel) and len(parcel.records) == 1 and parcel.records[0].ByteSize() > most:
            text = f"the record has {parcel.records[0].ByteSize()} bytes; the maximum is {most}"
            return [Result(error=text, code="RECORD_TOO_LARGE", final=True)]
        try:
            return await self.deliver(parcel)
        except Refused as refused:
            records = parcel.records
            if len(records) == 1:
                return [Result(error=str(refused), code=refused.code)]
            middle = len(records) // 2
        except TooMany as limit:
            if whole:
                raise
            records, middle = parcel.records, limit.most
        head = Parcel(parcel.key, records[:middle], None, parcel.batch_id, parcel.trace)
        tail = Parcel(parcel.key, records[middle:], parcel.watermark, parcel.batch_id, parcel.trace)
        found: list[Result] = []
        for part in (head, tail):
            results = await self._halving(part, whole=False)
            assert isinstance(results, list)  # Only a `Packed` is passed as one.
            found += results
        return found
