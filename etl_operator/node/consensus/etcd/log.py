"""The log in etcd's store: keys, values, and how both become the state again. Pure.

Below a prefix there are::

    l/head          number of the last entry that was written
    l/leader        who may write: node id and a word of its own
    l/log/NUMBER    an entry: a command, or a part of one
    s/NUMBER/PART   a piece of the state after entry NUMBER
    s/current       the newest whole snapshot

Numbers are written in sixteen hexadecimal digits, so that keys sort as the entries do. Everything is written
in transactions that compare ``l/leader`` with what its writer knows (the *fence*: the revision at which it
got the key), so entries of a former leader never follow those of a new one, and a fence that is left is left
for good.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import msgspec

PIECE = 512 * 1024
"""Bytes of the command or snapshot in one value. etcd takes requests of up to 1.5 MiB."""
MAX_COMMAND = 8 * 2**20
"""Bytes of a command; larger ones are refused when proposed."""

_FIRST, _LAST = 1, 2
"""First byte of an entry."""


class BadLog(Exception):
    """The store holds what no node wrote."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one cluster of nodes."""

    prefix: bytes

    @property
    def watched(self) -> bytes:
        """Begin of the head, the leader and the entries."""
        return self.prefix + b"l/"

    @property
    def head(self) -> bytes:
        """Number of the last entry."""
        return self.prefix + b"l/head"

    @property
    def leader(self) -> bytes:
        """Who may write."""
        return self.prefix + b"l/leader"

    @property
    def entries(self) -> bytes:
        """Begin of all entries."""
        return self.prefix + b"l/log/"

    @property
    def snapshots(self) -> bytes:
        """Begin of all that belongs to snapshots."""
        return self.prefix + b"s/"

    @property
    def current(self) -> bytes:
        """The newest snapshot."""
        return self.prefix + b"s/current"

    def entry(self, number: int) -> bytes:
        """One entry."""
        return self.entries + b"%016x" % number

    def pieces(self, number: int) -> bytes:
        """Begin of the pieces of a snapshot."""
        return self.snapshots + b"%016x/" % number

    def number(self, key: bytes) -> int:
        """Of an entry's key.

        :raises BadLog: it is none.
        """
        try:
            return int(key[len(self.entries) :], 16)
        except ValueError:
            raise BadLog(f"{key!r} is not the key of a log entry") from None


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """Value of ``s/current``."""

    number: int
    """Of the last entry that is in it."""
    pieces: int
    size: int
    checksum: int
    """CRC-32 of the state."""


class Owner(msgspec.Struct, frozen=True, array_like=True):
    """Value of ``l/leader``."""

    node_id: int
    life: str
    """Random, of one run of the node. Empty: any; it has been handed the key and has yet to take it."""


_encoder = msgspec.msgpack.Encoder()
_snapshot = msgspec.msgpack.Decoder(Snapshot)
_owner = msgspec.msgpack.Decoder(Owner)


def encode(value: Snapshot | Owner) -> bytes:
    """As it is stored."""
    return _encoder.encode(value)


def decode_snapshot(data: bytes) -> Snapshot:
    """The other way round.

    :raises BadLog: it is none.
    """
    try:
        return _snapshot.decode(data)
    except ValueError as error:
        raise BadLog(f"the snapshot's description: {error}") from error


def decode_owner(data: bytes) -> Owner:
    """The other way round.

    :raises BadLog: it is none.
    """
    try:
        return _owner.decode(data)
    except ValueError as error:
        raise BadLog(f"the leader's key: {error}") from error


def split(data: bytes) -> list[bytes]:
    """Pieces that fit into a value each; one at least."""
    return [data[start : start + PIECE] for start in range(0, len(data), PIECE)] or [b""]


def entries_of(command: bytes) -> list[bytes]:
    """The values that carry a command."""
    pieces = split(command)
    last = len(pieces) - 1
    return [
        bytes([_FIRST * (index == 0) | _LAST * (index == last)]) + piece for index, piece in enumerate(pieces)
    ]


def described(number: int, state: bytes) -> Snapshot:
    """The description of a snapshot."""
    return Snapshot(number, len(split(state)), len(state), zlib.crc32(state))


def joined(snapshot: Snapshot, pieces: list[bytes]) -> bytes:
    """The state.

    :raises BadLog: something is missing or damaged.
    """
    state = b"".join(pieces)
    if len(pieces) != snapshot.pieces or described(snapshot.number, state) != snapshot:
        raise BadLog(f"the snapshot after entry {snapshot.number} is not whole")
    return state


class Assembler:
    """Puts commands together from entries, in the order of their numbers.

    :param number: of the last entry that is part of the state.
    """

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self._parts: list[bytes] = []

    @property
    def between(self) -> bool:
        """No command has begun and not ended: a snapshot can be taken."""
        return not self._parts

    def add(self, number: int, value: bytes) -> bytes | None:
        """The next entry; the command if it ends one. An entry that is known already changes nothing.

        :raises BadLog: an entry is missing before it, or it is none.
        """
        if number <= self.number:
            return None
        if number != self.number + 1:
            raise BadLog(f"entry {number} follows entry {self.number}")
        kind = value[0] if value else 0xFF
        if kind > _FIRST | _LAST or not (kind & _FIRST or self._parts):
            raise BadLog(f"entry {number} is no part of a command")
        self.number = number
        if kind & _FIRST:
            # The rest of what its writer did not finish will never come.
            self._parts = []
        self._parts.append(value[1:])
        if not kind & _LAST:
            return None
        command = b"".join(self._parts)
        self._parts = []
        return command
