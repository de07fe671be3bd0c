"""Container logs: one file per run of a container, the last two of them kept."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_PIECE = 1 << 16
_POLL = 0.1
_LIMIT = 16 << 20


class LogFiles:
    """The log files of one container.

    :param directory: ``<run>.log`` each; made on demand.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self, run: int) -> int:
        """A descriptor for a new run's output, for the child to inherit; older runs but one are removed."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for file in self._directory.glob("*.log"):
            if int(file.stem) < run - 1:
                file.unlink()
        # Appending: after a cut to nothing the child continues at the start, not after a hole.
        return os.open(self._directory / f"{run}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def newest(self) -> Path | None:
        """The file of the last run, or ``None`` before the first."""
        return max(self._directory.glob("*.log"), key=lambda file: int(file.stem), default=None)

    def before_newest(self) -> Path | None:
        """The file of the run before the last, or ``None`` when there was only one."""
        files = sorted(self._directory.glob("*.log"), key=lambda file: int(file.stem))
        return files[-2] if len(files) > 1 else None

    def trim(self) -> None:
        """Cut the newest file to nothing when it has grown beyond 16 MiB."""
        file = self.newest()
        if file is not None and file.stat().st_size > _LIMIT:
            os.truncate(file, 0)


def last_lines(content: bytes, count: int) -> bytes:
    """The last lines of a text, without counting what follows its last line end as a line of its own."""
    lines = content.splitlines(keepends=True)
    return b"".join(lines[len(lines) - count :]) if count < len(lines) else content


async def read(
    files: LogFiles,
    *,
    follow: bool,
    tail: int | None,
    previous: bool = False,
    ended: Callable[[], bool],
) -> AsyncGenerator[bytes, None]:
    """The newest run's output, in pieces; with ``previous`` what the run before it left behind.

    :param follow: continue until ``ended`` says that nothing more will come, over restarts.
    :param tail: only that many lines of what there is; ``None`` for all.
    """
    if previous:
        before = files.before_newest()
        content = before.read_bytes() if before is not None else b""
        yield content if tail is None else last_lines(content, tail)
        return
    reading = _Reading()
    try:
        while True:
            # Asked before reading: what is written until then is still read.
            over = ended()
            for piece in reading.more(files.newest(), tail):
                yield piece
            if reading.begun:
                tail = None
            if over or not follow:
                return
            await asyncio.sleep(_POLL)
    finally:
        reading.close()


class _Reading:
    """Reads a log as it grows, over restarts. A file once opened is read to its end, also when removed."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: BinaryIO | None = None

    @property
    def begun(self) -> bool:
        """Whether there was a file yet."""
        return self._file is not None

    def more(self, newest: Path | None, tail: int | None) -> Iterator[bytes]:
        """What has come since the last call.

        :param newest: the file of the last run.
        :param tail: only the last lines of what there is.
        """
        yield from self._rest(tail)
        if newest is None or newest == self._path:
            return
        with contextlib.suppress(FileNotFoundError):
            opened = newest.open("rb")
            self.close()
            self._path, self._file = newest, opened
            yield from self._rest(tail)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _rest(self, tail: int | None) -> Iterator[bytes]:
        file = self._file
        if file is None:
            return
        if os.fstat(file.fileno()).st_size < file.tell():
            # It was cut, and starts again.
            file.seek(0)
        if tail is not None:
            yield last_lines(file.read(), tail)
            return
        while piece := file.read(_PIECE):
            yield piece
