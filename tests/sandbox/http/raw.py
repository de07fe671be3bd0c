"""Requests as bytes over a connection, to a server in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import logging
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from etl_operator.sandbox.http.server import EmbeddedServer
from tests.hanging import HANGS
from tests.sandbox.http.samples import at_first

_SAID_WITH_500 = (
    b"etcdserver: request is too large",
    b"resourceVersion should not be set",
    b"strconv.ParseUint",
    b"typed patch object",
)
"""Refusals to which a real server gives this code."""
_SHOWN = 1000
"""Characters of a request that a failure shows."""


@dataclass(repr=False)
class Sent:
    """A request: its head's lines and its body."""

    method: str
    target: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def __repr__(self) -> str:
        shown = f"{self.method!r}, {self.target[:_SHOWN]!r}, {self.headers!r}, {self.body[:_SHOWN]!r}"
        return f"Sent({shown[:_SHOWN]})"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        # hypothesis would write every field out, and refuses what is long.
        printer.text(repr(self))

    def encoded(self, token: str) -> bytes:
        """The request's bytes, from whom the token says unless it says so itself."""
        lines = [f"{self.method} {self.target} HTTP/1.1", "Host: a"]
        if not any(name == "Authorization" for name, _ in self.headers):
            lines.append(f"Authorization: Bearer {token}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


@dataclass(frozen=True)
class Answer:
    """What came back.

    :param open: whether the connection serves another request.
    """

    code: int
    body: bytes
    open: bool

    @property
    def is_fault(self) -> bool:
        """Whether the server answered with a fault of its own: not what it does not serve, nor a timeout."""
        known = self.code in (501, 504) or any(one in self.body for one in _SAID_WITH_500)
        return self.code >= 500 and not known


class Connection:
    """One connection to a server."""

    def __init__(self, port: int, authority: str, token: str) -> None:
        self._token = token
        context = ssl.create_default_context(cadata=authority)
        # Of a later one the server sends session tickets, which look like the beginning of an answer.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        raw = socket.create_connection(("127.0.0.1", port), HANGS)
        self._socket = context.wrap_socket(raw, server_hostname="127.0.0.1")

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def heard_something(self) -> None:
        """Wait until the first bytes of an answer are there."""
        assert self._socket.pending() or select.select([self._socket], [], [], HANGS)[0]

    def answer(self, method: str = "GET") -> Answer:
        """The next answer; of a stream only its head, since it may have no end.

        :raises http.client.HTTPException: when what comes is no answer.
        :raises OSError: when the connection ends before it.
        """
        found = http.client.HTTPResponse(self._socket, method=method)
        found.begin()
        if found.chunked:
            return Answer(found.status, b"", open=False)
        return Answer(found.status, found.read(), open=not found.will_close)

    def ask(self, request: Sent) -> Answer:
        """One request and its answer."""
        self.send(request.encoded(self._token))
        return self.answer(request.method)

    def bearer(self) -> bytes:
        """The header that says who asks."""
        return f"Authorization: Bearer {self._token}\r\n".encode()


@dataclass(repr=False)
class Running:
    """A server that runs, and what it has reported as its own fault so far."""

    port: int
    token: str
    authority: str
    faults: list[str] = field(default_factory=list)

    def connection(self) -> contextlib.closing[Connection]:
        """A new connection, closed at the end."""
        return contextlib.closing(Connection(self.port, self.authority, self.token))


class Servers:
    """Starts servers on an event loop in a thread, one after the other."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    @contextlib.contextmanager
    def fresh(self) -> Iterator[Running]:
        """A server that holds :func:`tests.sandbox.http.samples.at_first` and nothing else."""
        server = EmbeddedServer()
        self._run(self._started(server))
        token = server.admin_kubeconfig()["users"][0]["user"]["token"]
        running = Running(int(server.url.rpartition(":")[2]), token, server.ca_pem.decode())
        listening = _Listening(running.faults)
        logging.getLogger().addHandler(listening)
        try:
            yield running
        finally:
            logging.getLogger().removeHandler(listening)
            self._run(server.stop())

    async def _started(self, server: EmbeddedServer) -> None:
        await server.start()
        for obj in at_first():
            server.core.create(obj)

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(HANGS)


class _Listening(logging.Handler):
    """What is logged as an error is a fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._faults = faults
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._faults.append(self.format(record)[-4000:])


@contextlib.contextmanager
def one_server() -> Iterator[Running]:
    """A server for several tests."""
    with servers() as found, found.fresh() as running:
        yield running


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """Servers on an event loop of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="servers")
    thread.start()
    try:
        yield Servers(loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(HANGS)
        loop.close()
