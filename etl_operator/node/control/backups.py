"""The backups that a node keeps on its disk, by id, until they are fetched or restored.

Methods block: call them in a thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from etl_operator.node.control import archive, restoring
from etl_operator.node.control.archive import ArchiveError, Head

MOST = 16
"""Backups that a node keeps."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SUFFIX = ".backup"
_UNFINISHED = ".part"
_RESERVE = 2
"""A backup is written only if the disk has room for so many of its size: the log needs room, too."""
_GZIP = b"\x1f\x8b"
_PIECE = 2**20
"""Bytes that are decompressed at a time."""


class BackupError(Exception):
    """The text says what is wrong and what to do."""


class InvalidId(BackupError):
    """A backup cannot have this id."""


class Exists(BackupError):
    """There is a backup with this id."""


class Unknown(BackupError):
    """There is no backup with this id."""


class NoRoom(BackupError):
    """Too many backups, or not enough space."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A backup on the disk."""

    backup_id: str
    path: Path
    head: Head
    size: int
    """Bytes of the file."""


class Backups:
    """A directory, made with the first backup.

    :param directory: owned by this object.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def clean(self) -> None:
        """Remove what an earlier process did not finish.

        :raises OSError: the directory cannot be changed.
        """
        for left in self._directory.glob(f"*{_UNFINISHED}"):
            left.unlink()

    def create(self, backup_id: str, head: Head, content: bytes) -> Kept:
        """Write a backup, durably.

        :raises BackupError: InvalidId, Exists or NoRoom.
        :raises OSError: it cannot be written.
        """
        path = self._path(backup_id)
        if path.exists():
            raise Exists(f"snapshot_id: {backup_id} exists")
        with self.receive(backup_id, len(content)) as receiving:
            archive.write(receiving.file, head, content)
            return receiving.keep()

    def receive(self, backup_id: str, expected: int = 0) -> Receiving:
        """A backup that comes piece by piece; a context manager.

        :param expected: bytes, as far as they are known.
        :raises BackupError: InvalidId or NoRoom.
        :raises OSError: it cannot be written.
        """
        path = self._path(backup_id)
        self._directory.mkdir(parents=True, exist_ok=True)
        if sum(1 for _ in self._directory.glob(f"*{_SUFFIX}")) >= MOST:
            raise NoRoom(f"this node keeps {MOST} backups, the maximum: delete some with DeleteSnapshot")
        self.require_space(expected)
        return Receiving(self, backup_id, path)

    def require_space(self, size: int) -> None:
        """Check that a backup of this size leaves space.

        :raises NoRoom: it does not.
        """
        free = shutil.disk_usage(self._directory).free
        if free < _RESERVE * size:
            raise NoRoom(
                f"a backup of {size} bytes needs {_RESERVE * size} bytes of free space in the data "
                f"directory, which has {free}"
            )

    def find(self, backup_id: str) -> Kept:
        """One backup.

        :raises BackupError: InvalidId or Unknown.
        :raises ArchiveError: the file is damaged.
        """
        path = self._path(backup_id)
        try:
            with path.open("rb") as file:
                return Kept(backup_id, path, archive.read_head(file), path.stat().st_size)
        except FileNotFoundError:
            raise Unknown(
                f"snapshot_id: this node has no backup {backup_id}; each node keeps its own"
            ) from None

    def all(self) -> list[Kept]:
        """By id. Files that are no backups are left out."""
        found = []
        for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
            with contextlib.suppress(ArchiveError, BackupError, OSError):
                found.append(self.find(path.name.removesuffix(_SUFFIX)))
        return found

    def delete(self, backup_id: str) -> None:
        """Remove a backup; an unknown one is fine.

        :raises InvalidId: no backup can have this id.
        """
        self._path(backup_id).unlink(missing_ok=True)

    def _path(self, backup_id: str) -> Path:
        if not _ID.fullmatch(backup_id):
            raise InvalidId(
                f"snapshot_id: {backup_id[:200]!r} is not valid: use at most 100 letters, digits, '.', '_' "
                "and '-', and begin with a letter or digit"
            )
        return self._directory / f"{backup_id}{_SUFFIX}"


class Receiving:
    """A backup that is being written. What is not kept is removed at the end."""

    def __init__(self, backups: Backups, backup_id: str, path: Path) -> None:
        self._backups = backups
        self._id = backup_id
        self._path = path
        # Two calls may write the same id; the first one that is done has it.
        self._unfinished = path.with_suffix(f".{uuid.uuid4().hex}{_UNFINISHED}")
        self._inflate: zlib._Decompress | None = None
        self._begun = False
        self._written = 0

    def __enter__(self) -> Receiving:
        self.file: BinaryIO = self._unfinished.open("xb")
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self._unfinished.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """The next bytes, as they are or compressed with gzip.

        :raises ArchiveError: they cannot be decompressed, or are too many.
        :raises NoRoom: there is not enough space.
        """
        if not self._begun and data:
            self._begun = True
            if data.startswith(_GZIP):
                self._inflate = zlib.decompressobj(wbits=31)
        if self._inflate is None:
            self._append(data)
            return
        while data:
            if self._inflate.eof:
                raise ArchiveError("there are bytes behind the end of the compressed backup")
            try:
                self._append(self._inflate.decompress(data, _PIECE))
            except zlib.error as error:
                raise ArchiveError(f"the backup cannot be decompressed: {error}") from error
            data = self._inflate.unconsumed_tail or self._inflate.unused_data

    def keep(self) -> Kept:
        """Verify what was written, and keep it.

        :raises ArchiveError: it is no backup, or a damaged one.
        :raises Exists: a backup with this id was written meanwhile.
        """
        while self._inflate is not None and not self._inflate.eof:
            piece = self._inflate.decompress(self._inflate.unconsumed_tail, _PIECE)
            if not piece:
                raise ArchiveError("the compressed backup is incomplete")
            self._append(piece)
        self.file.flush()
        os.fsync(self.file.fileno())
        head = archive.verify(self._unfinished)
        try:
            # Unlike a rename, it never replaces a file.
            self._path.hardlink_to(self._unfinished)
        except FileExistsError:
            raise Exists(f"snapshot_id: {self._id} exists") from None
        _flush_directory(self._path.parent)
        return Kept(self._id, self._path, head, self._path.stat().st_size)

    def _append(self, data: bytes) -> None:
        if self._written // _PIECE != (self._written + len(data)) // _PIECE:
            self._backups.require_space(_PIECE)
        self._written += len(data)
        if self._written > restoring.MOST_BYTES:
            raise ArchiveError(f"the backup has more than {restoring.MOST_BYTES} bytes, the maximum")
        self.file.write(data)


def is_full(error: OSError) -> bool:
    """Whether there was no space."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _flush_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
