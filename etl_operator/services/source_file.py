"""The source ``file``: lines of a file, which can grow, be truncated and be rotated.

The sequence number of a line is the byte at which it ends, plus 2^40 for every earlier file of the same name.
So the offset in the router is the position to continue from, and numbers increase when a file is replaced.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import zlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from etl_operator.router.pb.common_pb2 import Record
from etl_operator.services.errors import StartError
from etl_operator.services.routers import Position
from etl_operator.services.source import Pushing, Source

log = logging.getLogger(__name__)

SEGMENT = 1 << 40
"""Sequence numbers that one file can use, one for each byte."""
MAX_LINE = 4_000_000
"""Maximum bytes of a line: by default a router accepts no larger record."""
_CHUNK = 1 << 20
_MARKED = 1_024
"""Bytes at the beginning of a file that identify it."""


class Mark(msgspec.Struct, frozen=True):
    """Identifies a file after a restart of the source."""

    segment: int
    inode: int
    length: int
    """Number of bytes in the checksum, from the beginning of the file."""
    checksum: int


@dataclass(slots=True)
class _Open:
    """A file that is being read."""

    file: io.FileIO
    segment: int
    offset: int
    """Start of the first line that was not read."""
    rest: bytes = b""
    """The bytes read from there, a line without its end."""
    skipping: bool = False
    """Whether that line is too long and is skipped."""

    @property
    def read_to(self) -> int:
        return self.offset + len(self.rest)


class FileSource(Source):
    """Each line is the payload of a record. Empty lines are skipped.

    :param follow: wait for more lines at the end, and for the file if it does not exist.
    :param poll: seconds between checks of the file.
    """

    def __init__(
        self,
        pushing: Pushing,
        path: Path,
        *,
        follow: bool = False,
        poll: float = 0.5,
        record_type: str = "line",
    ) -> None:
        super().__init__(pushing)
        self._path = path
        self._follow = follow
        self._poll = poll
        self._type = record_type

    async def open(self) -> None:
        """:raises StartError: the file cannot be read, or does not exist and ``follow`` is not set."""
        try:
            file = self._file()
        except FileNotFoundError:
            if not self._follow:
                raise StartError(
                    f"cannot read {self._path}: no such file; use --follow to wait for it"
                ) from None
        else:
            file.close()

    async def read(self, position: Position) -> AsyncGenerator[Sequence[Record], None]:
        """Lines after the position, to the end of the file or, if followed, without end."""
        at = await self._resume(position)
        try:
            while True:
                while records := self._lines(at):
                    yield records
                if not self._follow:
                    yield self._last_line(at)
                    return
                await asyncio.sleep(self._poll)
                following = self._followed(at)
                if following is not None:
                    # A file that was truncated has no old lines.
                    if _inode(at) != _inode(following):
                        # Processes may still write to the old file.
                        await asyncio.sleep(self._poll)
                        # Lines written to the old file since the last check come first.
                        while records := self._lines(at):
                            yield records
                        yield self._last_line(at)
                    at.file.close()
                    at = following
                    await self._remember(at)
        finally:
            at.file.close()

    async def _resume(self, position: Position) -> _Open:
        """Open the file at the offset in the router, or at its beginning if it is another file."""
        while True:
            try:
                file = self._file()
                break
            except FileNotFoundError:
                log.warning("the file does not exist: waiting for it", extra={"path": self._path})
                await asyncio.sleep(self._poll)
        segment, offset = divmod(position.offsets.get(0, 0), SEGMENT)
        reason = _another(file, segment, offset, _mark_of(position.state))
        if reason:
            log.warning("%s: reading it from the beginning", reason, extra={"path": self._path})
            segment, offset = segment + 1, 0
        at = _Open(file, segment, offset)
        await self._remember(at)
        return at

    async def _remember(self, at: _Open) -> None:
        """Store in the router what identifies this file."""
        beginning = os.pread(at.file.fileno(), _MARKED, 0)
        mark = Mark(at.segment, _inode(at), len(beginning), zlib.crc32(beginning))
        if not await self.save(msgspec.json.encode(mark)):
            log.debug("the router does not store what identifies the file")

    def _file(self) -> io.FileIO:
        try:
            return io.FileIO(self._path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StartError(f"cannot read {self._path}: {error.strerror}") from error

    def _followed(self, at: _Open) -> _Open | None:
        """The file that replaced this one, or this one from its beginning if it was truncated."""
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return None
        before = os.fstat(at.file.fileno())
        if (now.st_dev, now.st_ino) != (before.st_dev, before.st_ino):
            log.info("the file was replaced", extra={"path": self._path})
            try:
                return _Open(self._file(), at.segment + 1, 0)
            except FileNotFoundError:
                return None
        if now.st_size < at.read_to:
            log.warning("the file was truncated: reading it from the beginning", extra={"path": self._path})
            # What was not read before is lost.
            at.offset, at.rest = at.read_to, b""
            return _Open(self._file(), at.segment + 1, 0)
        return None

    def _lines(self, at: _Open) -> list[Record]:
        """The new lines; empty if there are none."""
        while True:
            try:
                chunk = os.pread(at.file.fileno(), _CHUNK, at.read_to)
            except OSError as error:
                raise StartError(f"cannot read {self._path}: {error.strerror}") from error
            if not chunk:
                return []
            records = self._split(at, chunk)
            if records:
                return records

    def _split(self, at: _Open, chunk: bytes) -> list[Record]:
        *lines, rest = (at.rest + chunk).split(b"\n")
        records = []
        for line in lines:
            at.offset += len(line) + 1
            if not at.skipping:
                records += self._record(at, line)
            at.skipping = False
        if len(rest) > MAX_LINE:
            if not at.skipping:
                self._too_long(at)
            at.skipping = True
            at.offset += len(rest)
            rest = b""
        at.rest = rest
        return records

    def _last_line(self, at: _Open) -> list[Record]:
        """The rest of the file, without a line break; nothing more is written to it."""
        line, at.rest = at.rest, b""
        at.offset += len(line)
        return [] if at.skipping else self._record(at, line)

    def _record(self, at: _Open, line: bytes) -> list[Record]:
        line = line.removesuffix(b"\r")
        if not line.strip():
            return []
        if len(line) > MAX_LINE:
            self._too_long(at)
            return []
        record = Record(record_type=self._type, payload=line)
        record.id.sequence_number = at.segment * SEGMENT + at.offset
        return [record]

    def _too_long(self, at: _Open) -> None:
        self.metrics.records.labels("skipped").inc()
        log.error(
            "skipped a line: it has more than %d bytes",
            MAX_LINE,
            extra={"path": self._path, "before_byte": at.offset},
        )


def _inode(at: _Open) -> int:
    return os.fstat(at.file.fileno()).st_ino


def _mark_of(state: bytes) -> Mark | None:
    try:
        return msgspec.json.decode(state, type=Mark)
    except msgspec.DecodeError:
        return None


def _another(file: io.FileIO, segment: int, offset: int, mark: Mark | None) -> str:
    """Why a file is not the one that was read up to the offset; empty if it is."""
    if not offset:
        return ""
    status = os.fstat(file.fileno())
    if status.st_size < offset:
        return f"the file has {status.st_size} bytes, and {offset} were read before"
    if mark is not None and mark.segment == segment:
        beginning = os.pread(file.fileno(), mark.length, 0)
        if (status.st_ino, zlib.crc32(beginning)) != (mark.inode, mark.checksum):
            return "the file is not the one that was read before"
    # A file without a line break at its end was read to its end.
    if status.st_size > offset and os.pread(file.fileno(), 1, offset - 1) != b"\n":
        return f"no line ends at byte {offset}"
    return ""
