"""HTTP listeners of programs without a web framework: pages for probes and scrapers.

A few fixed pages: GET and HEAD, one request per connection. A web framework would double the time a router
node takes to start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

import msgspec

_TIMEOUT = 5.0
_LARGEST_REQUEST = 16 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    status: HTTPStatus
    content_type: str
    body: bytes


Route = Callable[[], Page]


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
    :param routes: path -> page, computed on the event loop and hence quickly.
    """

    def __init__(self, bind: Bind, routes: Mapping[str, Route]) -> None:
        self._bind = bind
        self._routes = routes
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind.

        :raises OSError: the address cannot be bound.
        """
        self._server = await asyncio.start_server(
            self._serve, self._bind.host, self._bind.port, limit=_LARGEST_REQUEST
        )

    async def stop(self) -> None:
        """Close the listener."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method not in ("GET", "HEAD"):
            page = text_page(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD\n")
        elif path in self._routes:
            page = self._routes[path]()
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
