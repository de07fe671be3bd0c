"""Commits how far pipelines have come: at most once a second, or every so many records."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence

import msgspec

from etl_operator.node.bridge.planes import Plane
from etl_operator.node.consensus.engine import ConsensusError
from etl_operator.node.control import state
from etl_operator.node.control.checkpoints import GroupRow, SourceRow
from etl_operator.node.control.peers import Peers
from etl_operator.node.data.view import Offset, Progress

log = logging.getLogger(__name__)

INTERVAL = 1.0
_ROWS = 5000
"""Partitions of a command."""


class Committer:
    """Commits the progress of a data plane.

    :param replicated: what all members have committed.
    """

    def __init__(self, plane: Plane, peers: Peers, replicated: state.RouterState) -> None:
        self._plane = plane
        self._state = replicated
        self._peers = peers
        self._trouble = ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL):
                    await self._plane.progress_due()
            await self.commit()

    async def commit(self) -> None:
        """Commit what is new. What cannot be committed is tried again the next time."""
        progress = await self._plane.progress()
        if passed := self._passed(progress.holes):
            self._plane.passed_elsewhere(passed)
        try:
            for part, command in _commands(progress):
                await self._peers.propose(command)
                self._plane.confirm(part)
        except ConsensusError as error:
            if str(error) != self._trouble:
                log.warning("cannot commit checkpoints, trying again; records are still processed: %s", error)
            self._trouble = str(error)
            # Without a leader the next second is soon enough, however much is done meanwhile.
            await asyncio.sleep(INTERVAL)
        else:
            self._trouble = ""

    def _passed(self, holes: Sequence[Offset]) -> list[Offset]:
        """How far partitions with a hole have come, where that is beyond the hole: the source sent the
        records again, and another member delivered them."""
        groups = self._state.checkpoints.groups
        found = [
            (hole, groups.get(hole.pipeline_id, {}).get((hole.source, hole.partition))) for hole in holes
        ]
        return [
            msgspec.structs.replace(hole, position=reached.value)
            for hole, reached in found
            if reached is not None and reached.value >= hole.position
        ]


def _commands(progress: Progress) -> Iterator[tuple[Progress, state.Idempotent]]:
    for start in range(0, len(progress.offsets), _ROWS):
        offsets = progress.offsets[start : start + _ROWS]
        rows = [GroupRow(o.pipeline_id, o.source, o.partition, o.position) for o in offsets]
        yield Progress(offsets=offsets), state.CommitOffsets(rows, [])
    for start in range(0, len(progress.watermarks), _ROWS):
        marks = progress.watermarks[start : start + _ROWS]
        raised = [SourceRow(m.source, m.partition, m.position, m.seconds, m.nanos) for m in marks]
        yield Progress(watermarks=marks), state.RaiseWatermarks(raised)
