"""How far sources have come, and what services saved: the replicated state that moves with records.

Positions never go back. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

MOST_ROWS = 100_000
"""Partitions that are remembered, of each group and of all sources. What comes then is not."""
MOST_DATA = 2**20
"""Bytes that a service may save."""
MOST_SAVED = 64 * 2**20
"""Bytes that all services together may save."""


class Position(NamedTuple):
    """A position and the time that came with it."""

    value: int
    seconds: int = 0
    nanos: int = 0


class GroupRow(NamedTuple):
    """A group has delivered all of a partition up to here."""

    group: str
    source: str
    partition: int
    value: int
    seconds: int = 0
    nanos: int = 0


class SourceRow(NamedTuple):
    """A source's partition is delivered up to here, or its watermark is."""

    source: str
    partition: int
    value: int
    seconds: int = 0
    nanos: int = 0


class Saved(msgspec.Struct, frozen=True, array_like=True):
    """Opaque state of a service."""

    service_id: str
    checkpoint_id: str
    data: bytes
    offsets: list[tuple[str, int, int]]
    """Source, partition, position."""
    created_at: float
    """Wall-clock seconds since 1970."""


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """As a snapshot has it."""

    groups: list[GroupRow] = msgspec.field(default_factory=list)
    sources: list[SourceRow] = msgspec.field(default_factory=list)
    watermarks: list[SourceRow] = msgspec.field(default_factory=list)
    saved: list[Saved] = msgspec.field(default_factory=list)


Key = tuple[str, int]
"""Source and partition."""


class Checkpoints:
    """The same on every node."""

    def __init__(self, stored: Stored | None = None) -> None:
        stored = stored or Stored()
        self.groups: dict[str, dict[Key, Position]] = {}
        self.sources: dict[Key, Position] = {}
        self.watermarks: dict[Key, Position] = {}
        self.saved: dict[str, Saved] = {one.service_id: one for one in stored.saved}
        for row in stored.groups:
            self.groups.setdefault(row.group, {})[row.source, row.partition] = Position(*row[3:])
        for rows, into in ((stored.sources, self.sources), (stored.watermarks, self.watermarks)):
            into.update({(row.source, row.partition): Position(*row[2:]) for row in rows})

    def stored(self) -> Stored:
        """For a snapshot; sorted, so that equal states have equal bytes."""
        return Stored(
            [
                GroupRow(group, *key, *position)
                for group, positions in sorted(self.groups.items())
                for key, position in sorted(positions.items())
            ],
            [SourceRow(*key, *position) for key, position in sorted(self.sources.items())],
            [SourceRow(*key, *position) for key, position in sorted(self.watermarks.items())],
            sorted(self.saved.values(), key=lambda one: one.service_id),
        )

    def commit(self, rows: Iterable[GroupRow], runs: Callable[[str], bool]) -> None:
        """Groups have come so far. A source has come as far as the last of its pipelines that run.

        :param runs: whether a group is a pipeline that is enabled.
        """
        touched: dict[Key, None] = {}
        for row in rows:
            key = (row.source, row.partition)
            _raise(self.groups.setdefault(row.group, {}), key, Position(*row[3:]))
            touched[key] = None
        for key in touched:
            found = [
                positions[key] for group, positions in self.groups.items() if key in positions and runs(group)
            ]
            if found:
                _raise(self.sources, key, min(found))

    def commit_sources(self, rows: Iterable[SourceRow]) -> None:
        """Sources say themselves how far they have come."""
        for row in rows:
            _raise(self.sources, (row.source, row.partition), Position(*row[2:]))

    def raise_watermarks(self, rows: Iterable[SourceRow]) -> bool:
        """Watermarks rise; whether any did."""
        risen = [_raise(self.watermarks, (row.source, row.partition), Position(*row[2:])) for row in rows]
        return any(risen)

    def save(self, saved: Saved) -> None:
        """A service's state, in place of what it saved before."""
        self.saved[saved.service_id] = saved

    def forget_group(self, group: str) -> None:
        """The pipeline is gone."""
        self.groups.pop(group, None)

    @property
    def is_empty(self) -> bool:
        """Nothing is remembered."""
        return not (self.groups or self.sources or self.watermarks or self.saved)

    @property
    def saved_bytes(self) -> int:
        """Of all services."""
        return sum(len(one.data) for one in self.saved.values())

    @property
    def rows(self) -> int:
        """Partitions that are remembered, of the kind that has most."""
        groups = sum(len(positions) for positions in self.groups.values())
        return max(groups, len(self.sources), len(self.watermarks))


def _raise(positions: dict[Key, Position], key: Key, new: Position) -> bool:
    old = positions.get(key)
    if (old is not None and old.value >= new.value) or (old is None and len(positions) >= MOST_ROWS):
        return False
    positions[key] = new
    return True


def global_watermark(rows: Iterable[tuple[Key, Position]]) -> tuple[Key, Position] | None:
    """The lowest: by time, and among equal times by position."""
    return min(rows, key=lambda row: (row[1].seconds, row[1].nanos, row[1].value, row[0]), default=None)
