"""A disk that fills up, tears writes, and forgets in a power cut what was not flushed."""

from __future__ import annotations

import errno
import os
import random
from dataclasses import dataclass, field
from typing import Any

from etl_operator.node.consensus.disk import File


@dataclass(eq=False)
class Inode:
    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""


class Disk:
    """What outlives the members of one node. Implements `consensus.disk.Files`."""

    def __init__(self, chance: random.Random, node: Any = None) -> None:
        self.chance = chance
        self.node = node
        self.full = False
        self.broken = False
        """The next flush fails for good, as a dying disk does."""
        self._names: dict[str, Inode] = {}
        self._durable: dict[str, Inode] = {}
        self._steps: list[tuple[str, Inode | None]] = []
        """What happened to names since the last flush of the directory."""

    # Files.

    def lock(self) -> None:
        pass

    def unlock(self) -> None:
        pass

    def read(self, name: str) -> bytes:
        if name not in self._names:
            raise FileNotFoundError(name)
        return bytes(self._names[name].data)

    def open(self, name: str, *, empty: bool = False) -> File:
        if name not in self._names:
            self.need_room()
            self._name(name, Inode())
        elif empty:
            self._names[name].data.clear()
        return _Open(self, self._names[name])

    def rename(self, old: str, new: str) -> None:
        if self.chance.random() < 0.1:
            self.need_room()
        inode = self._names[old]
        self._name(old, None)
        self._name(new, inode)

    def remove(self, name: str) -> None:
        if name in self._names:
            self._name(name, None)

    def sync(self) -> None:
        self.flush_or_break()
        self._steps.clear()
        self._durable = dict(self._names)

    # Faults.

    def need_room(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def flush_or_break(self) -> None:
        if self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def power_cut(self) -> None:
        """Keep what was flushed, and of the rest what happened to be written in time."""
        self.broken = False
        for name, inode in self._steps[: self.chance.randint(0, len(self._steps))]:
            _set(self._durable, name, inode)
        self._steps.clear()
        self._names = dict(self._durable)
        for inode in {id(inode): inode for inode in self._names.values()}.values():
            inode.data = bytearray(self._torn(inode))
            inode.durable = bytes(inode.data)

    def process_end(self) -> None:
        """Everything written can be read again, flushed or not."""
        self.broken = False

    def _torn(self, inode: Inode) -> bytes:
        data, durable = bytes(inode.data), inode.durable
        if not data.startswith(durable):
            return self.chance.choice([data, durable])
        kept = durable + data[len(durable) : self.chance.randint(len(durable), len(data))]
        if len(durable) < len(kept) < len(data) and self.chance.random() < 0.3:
            # The length of the file was stored, the end of its content was not.
            hole = self.chance.randint(1, min(len(kept) - len(durable), 16))
            kept = kept[:-hole] + bytes(hole)
        return kept

    def _name(self, name: str, inode: Inode | None) -> None:
        _set(self._names, name, inode)
        self._steps.append((name, inode))


def _set(names: dict[str, Inode], name: str, inode: Inode | None) -> None:
    if inode is None:
        names.pop(name, None)
    else:
        names[name] = inode


class _Open:
    def __init__(self, disk: Disk, inode: Inode) -> None:
        self._disk = disk
        self._inode = inode

    def write(self, data: bytes, offset: int) -> None:
        content = self._inode.data
        assert offset <= len(content)
        if self._disk.full:
            data = data[: self._disk.chance.randrange(len(data))]
        content[offset : offset + len(data)] = data
        self._disk.need_room()

    def truncate(self, size: int) -> None:
        del self._inode.data[size:]

    def sync(self) -> None:
        self._disk.flush_or_break()
        self._inode.durable = bytes(self._inode.data)

    def close(self) -> None:
        pass
