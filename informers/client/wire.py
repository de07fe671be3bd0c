"""Connections of our own: HTTP/1.1 straight on asyncio's transports, kept alive and used again.

A watch brings one small chunk per event, thousands in a second, and what a general HTTP client does with
each chunk costs more than all that is done with the event. Here a read is one copy and one pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import Callable
from typing import NamedTuple, cast

from informers.client.http1 import ResponseParser

CONNECT_TIMEOUT = 10.0
"""Seconds for TCP connect and TLS handshake."""
KEEP_ALIVE = 60.0
"""Seconds an idle connection is kept; API servers keep theirs longer, so reuse seldom meets a closed one."""
MAX_IDLE = 64
"""Idle connections kept per endpoint; there are as many as requests at the same time."""
HIGH_WATER = 2**20
"""Bytes of body that may wait for their reader; beyond, nothing is read from the connection."""

_BUFFER = 2**19
"""Bytes of one read. A busy watch fills it, and every turn of the loop costs as much as several events."""
_NEXT_ADDRESS = 0.25
"""Seconds after which the next address of a host is tried as well."""
_ADDRESS = re.compile(r"[0-9.]+|.*:.*").fullmatch
_LAST_WORDS = 1.0
"""Seconds the end of connections that were aborted is waited for."""
_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"))


class CannotConnect(OSError):
    """There is no connection.

    :param reason: what the operating system, or TLS, says about it.
    """

    def __init__(self, endpoint: Endpoint, reason: Exception) -> None:
        super().__init__(f"cannot connect to {endpoint.host}:{endpoint.port}")
        self.reason = reason


class Endpoint(NamedTuple):
    """Where a connection goes, and what it is secured with. Only equal ones share connections."""

    host: str
    port: int
    context: ssl.SSLContext | None = None
    server_name: str = ""


class Message(NamedTuple):
    """A request, ready to be sent."""

    method: str
    content: bytes
    """Head and body."""
    repeatable: bool
    """Whether it may be carried out twice although its method does not say so."""
    total: float | None
    """Seconds for the whole exchange."""
    silence: float | None
    """Seconds without a byte, while someone waits for one."""
    fence: Callable[[], None] | None = None
    """Raises when it may not be sent any more."""


class Answer:
    """The answer to one request, whose head has arrived. Must be closed; one reader at a time."""

    def __init__(self, wire: Wire, endpoint: Endpoint, connection: Connection) -> None:
        self._wire = wire
        self._endpoint = endpoint
        self._done = False
        parser = connection.parser
        assert parser is not None, "an answer comes to a request"
        self.connection = connection
        self.status = parser.status
        self.headers = parser.headers

    async def readany(self) -> bytes:
        """What has come of the body, at least one byte; b"" at its end.

        :raises OSError: when the connection breaks or is silent for too long.
        """
        return await self.connection.take()

    async def read(self) -> bytes:
        """The rest of the body.

        :raises OSError: as :meth:`readany`.
        """
        content = await self.connection.take()
        pieces: list[bytes] = []
        while content:
            pieces.append(content)
            content = await self.connection.take()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Give the connection back, or end it when there is more to come."""
        if not self._done:
            self._done = True
            self._wire.release(self._endpoint, self.connection)


class Connection(asyncio.BufferedProtocol):
    """One connection, with at most one request on it."""

    def __init__(self, wire: Wire) -> None:
        self._loop = asyncio.get_running_loop()
        self._wire = wire
        self._buffer = wire.buffer
        self._pieces: list[bytes] = []
        self._size = 0
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        self._error: OSError | None = None
        self.transport: asyncio.Transport | None = None
        self.parser: ResponseParser | None = None
        self.idle_since = 0.0
        self.lost = self._loop.create_future()

    # -- exchange ----------------------------------------------------------------------------------

    def send(self, message: Message, due: float | None) -> None:
        """Send a request; its answer comes to ``parser``.

        :param due: when the whole exchange must be over, on the loop's clock.
        """
        assert self.transport is not None, "a connection is made before it is used"
        self.parser = ResponseParser(message.method)
        if due is not None:
            self._limit = self._loop.call_at(due, self.fail, TimeoutError("took too long"))
        if message.silence is not None:
            self._heard_at = self._loop.time()
            self._watch = self._loop.call_later(message.silence, self._check_silence, message.silence)
        self.transport.write(message.content)

    async def head(self) -> None:
        """Wait for the head of the answer."""
        assert self.parser is not None, "only an answer has a head"
        while not self.parser.status:
            await self._more()

    async def take(self) -> bytes:
        """See :meth:`Answer.readany`."""
        parser = self.parser
        assert parser is not None, "only an answer has a body"
        while not self._pieces:
            if parser.complete:
                return b""
            await self._more()
        pieces = self._pieces
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            assert self.transport is not None, "what has been paused was there"
            self.transport.resume_reading()
        return content

    def rest(self, now: float) -> bool:
        """End the exchange. Whether the connection can be used again; else it is closed."""
        self._stop_timers()
        parser = self.parser
        good = parser is not None and parser.complete and parser.keep_alive and not parser.excess
        # Someone may have left a part of the body unread, and reading paused with it.
        if not good or not self.usable or self._pieces or self._paused:
            self.abort()
            return False
        self.parser = None
        self.idle_since = now
        return True

    @property
    def usable(self) -> bool:
        """Whether nothing is known to be wrong with it."""
        return self._error is None and self.transport is not None and not self.transport.is_closing()

    def abort(self) -> None:
        """Close at once."""
        self.fail(ConnectionAbortedError("the connection was closed"))

    def fail(self, error: OSError) -> None:
        """Close at once; who waits for an answer gets the error."""
        if self._error is None:
            self._error = error
        if self.transport is not None:
            self.transport.abort()
        self._wake()

    async def _more(self) -> None:
        """Wait until something has happened."""
        if self._error is not None:
            raise self._error
        self._waiter = waiter = self._loop.create_future()
        # Silence counts only while someone listens.
        self._heard_at = self._loop.time()
        try:
            await waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _check_silence(self, patience: float) -> None:
        # One timer that looks at its time again is cheaper than a new one for every chunk.
        due = self._heard_at + patience
        if self._waiter is None:
            due = self._loop.time() + patience
        elif due <= self._loop.time():
            self.fail(TimeoutError(f"silent for {patience:g} s"))
            return
        self._watch = self._loop.call_at(due, self._check_silence, patience)

    def _stop_timers(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    # -- called by the transport -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._wire.live.add(self)
        self.transport = cast(asyncio.Transport, transport)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read to: one place for all connections, emptied at once."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have been read."""
        parser = self.parser
        if parser is None:
            # Nobody has asked anything; whatever this is, it would be taken for the next answer.
            self.abort()
            return
        if self._error is not None:
            return
        self._heard_at = self._loop.time()
        try:
            pieces = parser.feed(bytes(self._buffer[:nbytes]))
        except OSError as error:
            self.fail(error)
            return
        if pieces:
            self._pieces += pieces
            self._size += nbytes
            if self._size > HIGH_WATER and not self._paused and not parser.complete:
                self._paused = True
                assert self.transport is not None, "it has just been read from"
                self.transport.pause_reading()
        if self._waiter is not None and (pieces or parser.status):
            self._wake()

    def eof_received(self) -> None:
        """The server sends no more; the transport closes itself."""
        if self.parser is None:
            self.abort()
            return
        try:
            self.parser.end()
        except OSError as error:
            self.fail(error)
        else:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if self._error is None:
            broken = exc if isinstance(exc, OSError) else ConnectionResetError(str(exc or "connection lost"))
            self._error = broken
        self._stop_timers()
        self._wire.forget(self)
        if not self.lost.done():
            self.lost.set_result(None)
        self._wake()


class Wire:
    """Connections to any number of endpoints, for one event loop."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(_BUFFER))
        self._idle: dict[Endpoint, list[Connection]] = {}
        """Longest idle first."""
        self.live: set[Connection] = set()
        self._closed = False

    async def send(self, endpoint: Endpoint, message: Message) -> Answer:
        """Send a request and wait for the head of the answer.

        :raises OSError: when there is none. A kept-alive connection that turns out to have been closed is
            replaced once, for requests that may be repeated.
        """
        loop = asyncio.get_running_loop()
        due = loop.time() + message.total if message.total is not None else None
        connection = self._kept(endpoint, loop.time())
        if connection is not None:
            try:
                return await self._ask(connection, endpoint, message, due)
            except ConnectionError:
                assert connection.parser is not None, "it has been sent to"
                repeatable = message.repeatable or message.method in _IDEMPOTENT
                if connection.parser.begun or not repeatable:
                    raise
        return await self._ask(await self._connect(endpoint, due), endpoint, message, due)

    async def close(self) -> None:
        """Close all connections; what is under way fails."""
        self._closed = True
        live = list(self.live)
        for connection in live:
            connection.abort()
        if live:
            await asyncio.wait([connection.lost for connection in live], timeout=_LAST_WORDS)

    def release(self, endpoint: Endpoint, connection: Connection) -> None:
        """An exchange is over."""
        now = asyncio.get_running_loop().time()
        if not connection.rest(now):
            return
        idle = self._idle.setdefault(endpoint, [])
        idle.append(connection)
        if len(idle) > MAX_IDLE or now - idle[0].idle_since > KEEP_ALIVE:
            idle.pop(0).abort()

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        self.live.discard(connection)
        for endpoint, idle in list(self._idle.items()):
            if connection in idle:
                idle.remove(connection)
                if not idle:
                    del self._idle[endpoint]

    def _kept(self, endpoint: Endpoint, now: float) -> Connection | None:
        idle = self._idle.get(endpoint)
        while idle:
            connection = idle.pop()
            if connection.usable and now - connection.idle_since <= KEEP_ALIVE:
                return connection
            connection.abort()
        return None

    async def _ask(
        self, connection: Connection, endpoint: Endpoint, message: Message, due: float | None
    ) -> Answer:
        try:
            if message.fence is not None:
                message.fence()
            connection.send(message, due)
            await connection.head()
        except BaseException:
            connection.abort()
            raise
        return Answer(self, endpoint, connection)

    async def _connect(self, endpoint: Endpoint, due: float | None) -> Connection:
        if self._closed:
            raise ConnectionAbortedError("the transport is closed")
        loop = asyncio.get_running_loop()
        # Connections of before a change of certificates would otherwise stay.
        for idle in self._idle.values():
            while idle and loop.time() - idle[0].idle_since > KEEP_ALIVE:
                idle.pop(0).abort()
        limit = loop.time() + CONNECT_TIMEOUT
        try:
            async with asyncio.timeout_at(limit if due is None else min(limit, due)):
                _, connection = await loop.create_connection(
                    lambda: Connection(self),
                    endpoint.host,
                    endpoint.port,
                    ssl=endpoint.context,
                    server_hostname=endpoint.server_name if endpoint.context is not None else None,
                    # Only for names: asyncio loses a socket when the race is cancelled as it is won.
                    happy_eyeballs_delay=None if _ADDRESS(endpoint.host) else _NEXT_ADDRESS,
                )
        except (OSError, UnicodeError) as error:
            raise CannotConnect(endpoint, error) from error
        if self._closed:
            connection.abort()
            raise ConnectionAbortedError("the transport is closed")
        return connection
