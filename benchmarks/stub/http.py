"""Just enough HTTP/1.1 for the stub: whole requests in, canned bytes out, one chunk per watch event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

_BUFFER = 1 << 16


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``query`` has the last value of every parameter."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes


class Connection(asyncio.BufferedProtocol):
    """One client connection. A buffered protocol, because the plain one reads through 256 KiB of fresh
    memory every time.

    :param respond: answers a request by calling :meth:`answer` or :meth:`begin_stream`.
    """

    def __init__(self, respond: Callable[[Connection, Request], None]) -> None:
        self._respond = respond
        self._buffer = bytearray(_BUFFER)
        self._received = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport
        self.closed = False
        self.streaming = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=1 << 20)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._writable.set()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._received += memoryview(self._buffer)[:nbytes]
        while (request := self._next_request()) is not None:
            self._respond(self, request)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # -- answering ---------------------------------------------------------------------------------

    def answer(self, body: bytes, status: int = 200) -> None:
        """A complete JSON answer."""
        head = b"HTTP/1.1 %d Stub\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % (status, len(body)) + body)

    def begin_stream(self) -> None:
        """The head of a chunked JSON answer; chunks follow with :meth:`send`."""
        self.streaming = True
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )

    def end_stream(self) -> None:
        """The last chunk."""
        self.streaming = False
        self._transport.write(b"0\r\n\r\n")

    def send(self, chunks: bytes) -> None:
        """Bytes made by :func:`chunk`, at once and without asking whether the client keeps up."""
        if not self.closed:
            self._transport.write(chunks)

    def abort(self) -> None:
        """Drop the connection."""
        if not self.closed:
            self._transport.abort()

    async def drained(self) -> None:
        """Wait until the client has taken most of what was sent."""
        await self._writable.wait()

    # -- parsing -----------------------------------------------------------------------------------

    def _next_request(self) -> Request | None:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = bytes(self._received[:end]).decode("latin-1").split("\r\n")
        length = 0
        for line in lines:
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                length = int(value)
        if len(self._received) < end + 4 + length:
            return None
        body = bytes(self._received[end + 4 : end + 4 + length])
        del self._received[: end + 4 + length]
        method, target, _ = first.split(" ")
        path, _, query = target.partition("?")
        return Request(method, unquote(path), dict(parse_qsl(query)), body)


def chunk(event: bytes) -> bytes:
    """One chunk of a chunked answer."""
    return b"%x\r\n%b\r\n" % (len(event), event)
