"""The members of a cluster as the log has them: who votes, who learns, and since which entry.

A change is an entry of the log: a no-op with the new members behind its first byte. Versions that do not know
that take it for a no-op. It holds from the moment it is stored, committed or not (Ongaro, Consensus: Bridging
Theory and Practice, section 4.1), and no longer if it is removed from the log.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cached_property
from typing import Annotated, Literal

import msgspec

from etl_operator.node.consensus.journal import MOST, Entry

REGULAR, NO_OP = b"\0", b"\1"
"""First byte of an entry's command: a command of the state machine, or nothing but maybe the members."""


Kind = Literal["add", "promote", "remove"]
"""A change: one more learner, a learner that votes, or one member less."""


class Seat(msgspec.Struct, frozen=True, array_like=True):
    """One member."""

    node_id: Annotated[int, msgspec.Meta(ge=1, le=MOST)]
    voter: bool
    address: str = ""
    """``host:port`` as known when it was added. What a node's own flags say is newer."""


class Configuration(msgspec.Struct, frozen=True, array_like=True, dict=True):
    """All members, sorted by id."""

    seats: tuple[Seat, ...]

    @cached_property
    def voters(self) -> frozenset[int]:
        """Ids of those who vote."""
        return frozenset(seat.node_id for seat in self.seats if seat.voter)

    @cached_property
    def members(self) -> frozenset[int]:
        """Ids of all."""
        return frozenset(seat.node_id for seat in self.seats)

    def majority(self, members: Iterable[int]) -> bool:
        """Whether more than half of the voters are among them."""
        voters = self.voters
        return 2 * len(voters.intersection(members)) > len(voters)

    def changed(self, change: Kind, member: int, address: str = "") -> Configuration:
        """The members after one change.

        :param address: ``host:port`` of a member that is added, for those whose flags do not name it.
        :raises ValueError: there is nothing to change.
        """
        kept = [seat for seat in self.seats if seat.node_id != member]
        seat = next((seat for seat in self.seats if seat.node_id == member), None)
        if change == "add":
            if seat is not None:
                raise ValueError(f"node {member} is a member")
            return _sorted([*kept, Seat(member, False, address)])
        if seat is None:
            raise ValueError(f"node {member} is not a member")
        if change == "remove":
            return _sorted(kept)
        if seat.voter:
            raise ValueError(f"node {member} is a voter")
        return _sorted([*kept, Seat(member, True, seat.address)])


def of_voters(members: Collection[int]) -> Configuration:
    """These members, all voters."""
    return _sorted(Seat(member, True) for member in members)


def _sorted(seats: Iterable[Seat]) -> Configuration:
    return Configuration(tuple(sorted(seats, key=lambda seat: seat.node_id)))


def encode(configuration: Configuration) -> bytes:
    """As it is stored, behind `NO_OP` or in a snapshot."""
    return msgspec.msgpack.encode(configuration)


def decode(data: bytes) -> Configuration | None:
    """The members in ``data``; None if it is empty.

    :raises ValueError: it is neither, or it names nobody who votes, or somebody twice.
    """
    if not data:
        return None
    found = msgspec.msgpack.decode(data, type=Configuration)
    if not found.voters or len(found.members) != len(found.seats):
        raise ValueError("no voters, or a member twice")
    return found


class Configurations:
    """The members named in a log, entry by entry.

    :param fallback: the members while the log names none.
    """

    def __init__(self, fallback: Configuration) -> None:
        self.fallback = fallback
        self._known: list[tuple[int, Configuration]] = []

    @property
    def current(self) -> Configuration:
        """The members as the last entry about them says, committed or not."""
        return self._known[-1][1] if self._known else self.fallback

    @property
    def index(self) -> int:
        """Index of that entry; 0 if there is none."""
        return self._known[-1][0] if self._known else 0

    def at(self, index: int) -> Configuration | None:
        """The members as named up to an entry; None if none were."""
        return next((found for at, found in reversed(self._known) if at <= index), None)

    def since(self, index: int) -> tuple[Configuration, ...]:
        """The members as named up to an entry, and all that were named later. Oldest first, at least one."""
        later = tuple(found for at, found in self._known if at > index)
        return (self.at(index) or self.fallback, *later)

    def rebuild(self, covered: int, members: Configuration | None, entries: Iterable[Entry]) -> None:
        """Read a log.

        :param covered: the last entry of the snapshot before it, and ``members`` as stored there.
        """
        self._known = [(covered, members)] if members is not None else []
        for entry in entries:
            if members is None or entry[1] > covered:
                self.stored(entry)

    def stored(self, entry: Entry) -> bool:
        """An entry was appended. Whether it names the members."""
        command, index, _ = entry
        found = decode(command[1:]) if command[:1] == NO_OP else None
        if found is not None:
            self._known.append((index, found))
        return found is not None

    def removed(self, first: int) -> None:
        """The entries from ``first`` on are gone."""
        while self._known and self._known[-1][0] >= first:
            self._known.pop()

    def forget(self, index: int) -> None:
        """A snapshot covers the entries up to ``index``: keep the last members named in them."""
        while len(self._known) > 1 and self._known[1][0] <= index:
            self._known.pop(0)
