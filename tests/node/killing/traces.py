"""What the processes of a run left behind, and what must be true of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

Id = tuple[int, int]
"""Partition and position."""


class Violation(Exception):
    """A promise was not kept; the text says which, and by which record."""


class Written:
    """What all sinks have written, in order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._ids: dict[str, list[Id]] = {}
        self._kinds: dict[str, Counter[str]] = {}

    def of(self, source: str) -> list[Id]:
        """Records of a source as they were written, up to now."""
        self._read()
        return self._ids.setdefault(source, [])

    def kinds(self, source: str) -> set[str]:
        """Types of these records."""
        return set(self._kinds.get(source, ()))

    def _read(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        for line in data[:whole].decode().splitlines():
            match line.split():
                # A line that was not finished was not acknowledged either.
                case [source, partition, number, kind, "."]:
                    self._ids.setdefault(source, []).append((int(partition), int(number)))
                    self._kinds.setdefault(source, Counter())[kind] += 1


@dataclass
class Journal:
    """What a source, all its processes, wrote down."""

    path: Path
    accepted: set[Id] = field(default_factory=set)
    rejected: set[Id] = field(default_factory=set)
    starts: list[dict[int, int]] = field(default_factory=list)
    """Where each process of it started: the checkpoints, by partition."""

    def read(self) -> None:
        """All that is there now."""
        self.accepted, self.rejected, self.starts = set(), set(), []
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        for line in data[: data.rfind(b"\n") + 1].decode().splitlines():
            what, partition, number = line.split()
            one = (int(partition), int(number))
            if what == "start":
                if not self.starts or one[0] in self.starts[-1]:
                    self.starts.append({})
                self.starts[-1][one[0]] = one[1]
            else:
                (self.accepted if what == "accepted" else self.rejected).add(one)


def reached(ids: list[Id]) -> dict[int, int]:
    """The highest position that was written, by partition."""
    highest: dict[int, int] = {}
    for partition, number in ids:
        highest[partition] = max(number, highest.get(partition, 0))
    return highest


def duplicates(ids: list[Id]) -> int:
    """How many records were written that had been written before."""
    return len(ids) - len(set(ids))


def check_accepted(journal: Journal, written: Written, source: str) -> None:
    """What is accepted is in a sink, and nothing is refused.

    :raises Violation: it is not.
    """
    # In this order: what is accepted was written before.
    journal.read()
    if journal.rejected:
        raise Violation(f"rejected: {sorted(journal.rejected)[:5]}")
    if lost := journal.accepted - set(written.of(source)):
        raise Violation(f"{len(lost)} records were accepted and are not in a sink: {sorted(lost)[:5]}")


def check_order(ids: list[Id]) -> None:
    """In each partition, records come for the first time in the order of their positions.

    :raises Violation: they do not.
    """
    last: dict[int, int] = {}
    seen: set[Id] = set()
    for one in ids:
        if one in seen:
            continue
        seen.add(one)
        partition, number = one
        if number <= last.get(partition, 0):
            raise Violation(f"record {one} came after {last[partition]}, for the first time")
        last[partition] = number


def check_complete(ids: list[Id], partitions: int, count: int) -> None:
    """Every record is there.

    :raises Violation: one is not, or one is there that was never sent.
    """
    wanted = {(partition, number) for partition in range(partitions) for number in range(1, count + 1)}
    if wanted != set(ids):
        lost, more = wanted - set(ids), set(ids) - wanted
        raise Violation(f"{len(lost)} records are lost: {sorted(lost)[:5]}; unknown: {sorted(more)[:5]}")
