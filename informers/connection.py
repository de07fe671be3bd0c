"""HTTP connections of servers that anybody may call: a head that cannot be read is answered like any other.

aiohttp closes a connection right behind the refusal of a head. What the client is still sending then meets a
closed socket, and the reset that follows takes the refusal away from a client that has not read it yet. Here
the connection stays until the client has gone, at most :data:`LINGER_SECONDS`, and what still comes is read
and dropped. A real API server does the same, for half a second (``closeWriteAndWait`` in Go's ``net/http``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import _ErrInfo

log = logging.getLogger(__name__)

LINGER_SECONDS = 10.0
"""Seconds a client has to read a refusal; as long as aiohttp reads the rest of a body nobody wanted."""


class HttpConnection(web.RequestHandler):
    """One connection; the parameters are those of aiohttp's own."""

    __slots__ = ("_ending",)

    def __init__(self, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **options)
        self._ending = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Read on; a body that breaks off in bytes that are no body ends for its reader too.

        The parser reports such bytes as the head of another request, and whoever reads the body would wait
        for the rest of it forever. The reader gets :class:`aiohttp.web.RequestPayloadError`, and answers
        with :class:`LastAnswer`.
        """
        super().data_received(data)
        request, last = self._current_request, self._messages[-1][0] if self._messages else None
        if request is not None and isinstance(last, _ErrInfo) and not request.content.is_eof():
            request.content.set_exception(web.RequestPayloadError(_first_line(last.message)))
            # There is no rest to be read and dropped behind the answer.
            self._lingering_time = 0.0

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The refusal of a head. It costs one line in the log at most: strangers must not fill it."""
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        why = _first_line(message)
        log.debug("%s sent an invalid HTTP request: %s", request.remote, why)
        if isinstance(exc, LineTooLong):
            status, why = 431, "Request Header Fields Too Large"
        return LastAnswer(status=status, text=f"{why}\n")

    async def linger(self) -> None:
        """Drop what comes until the client has gone, for :data:`LINGER_SECONDS` at most."""
        self.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await self._ending.wait()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client has gone."""
        self._ending.set()
        super().connection_lost(exc)

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - as in aiohttp
        """End the connection; nobody is waited for who was refused."""
        self._ending.set()
        await super().shutdown(timeout)


class LastAnswer(web.Response):
    """An answer behind which the connection closes, once the client has had time to read it."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._connection: HttpConnection | None = None
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Begin the answer."""
        assert isinstance(request.protocol, HttpConnection), "it is an answer of such a connection"
        self._connection = request.protocol
        return await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        """End the answer, and return when the connection can be closed."""
        await super().write_eof(data)
        assert self._connection is not None, "it was prepared"
        await self._connection.linger()


def _first_line(message: str | None) -> str:
    """What the parser says, without the picture of the place that follows."""
    return (message or "bad request").partition("\n")[0].rstrip(":")
