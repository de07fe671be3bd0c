"""Passing bytes on between two connections, in both directions, and Unix sockets of this process for it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import uuid
from pathlib import Path
from typing import TypeAlias

CHUNK = 256 * 1024
"""Bytes at a time."""

Stream: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class OwnSocket:
    """A name for a Unix socket of this process; on Linux without a file, so that nothing is left of it.

    :param what: a part of the name.
    """

    def __init__(self, what: str) -> None:
        name = f"etl-router-{what}-{uuid.uuid4().hex}"
        if sys.platform == "linux":
            self.path, self.target = f"\0{name}", f"unix-abstract:{name}"
        else:
            self.path = f"{tempfile.gettempdir()}/{name}"
            self.target = f"unix:{self.path}"

    def remove(self) -> None:
        """Remove the file, where there is one."""
        if not self.path.startswith("\0"):
            with contextlib.suppress(OSError):
                Path(self.path).unlink()


async def relay(one: Stream, other: Stream) -> None:
    """Pass everything on until both directions have ended or one connection breaks; then close both."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pass_on(one[0], other[1]))
            group.create_task(_pass_on(other[0], one[1]))
    except* OSError:
        pass
    finally:
        for _, writer in (one, other):
            writer.transport.abort()
        for _, writer in (one, other):
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    else:
        # TLS cannot end one direction alone.
        raise ConnectionResetError
