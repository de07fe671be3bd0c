"""Requests, a transport to send them with, and a server that says what arrived."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from informers.client import ClusterAccess, HttpRequest, HttpTransport
from informers.client.auth import Credential, bearer
from informers.client.requests import APPLY_PATCH
from tests.hanging import HANGS

GET = HttpRequest("GET", "/api/v1/pods", [("labelSelector", "a in (b,c)&d"), ("limit", "5")], timeout=HANGS)
APPLY = HttpRequest("PATCH", "/api/v1/pods/x", body=b"{}", content_type=APPLY_PATCH, timeout=HANGS)
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def transport_to(access: ClusterAccess) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(access)
    try:
        yield transport
    finally:
        await transport.close()


async def echo(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "method": request.method,
            "path": request.raw_path,
            "query": list(request.query.items()),
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": (await request.read()).decode(),
            "peer": request.transport.get_extra_info("peername")[1] if request.transport else None,
        },
        status=int(request.headers.get("x-status", "200")),
    )


class Renewing:
    """Credentials that count their renewals."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = [bearer(token) for token in tokens]
        self.renewals = 0

    async def current(self) -> Credential:
        return self._tokens[0]

    async def renewed(self, rejected: Credential) -> Credential:
        self.renewals += 1
        if len(self._tokens) > 1:
            self._tokens.pop(0)
        return self._tokens[0]
