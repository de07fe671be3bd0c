"""Accepting connections of strangers: a limit of them, each with little time to send its request.

A server without limits is silenced by anybody who opens connections and sends nothing: each costs a file
descriptor, and a process without any left answers no health probe and does not reach the API server either.
Here a connection that does not send a request in time is closed. When all places are taken, a new one gets
the place of the one that has waited longest, of the address that has most of them: a caller who asks at
once is heard.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

log = logging.getLogger(__name__)

CONNECTIONS = 64
"""Connections at a time."""

REQUEST_SECONDS = 10.0
"""Seconds a new connection has to send a request, its TLS handshake included."""

IDLE_SECONDS = 60.0
"""Seconds an answered connection may wait before it has sent the next one."""

_BACKLOG = 128

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_EXHAUSTED_PAUSE = 1.0
"""Seconds before the next try when the machine has no room for another connection."""

_COMPLAIN_EVERY = 60.0
"""Seconds between two log lines about connections that cannot be accepted."""


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens.

    :param host: a literal address, IPv6 without brackets.
    :raises OSError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


@dataclass(eq=False, slots=True)
class Connection:
    """One connection; at first its task, which greets it, then its transport.

    :param since: when it was accepted or last answered, on the clock of the event loop.
    """

    peer: str
    since: float
    key: asyncio.Task[None] | asyncio.BaseTransport
    answered: bool = False
    busy: int = 0
    """Requests that are being answered."""
    timer: asyncio.TimerHandle | None = None

    @property
    def patience(self) -> float:
        """Seconds it may wait for its next request."""
        return IDLE_SECONDS if self.answered else REQUEST_SECONDS

    @property
    def closed(self) -> bool:
        """Whether the other side has gone."""
        return isinstance(self.key, asyncio.BaseTransport) and self.key.is_closing()

    def close(self) -> None:
        """Close it now, whatever is still to be sent."""
        if isinstance(self.key, asyncio.Task):
            self.key.cancel()
        elif isinstance(self.key, asyncio.WriteTransport):
            self.key.abort()


@dataclass
class Connections:
    """Those that are open, and which of them has to go.

    :param limit: at most so many.
    """

    limit: int = CONNECTIONS
    _open: dict[object, Connection] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._open)

    def make_room(self) -> bool:
        """Close one connection if all places are taken. False when none can be spared."""
        if len(self._open) < self.limit:
            return True
        for connection in [one for one in self._open.values() if one.closed]:
            self.drop(connection.key)
        if len(self._open) < self.limit:
            return True
        waiting = [one for one in self._open.values() if not one.busy]
        if not waiting:
            return False
        share = Counter(one.peer for one in self._open.values())
        victim = min(waiting, key=lambda one: (-share[one.peer], one.since))
        self.drop(victim.key)
        victim.close()
        return True

    def add(self, connection: Connection) -> None:
        """A connection was accepted. It is closed when it sends no request in time."""
        self._open[connection.key] = connection
        self._watch(connection, connection.patience)

    def settle(self, greeting: object, transport: asyncio.BaseTransport) -> None:
        """The connection stands, and is known by its transport from now on."""
        connection = self._open.get(greeting)
        if connection is None:
            return
        early = self._open.get(transport)
        if early is not None:
            # Its first request came with the end of the TLS handshake, and was faster.
            early.peer = connection.peer
            self.drop(greeting)
            return
        del self._open[greeting]
        connection.key = transport
        self._open[transport] = connection

    def drop(self, key: object) -> None:
        """Think of it no more."""
        connection = self._open.pop(key, None)
        if connection is not None and connection.timer is not None:
            connection.timer.cancel()

    @contextmanager
    def answering(self, transport: asyncio.BaseTransport | None) -> Iterator[None]:
        """While a request of it is being answered, it may take its time.

        :param transport: ``None`` when the other side has gone meanwhile.
        """
        if transport is None:
            yield
            return
        connection = self._open.get(transport)
        if connection is None:
            connection = Connection("", asyncio.get_running_loop().time(), transport)
            self.add(connection)
        connection.busy += 1
        try:
            yield
        finally:
            connection.busy -= 1
            connection.answered, connection.since = True, asyncio.get_running_loop().time()

    def close(self) -> None:
        """Close all of them."""
        for connection in list(self._open.values()):
            self.drop(connection.key)
            connection.close()

    def _watch(self, connection: Connection, seconds: float) -> None:
        connection.timer = asyncio.get_running_loop().call_later(seconds, self._look, connection)

    def _look(self, connection: Connection) -> None:
        left = connection.since + connection.patience - asyncio.get_running_loop().time()
        if connection.closed:
            self.drop(connection.key)
        elif connection.busy or left > 0:
            self._watch(connection, left if left > 0 else connection.patience)
        else:
            self.drop(connection.key)
            connection.close()


Choice: TypeAlias = Callable[[socket.socket], Awaitable[ssl.SSLContext | None]]
"""Which TLS an accepted connection gets; none without.

:raises OSError: the connection is broken.
"""


class Listener:
    """Accepts connections of one socket, and hands each to a protocol.

    :param listening: a socket that listens; closed at the end.
    :param protocol: makes the protocol of a connection. It says when it is busy, by
        :meth:`Connections.answering`.
    :param what: what it is for, for the log.
    :param context: for TLS; without it, plain TCP. A function says it for each connection, before anything of
        it has been read.
    :param limit: connections at a time.
    """

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.BaseProtocol],
        *,
        what: str,
        context: ssl.SSLContext | Choice | None = None,
        limit: int = CONNECTIONS,
    ) -> None:
        self._listening = listening
        self._protocol = protocol
        self._what = what
        self._context = context
        self._greetings: set[asyncio.Task[None]] = set()
        self._complained_at: float | None = None
        self._exhausted = asyncio.Event()
        self.connections = Connections(limit)

    async def run(self) -> None:
        """Accept until cancelled; then close every connection."""
        loop = asyncio.get_running_loop()
        self._listening.setblocking(False)
        try:
            while True:
                loop.add_reader(self._listening, self._accept)
                await self._exhausted.wait()
                loop.remove_reader(self._listening)
                self._exhausted.clear()
                await asyncio.sleep(_EXHAUSTED_PAUSE)
        finally:
            loop.remove_reader(self._listening)
            self.connections.close()
            self._listening.close()
            await asyncio.gather(*self._greetings, return_exceptions=True)

    def _accept(self) -> None:
        """One at a time: a crowd at the door must not keep the event loop from everything else.

        Not by ``sock_accept``: who is cancelled right after it has accepted leaves that socket open.
        """
        try:
            accepted, address = self._listening.accept()
        except OSError as error:
            # Else the caller had gone before it was accepted.
            if error.errno in _EXHAUSTED:
                self._complain(f"no connection can be accepted: {error.strerror}")
                self._exhausted.set()
            return
        accepted.setblocking(False)
        # A Unix socket's other end has no address.
        self._greet(accepted, str(address[0]) if address else "")

    def _greet(self, accepted: socket.socket, peer: str) -> None:
        if not self.connections.make_room():
            self._complain(
                f"all {self.connections.limit} connections are in use; further connections are closed"
            )
            accepted.close()
            return
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._connect(accepted))
        self._greetings.add(task)
        task.add_done_callback(self._greetings.discard)
        # One that was cancelled before it began has closed nothing.
        task.add_done_callback(lambda done: accepted.close() if done.cancelled() else None)
        self.connections.add(Connection(peer, loop.time(), task))

    async def _connect(self, accepted: socket.socket) -> None:
        """The TLS handshake, where there is one; then the protocol takes over."""
        this = asyncio.current_task()
        try:
            context = await self._choose(accepted)
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol, accepted, ssl=context
            )
        except OSError:
            # It closed the connection, or does not use TLS.
            self.connections.drop(this)
        else:
            self.connections.settle(this, transport)

    async def _choose(self, accepted: socket.socket) -> ssl.SSLContext | None:
        if not callable(self._context):
            return self._context
        try:
            return await self._context(accepted)
        except OSError:
            accepted.close()
            raise

    def _complain(self, why: str) -> None:
        now = asyncio.get_running_loop().time()
        if self._complained_at is None or now - self._complained_at >= _COMPLAIN_EVERY:
            self._complained_at = now
            log.warning("%s: %s", self._what, why)
