"""What a worker and its control process send each other: a socket pair, frames of MessagePack.

The socket pair has no name, so nobody else can join. Its end is the end of the worker: each side reads that
the other one is gone.
"""

from __future__ import annotations

import asyncio
import socket

import msgspec

from etl_operator.node.data import view
from etl_operator.node.settings import Settings

_LENGTH = 4
"""Bytes of a frame's length, big-endian."""
MOST_WAITING = 256 * 2**20
"""Bytes that may wait for the other side to read."""


class Up(msgspec.Struct, tag=True, frozen=True):
    """From the worker: it is loaded, and waits for `Begin`."""


class Begin(msgspec.Struct, tag=True, frozen=True):
    """To the worker, first: what it serves, and where."""

    number: int
    workers: int
    """All workers of the node: they share its limits."""
    listen: str
    control: str
    """gRPC target of the control process."""
    settings: Settings
    snapshot: view.Snapshot | None
    """None while the node has not caught up with its cluster."""


class Change(msgspec.Struct, tag=True, frozen=True):
    """To the worker: a newer snapshot. None: as before; the first one has both."""

    applied: int
    pipelines: list[view.Pipeline] | None = None
    services: list[view.Service] | None = None


class Ask(msgspec.Struct, tag=True, frozen=True):
    """To the worker: answer with what you hold, by all that was sent before."""

    number: int
    progress: bool = False
    """With what is to be committed."""
    only: str = ""
    """Id of the one pipeline to report; empty for all."""


class Beat(msgspec.Struct, tag=True, frozen=True):
    """To the worker, now and then: it answers with a `Beat`, which says that it still runs. It also sends
    them by itself while it works for long on one message."""


class Confirm(msgspec.Struct, tag=True, frozen=True):
    """To the worker: this has been committed."""

    progress: view.Progress


class Passed(msgspec.Struct, tag=True, frozen=True):
    """To the worker: the cluster has delivered these partitions so far, whichever member did."""

    offsets: list[view.Offset]


class Leave(msgspec.Struct, tag=True, frozen=True):
    """To the worker: take no more records, and answer with `Left`."""

    seconds: float


class Stop(msgspec.Struct, tag=True, frozen=True):
    """To the worker: end."""


class Serving(msgspec.Struct, tag=True, frozen=True):
    """From the worker: the port is open."""


class Answer(msgspec.Struct, tag=True, frozen=True):
    """From the worker."""

    number: int
    """That of the `Ask`."""
    only: str
    """That of the `Ask`."""
    report: view.Report
    progress: view.Progress
    calls: dict[str, int]
    """gRPC calls that it served itself, by ``Service/Method``."""
    cpu_seconds: float = 0.0
    resident_bytes: int = 0


class Due(msgspec.Struct, tag=True, frozen=True):
    """From the worker: so much was done that it should be committed now."""


class Left(msgspec.Struct, tag=True, frozen=True):
    """From the worker: no record is in progress any more, or the time is over."""


Message = Up | Begin | Change | Ask | Beat | Confirm | Passed | Leave | Stop | Serving | Answer | Due | Left

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class Link:
    """One end of the socket pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Link:
        """Take over one end."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, message: Message) -> None:
        """Send without waiting. If the other side does not read what was sent before, the link is closed."""
        if self._writer.is_closing():
            return
        body = _encoder.encode(message)
        self._writer.write(len(body).to_bytes(_LENGTH, "big") + body)
        if self._writer.transport.get_write_buffer_size() > MOST_WAITING:
            self._writer.transport.abort()

    async def read(self) -> Message | None:
        """The next message; None if the other side is gone."""
        try:
            size = await self._reader.readexactly(_LENGTH)
            return _decoder.decode(await self._reader.readexactly(int.from_bytes(size, "big")))
        except (OSError, asyncio.IncompleteReadError):
            return None

    def close(self) -> None:
        """Close it."""
        self._writer.close()
