"""A backup as a file: a head that describes it, the state, and a checksum of both.

::

    magic      8 bytes
    length     4 bytes, little-endian: of the head
    head       JSON, see `Head`
    state      ``size`` bytes, see `state.RouterState.content`
    checksum   32 bytes: SHA-256 of everything before

Functions block: call them in a thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from etl_operator.node.control import restoring

FORMAT = 1
"""Number of the format of head and state. A node reads backups of its own and of lower numbers."""
_MAGIC = b"ETLRBAK\n"
_PREFIX = len(_MAGIC) + 4
_LARGEST_HEAD = 64 * 1024
_CHECKSUM = 32
_BLOCK = 2**20


class ArchiveError(Exception):
    """The file is not a usable backup; the text says why."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is."""

    format: int = FORMAT
    version: str
    """Of the program that made it."""
    commit_index: int
    """The last log entry in it."""
    term: int
    created_at: float
    """Wall-clock seconds since 1970."""
    pipelines: int
    size: int
    """Bytes of the state."""


_decoder = msgspec.json.Decoder(Head)


def write(file: BinaryIO, head: Head, content: bytes) -> None:
    """Write a backup."""
    encoded = msgspec.json.encode(head)
    checksum = hashlib.sha256()
    for part in (_MAGIC, len(encoded).to_bytes(4, "little"), encoded, content):
        checksum.update(part)
        file.write(part)
    file.write(checksum.digest())


def read_head(file: BinaryIO) -> Head:
    """The head; the file is then at the begin of the state.

    :raises ArchiveError: there is none, or it is of another format.
    """
    return _head(file.read(_PREFIX), file)


def verify(path: Path) -> Head:
    """Read all of a backup and compare its checksum.

    :raises ArchiveError: it is damaged, incomplete, or of another format.
    """
    with path.open("rb") as file:
        head = read_head(file)
        begin = file.tell()
        expected = begin + head.size + _CHECKSUM
        actual = path.stat().st_size
        if actual != expected:
            raise ArchiveError(f"the backup has {actual} bytes instead of {expected}")
        file.seek(0)
        checksum = hashlib.sha256()
        for block in _blocks(file, begin + head.size):
            checksum.update(block)
        if file.read(_CHECKSUM) != checksum.digest():
            raise ArchiveError("the checksum of the backup is wrong: it is damaged")
    return head


def content(path: Path) -> bytes:
    """The state in a backup that was verified.

    :raises ArchiveError: it is no backup.
    """
    with path.open("rb") as file:
        return file.read(read_head(file).size)


def _head(prefix: bytes, file: BinaryIO) -> Head:
    if prefix[: len(_MAGIC)] != _MAGIC:
        raise ArchiveError("this is not a backup of a router")
    length = int.from_bytes(prefix[len(_MAGIC) :], "little")
    if length > _LARGEST_HEAD:
        raise ArchiveError("the head of the backup is damaged")
    encoded = file.read(length)
    try:
        found = msgspec.json.decode(encoded, type=_Format).format
        if found > FORMAT:
            raise ArchiveError(
                f"the backup has format {found}; this version reads formats up to {FORMAT}: use a newer "
                "router"
            )
        head = _decoder.decode(encoded)
    except msgspec.MsgspecError as error:
        raise ArchiveError(f"the head of the backup cannot be read: {error}") from error
    if not 0 <= head.size <= restoring.MOST_BYTES:
        raise ArchiveError(f"the state has {head.size} bytes; the maximum is {restoring.MOST_BYTES}")
    return head


class _Format(msgspec.Struct):
    format: int


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (block := file.read(min(size, _BLOCK))):
        size -= len(block)
        yield block
