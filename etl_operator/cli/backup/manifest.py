"""What a backup consists of: files with checksums, and a manifest that lists them. Pure.

::

    state.gz.00000, state.gz.00001, …   the backup as the router streams it, in pieces of `PART_BYTES`
    manifest.json                       what it is, and size and SHA-256 of each file
    manifest.json.sha256                for ``sha256sum --check``; written last: it makes the backup complete
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec

FORMAT = 1
"""Of manifest and files."""
PART_BYTES = 8 * 2**20
"""Largest file; a program that writes or reads a backup has one of them in memory."""
MANIFEST = "manifest.json"
CHECKSUM = "manifest.json.sha256"


class BackupError(Exception):
    """What went wrong, where, and what to do, for people."""


class File(msgspec.Struct, frozen=True):
    """A file of a backup."""

    name: str
    size: int
    """Bytes."""
    sha256: str
    """Hexadecimal."""

    def check(self, data: bytes) -> None:
        """Compare what was read.

        :raises BackupError: it is not what was written.
        """
        if len(data) != self.size:
            raise BackupError(f"{self.name} has {len(data)} bytes instead of {self.size}: it is damaged")
        if digest(data) != self.sha256:
            raise BackupError(f"the checksum of {self.name} is wrong: it is damaged")


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Describes a backup."""

    format: int = FORMAT
    cluster: str
    """``namespace/name``."""
    created: str
    """RFC 3339."""
    commit_index: int
    """The last log entry in it."""
    term: int
    state_size: int
    """Bytes of the backup before compression."""
    files: list[File]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


class _Format(msgspec.Struct):
    format: int


def encode(manifest: Manifest) -> tuple[bytes, bytes]:
    """The contents of `MANIFEST` and of `CHECKSUM`."""
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    return data, f"{digest(data)}  {MANIFEST}\n".encode()


def decode(data: bytes, checksum: bytes) -> Manifest:
    """The manifest.

    :raises BackupError: it is damaged, or of a newer format.
    """
    if checksum.split()[:1] != [digest(data).encode()]:
        raise BackupError(f"the checksum of {MANIFEST} is wrong: it is damaged")
    try:
        found = msgspec.json.decode(data, type=_Format).format
        if found > FORMAT:
            raise BackupError(
                f"{MANIFEST} has format {found}; this version reads formats up to {FORMAT}: use a newer "
                "etl-operator"
            )
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise BackupError(f"{MANIFEST}: {error}") from error


def directory_of(cluster: str, now: datetime) -> str:
    """Name of the directory of a new backup: ``namespace.name-20260131T100000Z``."""
    return f"{prefix_of(cluster)}{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def prefix_of(cluster: str) -> str:
    """What the directories of all backups of a cluster begin with."""
    return cluster.replace("/", ".") + "-"


def digest(data: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


async def parts(stream: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, bytes]]:
    """Cut a stream into files: name and content."""
    held = bytearray()
    number = 0
    async for data in stream:
        held += data
        while len(held) >= PART_BYTES:
            yield f"state.gz.{number:05}", bytes(held[:PART_BYTES])
            del held[:PART_BYTES]
            number += 1
    if held:
        yield f"state.gz.{number:05}", bytes(held)
