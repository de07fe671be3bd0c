"""How much may be taken: records and bytes per source, per pipeline and in all. Pure.

What is taken is given back when it is decided. A source that has nothing under way may always bring one
batch, however large and however full the node is: none is ever shut out by others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from etl_operator.node.settings import STREAM_BYTES

GRANT_SECONDS = 30.0
"""How long a grant lasts."""
FIRST_GRANT = 10_000
"""Records granted to a stream whose source is not known yet."""


class Level(IntEnum):
    """How full the fullest budget concerned is; the numbers are those of ``BackpressureLevel``."""

    NONE = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


class Priority(IntEnum):
    """Of a request for credits; the numbers are those of ``CreditPriority``."""

    NORMAL = 0
    HIGH = 1
    CRITICAL = 2


_SHARES = {Priority.NORMAL: 0.8, Priority.HIGH: 0.9, Priority.CRITICAL: 1.0}


class Amount(NamedTuple):
    """Records and bytes."""

    records: int
    size: int


_TOTAL = Amount(1_000_000, 64 * 2**20)
_SOURCE = Amount(100_000, 16 * 2**20)
_PIPELINE = Amount(100_000, 32 * 2**20)


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be under way."""

    total: Amount = _TOTAL
    source: Amount = _SOURCE
    """Of one source."""
    pipeline: Amount = _PIPELINE
    """Of one pipeline, from all of its sources."""
    pause_at: float = 0.8
    """Share from which sources are asked to pause."""
    resume_at: float = 0.6
    """Share below which they are asked to go on."""


class Grant(NamedTuple):
    """Records a source may send."""

    credits: int
    available: int
    """What is left for this source after the grant."""


@dataclass(slots=True)
class _Given:
    credits: int
    expires: float


class Budget:
    """Counts what is under way and what has been granted.

    :param clock: monotonic seconds.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self.limits = limits
        self._clock = clock
        self._total = Amount(0, 0)
        self._sources: dict[str, Amount] = {}
        self._pipelines: dict[str, Amount] = {}
        self._given: dict[str, _Given] = {}
        self._streams = 0

    def opened(self) -> None:
        """A stream begins: gRPC may hold `STREAM_BYTES` of it before anything is taken."""
        self._streams += 1

    def closed(self) -> None:
        """A stream has ended."""
        self._streams -= 1

    @property
    def used(self) -> Amount:
        """All that is under way."""
        return self._total

    def admits(self, source: str, pipelines: Iterable[str], amount: Amount) -> bool:
        """Whether a batch may be taken now."""
        if source not in self._sources:
            return True
        return all(
            used.records + amount.records <= limit.records and used.size + amount.size <= limit.size
            for used, limit in self._concerned(source, pipelines)
        )

    def take(self, source: str, pipelines: Iterable[str], amount: Amount) -> None:
        """A batch is under way. What the source was granted shrinks by it."""
        self._total = _plus(self._total, amount)
        self._sources[source] = _plus(self._sources.get(source, Amount(0, 0)), amount)
        for pipeline in pipelines:
            self._pipelines[pipeline] = _plus(self._pipelines.get(pipeline, Amount(0, 0)), amount)
        given = self._given.get(source)
        if given is not None:
            given.credits = max(given.credits - amount.records, 0)

    def give_back(self, source: str, pipelines: Iterable[str], amount: Amount) -> None:
        """A batch taken before is decided."""
        self._total = _minus(self._total, amount)
        _shrink(self._sources, source, amount)
        for pipeline in pipelines:
            _shrink(self._pipelines, pipeline, amount)

    def share(self, source: str, pipelines: Iterable[str]) -> float:
        """Used by allowed, of the fullest budget concerned, in records or bytes, whichever is more."""
        return max(
            max(used.records / limit.records, used.size / limit.size)
            for used, limit in self._concerned(source, pipelines)
        )

    def level(self, source: str, pipelines: Iterable[str]) -> Level:
        """The level of `share`."""
        return level_of(self.share(source, pipelines), self.limits.pause_at)

    def grant(
        self, source: str, pipelines: Iterable[str], wanted: int, priority: Priority = Priority.NORMAL
    ) -> Grant:
        """Grant records to a source, in place of what it was granted before.

        :param source: or whatever stands for a stream whose source is not known.
        """
        now = self._clock()
        self._given.pop(source, None)
        self._forget_expired(now)
        granted = sum(given.credits for given in self._given.values())
        rooms = [
            int(limit.records * _SHARES[priority]) - used.records
            for used, limit in self._concerned(source, pipelines)
        ]
        # What others were granted counts where all meet.
        rooms[0] -= granted
        room = max(min(rooms), 0)
        credits = min(max(wanted, 0), room)
        if credits:
            self._given[source] = _Given(credits, now + GRANT_SECONDS)
        return Grant(credits, room - credits)

    def granted(self) -> int:
        """Records granted, not used and not expired."""
        self._forget_expired(self._clock())
        return sum(given.credits for given in self._given.values())

    def revoke(self, source: str) -> None:
        """Forget what was granted, as at the end of a stream."""
        self._given.pop(source, None)

    def _forget_expired(self, now: float) -> None:
        for source in [source for source, given in self._given.items() if given.expires <= now]:
            del self._given[source]

    def _concerned(self, source: str, pipelines: Iterable[str]) -> list[tuple[Amount, Amount]]:
        nothing, limits = Amount(0, 0), self.limits
        # Many streams must not leave nothing for their records.
        held = min(self._streams * STREAM_BYTES, limits.total.size // 2)
        return [
            (Amount(self._total.records, self._total.size + held), limits.total),
            (self._sources.get(source, nothing), limits.source),
            *((self._pipelines.get(pipeline, nothing), limits.pipeline) for pipeline in pipelines),
        ]


def level_of(share: float, pause_at: float = 0.8) -> Level:
    """NONE, LOW from 0.6, MEDIUM from 0.7, HIGH from ``pause_at``, CRITICAL from 0.95."""
    if share >= 0.95:
        return Level.CRITICAL
    if share >= pause_at:
        return Level.HIGH
    if share >= 0.7:
        return Level.MEDIUM
    return Level.LOW if share >= 0.6 else Level.NONE


def _plus(one: Amount, other: Amount) -> Amount:
    return Amount(one.records + other.records, one.size + other.size)


def _minus(one: Amount, other: Amount) -> Amount:
    return Amount(one.records - other.records, one.size - other.size)


def _shrink(amounts: dict[str, Amount], key: str, amount: Amount) -> None:
    left = _minus(amounts[key], amount)
    if left == Amount(0, 0):
        del amounts[key]
    else:
        amounts[key] = left
