"""What all members' data planes hold: counters added up, and how many records are pending in all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from etl_operator.node.bridge.merging import summed
from etl_operator.node.consensus.engine import ConsensusEngine, Unanswered
from etl_operator.node.data import view

log = logging.getLogger(__name__)

REPORT = "report"
WITHIN = 1.0
"""Seconds that a member has to answer."""
_FRESH = 1.0
"""Seconds for which counters are not asked for again."""
_STALE = 5.0
"""Seconds after which the answer waits for newer ones."""
_POLL = 0.01

_NONE = "/"
"""No pipeline has this id."""
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(view.Report)
_question = msgspec.msgpack.Decoder(tuple[int, str])

Members = Mapping[int, view.Report | None]
"""By node id; None for one that did not answer in time."""


class Reports:
    """`records.Records`: gathers the members' reports.

    :param own: this node's report, of all that it has applied so far; of one pipeline if it is named.
    :param trouble: why this node cannot store records in its durable buffer; empty if it can.
    """

    def __init__(
        self,
        engine: ConsensusEngine,
        own: Callable[[str], Awaitable[view.Report]],
        trouble: Callable[[], str] = lambda: "",
    ) -> None:
        self._engine = engine
        self._own = own
        self._trouble = trouble
        self._last: Members = {}
        self._last_at = float("-inf")
        self._gathering: asyncio.Task[Members] | None = None
        self._missing: set[int] = set()
        engine.answer(REPORT, self._on_report)

    async def pending(self, pipeline_id: str, applied: int) -> int:
        """Records of a pipeline taken and not decided, on all members.

        A member whose report does not include log entry ``applied`` counts with one at least: it may still
        take records.
        """
        total = stored = 0
        for report in (await self.gather(applied, pipeline_id)).values():
            found = report.pipelines.get(pipeline_id) if report else None
            pending = found.pending if found else 0
            confirmed = report is not None and report.applied >= applied
            uncertain = found is not None and found.uncertain
            total += pending if confirmed and not uncertain else max(pending, 1)
            stored = max(stored, found.stored if found else 0)
        return total + stored

    async def known_pending(self, pipeline_id: str) -> int:
        """The same of the members that answer."""
        reports = (await self.gather(0, pipeline_id)).values()
        found = [report.pipelines.get(pipeline_id) for report in reports if report]
        return sum(one.pending for one in found if one) + max((one.stored for one in found if one), default=0)

    async def stages(self, pipeline_id: str) -> Mapping[str, view.StageCounters]:
        """The counters of a pipeline's stages, of about now."""
        return added(await self.recent(), pipeline_id)

    @property
    def buffer_trouble(self) -> str:
        """Why this node cannot store records; empty if it can."""
        return self._trouble()

    async def buffer_trouble_of(self, pipeline_id: str) -> str:
        """Why records of a pipeline cannot be stored or delivered, of about now; empty if they can."""
        reports = await self.recent()
        found = [(number, one.pipelines.get(pipeline_id)) for number, one in reports.items() if one]
        return next((f"member {number}: {one.buffer}" for number, one in found if one and one.buffer), "")

    async def outstanding(self, service_id: str) -> int:
        """Records in this node's calls of a service."""
        return (await self._own(_NONE)).outstanding.get(service_id, 0)

    async def recent(self) -> Members:
        """The reports of about now. Those at hand are good enough while newer ones are on their way."""
        age = time.monotonic() - self._last_at
        if age > _FRESH:
            if self._gathering is None:
                self._gathering = asyncio.get_running_loop().create_task(self.gather(0))
                self._gathering.add_done_callback(self._gathered)
            if age > _STALE:
                await asyncio.shield(self._gathering)
        return self._last

    def _gathered(self, task: asyncio.Task[Members]) -> None:
        self._gathering = None
        if not task.cancelled() and task.exception() is None:
            self._last, self._last_at = task.result(), time.monotonic()

    async def gather(self, applied: int, only: str = "") -> Members:
        """Every member's report, if possible one with log entry ``applied`` in it.

        :param only: id of the one pipeline to report; empty for all.
        """
        status = self._engine.status()
        others = [member.node_id for member in status.members if member.node_id != status.node_id]
        reports = await asyncio.gather(
            self._confirmed(applied, only), *(self._of(member, applied, only) for member in others)
        )
        found = dict(zip([status.node_id, *others], reports, strict=True))
        missing = {member for member, report in found.items() if report is None}
        for member in sorted(missing - self._missing):
            log.warning("node %d does not report its records; its counters are not included", member)
        self._missing = missing
        return found

    async def _of(self, member: int, applied: int, only: str) -> view.Report | None:
        question = _encoder.encode((applied, only))
        try:
            answer = await self._engine.ask(member, REPORT, question, within=WITHIN + 0.5)
            return _decoder.decode(answer)
        except (Unanswered, msgspec.MsgspecError):
            return None

    async def _on_report(self, sender: int, body: bytes) -> bytes:
        return _encoder.encode(await self._confirmed(*_question.decode(body)))

    async def _confirmed(self, applied: int, only: str) -> view.Report:
        """This node's report, after waiting for log entry ``applied`` for some time."""
        end = time.monotonic() + WITHIN
        report = await self._own(only)
        while report.applied < applied and time.monotonic() < end:
            await asyncio.sleep(_POLL)
            report = await self._own(only)
        return report


def added(reports: Members, pipeline_id: str) -> dict[str, view.StageCounters]:
    """The counters of a pipeline's stages, added up; the mean is weighted by calls."""
    found = [
        report.pipelines[pipeline_id].stages
        for report in reports.values()
        if report and pipeline_id in report.pipelines
    ]
    ids = dict.fromkeys(stage_id for one in found for stage_id in one)
    sums = {stage_id: summed(one[stage_id] for one in found if stage_id in one) for stage_id in ids}
    return {
        stage_id: msgspec.structs.replace(one, buffered=one.buffered + one.stored) if one.stored else one
        for stage_id, one in sums.items()
    }
