"""What the routers' counters mean for one pipeline.

A router counts since its members started, and leaves out a member that does not answer: its numbers fall when
a member restarts, and for a moment when one is silent. The totals of a status never fall. Pure, apart from
:class:`Tallies`, which keeps one :class:`Tally` for each pipeline.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controllers.objects.specs import number, text
from etl_operator.router.pb import router_pb2 as pb
from informers.clock import Clock
from informers.objects import ObjectKey

SETTLED = 120.0
"""Seconds a counter stays lower until that counts as a restart: a member that does not answer comes back."""

_MOST = 2**53 - 1


@dataclass(slots=True)
class _Series:
    """One counter of the router."""

    mark: int = 0
    """The highest value that is in the totals."""
    low: int | None = None
    """The lowest value since it fell; ``None`` while it has not fallen."""
    since: float = 0.0
    """When it fell."""

    def advance(self, value: int, now: float, restarted: bool) -> int:
        """How much was counted since the last call, for certain."""
        if value >= self.mark:
            grown, self.mark, self.low = value - self.mark, value, None
            return grown
        if restarted:
            self.mark, self.low = value, None
            return value
        if self.low is None:
            self.low, self.since = value, now
        self.low = min(self.low, value)
        if now - self.since < SETTLED:
            return 0
        # What it had when it was seen to have fallen may have been counted before, and counts only once.
        grown, self.mark, self.low = value - self.low, value, None
        return grown


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a pipeline in the router showed."""

    counters: Mapping[str, pb.StageStatus]
    """By stage."""
    source: str
    """Id of the stage where records enter."""
    letters: str = ""
    """Id of the stage that writes dead letters, if there is one."""
    kept: bool = False
    """The router itself keeps the dead letters."""
    created: bool = False
    """It has just been created, so it counts from zero."""


@dataclass(frozen=True, slots=True)
class Grown:
    """What was counted since the look before."""

    records: int = 0
    errors: int = 0
    dead_letters: int = 0


@dataclass(slots=True)
class Tally:
    """The counters of one pipeline in one cluster, and its totals."""

    cluster: str
    uid: str
    processed: dict[str, _Series] = field(default_factory=dict)
    errors: dict[str, _Series] = field(default_factory=dict)
    total: Grown = Grown()
    pending: int = 0
    _gauges: Mapping[str, pb.StageStatus] = field(default_factory=dict)

    @classmethod
    def resumed(cls, uid: str, cluster: str, status: Mapping[str, Any]) -> Tally:
        """As the object's status has it: totals go on, and so do counters of the same cluster."""
        records, errors, letters = (
            _of(status, name) for name in ("recordsProcessed", "errors", "deadLetters")
        )
        tally = cls(cluster, uid, total=Grown(records, errors, letters))
        if text(status, "cluster") == cluster:
            for name, stage in _stages(status).items():
                tally.processed[name] = _Series(_of(stage, "recordsProcessed"))
                tally.errors[name] = _Series(_of(stage, "errors"))
        return tally

    def look(self, look: Look, now: float) -> Grown:
        """Add what was counted since the look before; returns just that."""
        self._gauges = look.counters
        for series in (self.processed, self.errors):
            for stage in [stage for stage in series if stage not in look.counters]:
                # A stage that the router does not report has no counters, or is gone.
                if look.counters or look.created:
                    del series[stage]
        processed, errors = {}, {}
        for stage, seen in look.counters.items():
            done = self.processed.setdefault(stage, _Series())
            processed[stage] = done.advance(seen.records_processed, now, look.created)
            failed = self.errors.setdefault(stage, _Series())
            errors[stage] = failed.advance(seen.errors, now, look.created)
        # A dead letter that its sink refuses has failed before, at the stage it comes from.
        failures = sum(count for stage, count in errors.items() if stage != look.letters)
        letters = processed.get(look.letters, 0) if look.letters else failures if look.kept else 0
        grown = Grown(processed.get(look.source, 0), failures, letters)
        self.total = Grown(
            min(self.total.records + grown.records, _MOST),
            min(self.total.errors + grown.errors, _MOST),
            min(self.total.dead_letters + grown.dead_letters, _MOST),
        )
        self.pending = sum(seen.records_buffered for seen in look.counters.values())
        return grown

    def totals(self) -> dict[str, int]:
        """Fields of the status."""
        return {
            "recordsProcessed": self.total.records,
            "errors": self.total.errors,
            "deadLetters": self.total.dead_letters,
            "pendingRecords": self.pending,
        }

    def stage(self, stage: str) -> dict[str, int]:
        """Fields of one stage in the status."""
        seen = self._gauges.get(stage, pb.StageStatus())
        return {
            "recordsProcessed": self.processed[stage].mark if stage in self.processed else 0,
            "errors": self.errors[stage].mark if stage in self.errors else 0,
            "buffered": seen.records_buffered,
            "avgLatencyMs": _milliseconds(seen.avg_latency_ms),
        }


class Tallies:
    """The tally of each pipeline. Losing it costs no record: the status has what it begins with."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[ObjectKey, Tally] = {}

    def of(self, key: ObjectKey, uid: str, cluster: str, status: Mapping[str, Any]) -> Tally:
        """The tally of an object in a cluster.

        :param status: of the object; begins the tally.
        """
        known = self._known.get(key)
        if known is None or known.uid != uid:
            known = self._known[key] = Tally.resumed(uid, cluster, status)
        elif known.cluster != cluster:
            # Another router counts from zero; what was counted before stays counted.
            known = self._known[key] = Tally(cluster, uid, total=known.total)
        return known

    def look(self, tally: Tally, look: Look) -> Grown:
        """See :meth:`Tally.look`."""
        return tally.look(look, self._clock.monotonic())

    def forget(self, key: ObjectKey) -> None:
        """The object is gone."""
        self._known.pop(key, None)


TOTALS = ("recordsProcessed", "errors", "deadLetters", "pendingRecords")
"""Counters of a status."""
OF_STAGES = ("recordsProcessed", "errors", "buffered", "avgLatencyMs")
"""Counters of a stage in a status."""
_MOVING = ("recordsProcessed", "errors", "buffered")
"""Without the latency: it moves with records only, and nothing is to be written for it alone."""


def with_counters_of(figures: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The figures with those counters that are stored already; what was never stored stays as it is."""
    before = _stages(stored)
    if not before or figures.get("cluster") != stored.get("cluster"):
        return dict(figures)
    stages = [_taken(stage, before.get(name), OF_STAGES) for name, stage in _stages(figures).items()]
    # Of a pipeline that drains the number is no counter, but what is waited for.
    totals = TOTALS if figures.get("enabled") else TOTALS[:-1]
    return {**_taken(figures, stored, totals), "stages": stages}


def moved(figures: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
    """Whether records moved since the counters were stored."""
    before = _stages(stored)
    pairs = [(stage, before.get(name, {}), _MOVING) for name, stage in _stages(figures).items()]
    return any(_differ(*pair) for pair in [(figures, stored, TOTALS), *pairs])


def _differ(one: Mapping[str, Any], stored: Mapping[str, Any], names: Sequence[str]) -> bool:
    return any(name in one and name in stored and one[name] != stored[name] for name in names)


def _taken(
    fresh: Mapping[str, Any], stored: Mapping[str, Any] | None, names: Iterable[str]
) -> dict[str, Any]:
    if stored is None:
        return dict(fresh)
    taken = {name: value for name, value in fresh.items() if name not in names}
    return taken | {name: stored[name] for name in names if name in stored}


def _stages(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found = status.get("stages")
    stages = [stage for stage in found if isinstance(stage, Mapping)] if isinstance(found, list) else []
    return {text(stage, "id"): stage for stage in stages}


def _of(value: Mapping[str, Any], name: str) -> int:
    return number(value, name, 0, _MOST)


def _milliseconds(value: float) -> int:
    """Rounded up, so that 0 means that there was no call."""
    return math.ceil(value) if 0 < value < _MOST else 0
