"""The sink ``file``: JSON Lines, on disk before a batch is acknowledged."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from etl_operator.router.pb.common_pb2 import Record
from etl_operator.services.errors import StartError, Unavailable
from etl_operator.services.records import line_of
from etl_operator.services.sink import Sink

log = logging.getLogger(__name__)

_BEGINNING = b'{"source_id":'
"""The first bytes of every line of this sink."""
_CHUNK = 64 * 1024


class FileSink(Sink):
    """Appends records to a file, one line each; see :func:`~etl_operator.services.records.line_of`.

    A batch that comes again is appended again: readers recognize repeated records by their ids.

    :param path: created if it does not exist; its directory must exist.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._file = -1
        self._end = 0
        self._dirty = False

    async def open(self) -> None:
        """Open and lock the file, and remove an incomplete line that a crash left.

        :raises StartError: the file cannot be opened, is in use, or was not written by this sink.
        """
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise StartError(f"{self._path} is not a regular file: it cannot store records")
            self._lock()
            self._end = self._whole()
            os.lseek(self._file, self._end, os.SEEK_SET)
            os.fsync(self._file)
            _sync_directory(self._path.parent)
        except OSError as error:
            raise StartError(f"cannot open {self._path}: {error.strerror}") from error
        log.info("appending", extra={"path": self._path, "bytes": self._end})

    async def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def write(self, records: Sequence[Record]) -> None:
        """Append records and flush them to disk.

        :raises Unavailable: the disk is full or fails; no part of the batch stays in the file.
        """
        lines = memoryview(b"".join(map(line_of, records)))
        written = 0
        try:
            self._clean()
            self._dirty = True
            while written < len(lines):
                written += os.write(self._file, lines[written:])
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._clean()
            raise Unavailable(f"cannot write {self._path}: {error.strerror}") from error
        self._end += written
        self._dirty = False

    def _clean(self) -> None:
        """Remove what a failed write left."""
        if self._dirty:
            os.ftruncate(self._file, self._end)
            os.lseek(self._file, self._end, os.SEEK_SET)
            self._dirty = False

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(
                f"another process writes to {self._path}: use a separate file for each sink"
            ) from None

    def _whole(self) -> int:
        """The end of the last complete line; what follows was never acknowledged and is removed."""
        size = os.fstat(self._file).st_size
        end = _after_last_line(self._file, size)
        if end == size:
            return end
        torn = os.pread(self._file, len(_BEGINNING), end)
        if not (_BEGINNING.startswith(torn) or torn.startswith(_BEGINNING)):
            raise StartError(
                f"{self._path} does not end with a line break, and its last line is not from this sink: "
                "use another file, or add the line break"
            )
        log.warning("removed an incomplete line", extra={"path": self._path, "bytes": size - end})
        os.ftruncate(self._file, end)
        return end


def _after_last_line(file: int, size: int) -> int:
    """The offset after the last line break, or 0."""
    position = size
    while position > 0:
        start = max(0, position - _CHUNK)
        found = os.pread(file, position - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


def _sync_directory(path: Path) -> None:
    """Flush a directory, so that a new file in it survives a power failure."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
