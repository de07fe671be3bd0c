"""HTTP listeners of programs without a web framework: pages for probes and scrapers.

A few fixed pages: GET and HEAD, one request per connection. A web framework would double the time a router
node takes to start. Each server has a limit of connections of its own: callers who fill one, or send half a
request, keep nobody from the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

import msgspec

from informers.listener import Listener, listening_socket

_TIMEOUT = 5.0
"""Seconds for a request and its answer."""
_LARGEST_REQUEST = 16 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    status: HTTPStatus
    content_type: str
    body: bytes


Route = Callable[[], Page | Awaitable[Page]]


class Bind(Protocol):
    """Where to listen."""

    @property
    def host(self) -> str:
        """A literal address, IPv6 without brackets."""
        ...

    @property
    def port(self) -> int:
        """From 1."""
        ...


class HttpServer:
    """Serves fixed paths.

    :param bind: where to listen.
    :param routes: path -> page, computed on the event loop and hence quickly, or awaited.
    :param what: what they are for, for the log.
    """

    def __init__(self, bind: Bind, routes: Mapping[str, Route], *, what: str) -> None:
        self._bind = bind
        self._routes = routes
        self._what = what
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bind.

        :raises OSError: the address cannot be bound.
        """
        listening = listening_socket(self._bind.host, self._bind.port)
        listener = Listener(listening, self._protocol, what=self._what)
        self._task = asyncio.create_task(listener.run(), name=f"listener for {self._what}")

    async def stop(self) -> None:
        """Close the listener and its connections."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _protocol(self) -> asyncio.BaseProtocol:
        reader = asyncio.StreamReader(limit=_LARGEST_REQUEST)
        return asyncio.StreamReaderProtocol(reader, self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method not in ("GET", "HEAD"):
            page = text_page(HTTPStatus.METHOD_NOT_ALLOWED, "method not allowed; use GET or HEAD\n")
        elif path in self._routes:
            made = self._routes[path]()
            page = made if isinstance(made, Page) else await made
        else:
            page = text_page(HTTPStatus.NOT_FOUND, "not found\n")
        lines = [
            f"HTTP/1.1 {page.status.value} {page.status.phrase}",
            f"Content-Type: {page.content_type}",
            f"Content-Length: {len(page.body)}",
            "Connection: close",
            *(["Allow: GET, HEAD"] if page.status is HTTPStatus.METHOD_NOT_ALLOWED else []),
        ]
        header = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        return header if method == "HEAD" else header + page.body


def json_page(status: HTTPStatus, value: object) -> Page:
    """A value as JSON."""
    return Page(status, "application/json", msgspec.json.encode(value))


def text_page(status: HTTPStatus, text: str) -> Page:
    """Plain text."""
    return Page(status, "text/plain; charset=utf-8", text.encode())
