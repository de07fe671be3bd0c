"""Counters of stages and pipelines. Pure."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from etl_operator.node.data.view import StageCounters

log = logging.getLogger(__name__)

_WEIGHT = 0.1
"""Of the last call in the moving mean."""


@dataclass(slots=True)
class StageStats:
    """One stage."""

    stage_id: str
    processed: int = 0
    errors: int = 0
    average_ms: float = 0.0
    calls: int = 0
    call_seconds: float = 0.0
    unanswered: int = 0
    broken: str = ""

    def answered(self, seconds: float) -> None:
        """A call was answered."""
        self.average_ms = (
            self.average_ms + (seconds * 1000 - self.average_ms) * _WEIGHT if self.calls else seconds * 1000
        )
        self.calls += 1
        self.call_seconds += seconds

    def broke(self, why: str) -> None:
        """A service answered in a way that repeating the call does not change; logged once."""
        if why != self.broken:
            log.error("stage %s: %s", self.stage_id, why)
        self.broken = why

    def counters(self, buffered: int) -> StageCounters:
        """As they are now."""
        return StageCounters(
            self.processed,
            buffered,
            self.errors,
            self.average_ms,
            self.calls,
            self.call_seconds,
            self.unanswered,
            self.broken,
        )
