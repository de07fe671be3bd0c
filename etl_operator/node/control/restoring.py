"""Replacing the whole state by that of a backup. Pure; the same on every node.

A backup can be larger than an entry of the log. It is therefore staged part by part, and takes effect in one
step: until `FinishRestore` is applied, nothing but the staging area changes.

All commands may be applied twice: each names its restore, and what has been done is not done again.
"""

from __future__ import annotations

import hashlib

import msgspec

PART_BYTES = 512 * 1024
"""Bytes in one part: below the limit of every engine for an entry."""
MOST_BYTES = 2**30
"""Bytes of a state that can be restored."""


class _Command(msgspec.Struct, frozen=True, array_like=True, tag=True):
    restore_id: str
    """Unique for each attempt."""


class BeginRestore(_Command, frozen=True, array_like=True, tag="restore_begin"):
    """Prepare the staging area; what another restore has staged is removed."""

    size: int
    """Bytes of the state."""
    sha256: bytes
    """Of the state."""


class RestorePart(_Command, frozen=True, array_like=True, tag="restore_part"):
    """The next bytes of the state."""

    offset: int
    data: bytes


class FinishRestore(_Command, frozen=True, array_like=True, tag="restore_finish"):
    """Replace the state by what is staged."""

    overwrite: bool
    """False: refused unless the state is empty."""


class DropRestore(_Command, frozen=True, array_like=True, tag="restore_drop"):
    """Remove what is staged."""


Restoring = BeginRestore | RestorePart | FinishRestore | DropRestore


class Staged(msgspec.Struct, frozen=True, array_like=True):
    """The staging area, as a snapshot has it."""

    restore_id: str = ""
    size: int = 0
    sha256: bytes = b""
    parts: list[bytes] = msgspec.field(default_factory=list)
    finished: str = ""
    """Id of the last restore that took effect."""


class Staging:
    """What is staged, and which restore took effect last. Each method returns the problem, or ""."""

    def __init__(self, stored: Staged | None = None) -> None:
        stored = stored or Staged()
        self._id, self._size, self._sha256 = stored.restore_id, stored.size, stored.sha256
        self._parts = list(stored.parts)
        self._length = sum(map(len, self._parts))
        self.finished = stored.finished
        """Id of the last restore that took effect."""

    def stored(self) -> Staged:
        """For a snapshot."""
        return Staged(self._id, self._size, self._sha256, list(self._parts), self.finished)

    def begin(self, command: BeginRestore) -> str:
        """An empty staging area for this restore, unless it has one."""
        if command.restore_id in (self._id, self.finished):
            return ""
        if not 0 <= command.size <= MOST_BYTES:
            return f"the state has {command.size} bytes; the maximum is {MOST_BYTES}"
        self._clear()
        self._id, self._size, self._sha256 = command.restore_id, command.size, command.sha256
        return ""

    def add(self, command: RestorePart) -> str:
        """Stage a part. One that is staged already changes nothing."""
        if command.restore_id == self.finished:
            return ""
        if command.restore_id != self._id:
            return "another restore has begun"
        end = command.offset + len(command.data)
        if end <= self._length:
            return ""
        if command.offset != self._length or end > self._size:
            return f"a part at offset {command.offset} does not follow the {self._length} bytes before it"
        self._parts.append(command.data)
        self._length = end
        return ""

    def content(self, restore_id: str) -> tuple[bytes, str]:
        """The staged state, if it is whole, or the problem."""
        if restore_id != self._id:
            return b"", "another restore has begun"
        data = b"".join(self._parts)
        if len(data) != self._size or hashlib.sha256(data).digest() != self._sha256:
            return b"", "the staged state is not what the backup has"
        return data, ""

    def finish(self, restore_id: str) -> None:
        """This restore took effect."""
        self._clear()
        self.finished = restore_id

    def drop(self, restore_id: str) -> None:
        """Remove what this restore has staged."""
        if restore_id == self._id:
            self._clear()

    def _clear(self) -> None:
        self._id, self._size, self._sha256, self._parts, self._length = "", 0, b"", [], 0
