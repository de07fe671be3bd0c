"""The files of one data directory: all that the engine asks of the disk.

The journal and the snapshots write through `Files`. A test can put a simulated disk there, one that is full,
tears writes or loses what was not flushed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Protocol

from etl_operator.node.consensus.engine import StorageBusy, StorageError, StorageFull

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class File(Protocol):
    """An open file."""

    def write(self, data: bytes, offset: int) -> None:
        """Write all of ``data``.

        :raises OSError: a part of it may have been written.
        """

    def truncate(self, size: int) -> None:
        """Cut the file off. :raises OSError: it is as long as before."""

    def sync(self) -> None:
        """Make the content durable. :raises OSError: what the disk holds is not known."""

    def close(self) -> None:
        """Release the file; flushes nothing."""


class Files(Protocol):
    """The files of one directory, by name. Every method raises `OSError`."""

    def lock(self) -> None:
        """Keep other processes out until `unlock`. :raises StorageBusy: another process is in."""

    def unlock(self) -> None:
        """Let other processes in."""

    def read(self, name: str) -> bytes:
        """The content. :raises FileNotFoundError: there is no such file."""

    def open(self, name: str, *, empty: bool = False) -> File:
        """Open for writing; made if it is missing. ``empty`` drops the content."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another's name, atomically. Durable after `sync`."""

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""

    def sync(self) -> None:
        """Make names durable."""


class _OsFile:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, offset)
            view, offset = view[written:], offset + written

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class OsFiles:
    """`Files` in a directory of the operating system.

    :param directory: created if missing. :raises OSError: it cannot be.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = -1
        directory.mkdir(parents=True, exist_ok=True)

    def lock(self) -> None:
        """See `Files`."""
        fd = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise StorageBusy(f"{self._directory} is in use by another process") from None
        self._lock = fd

    def unlock(self) -> None:
        """See `Files`."""
        os.close(self._lock)

    def read(self, name: str) -> bytes:
        """See `Files`."""
        return (self._directory / name).read_bytes()

    def open(self, name: str, *, empty: bool = False) -> File:
        """See `Files`."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if empty else 0)
        return _OsFile(os.open(self._directory / name, flags, 0o600))

    def rename(self, old: str, new: str) -> None:
        """See `Files`."""
        (self._directory / old).replace(self._directory / new)

    def remove(self, name: str) -> None:
        """See `Files`."""
        (self._directory / name).unlink(missing_ok=True)

    def sync(self) -> None:
        """See `Files`."""
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def replace(files: Files, name: str, data: bytes, *, described: str) -> File:
    """Replace a file's content, atomically and durably; returns the file, open.

    :param described: the file as messages name it.
    :raises StorageFull: the old content is still there, and the room that was taken is given back.
    :raises StorageError: which of the two contents the disk holds is not known.
    """
    new = name + ".new"
    file: File | None = None
    try:
        file = files.open(new, empty=True)
        file.write(data, 0)
        file.sync()
        files.rename(new, name)
    except OSError as error:
        if file is not None:
            file.close()
        with contextlib.suppress(OSError):
            files.remove(new)
        raise failure(error, f"cannot write {described}") from error
    try:
        files.sync()
    except OSError as error:
        file.close()
        raise StorageError(f"cannot flush the directory of {described}: {error}") from error
    return file


def failure(error: OSError, what: str) -> StorageError:
    """`StorageFull` for want of room, else `StorageError`."""
    if error.errno in _NO_ROOM:
        return StorageFull(f"{what}: {error.strerror}")
    return StorageError(f"{what}: {error}")
