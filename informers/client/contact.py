"""Whether the API server can be reached, said once for a whole process.

A dead API server is noticed by everything at once: a dozen watches, the election, events, reconciles. The
log gets one line when contact is lost, with address and reason, one a minute while it is, with its age, and
one when it is back. The errors in between are marked, so that whoever passes one on does not say it again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from informers.client.transport import HttpRequest, HttpResponse, HttpStream, Transport
from informers.clock import Clock
from informers.errors import TransportError, Unreachable

log = logging.getLogger(__name__)

REPEAT = 60.0
"""Seconds between two log lines while there is no contact."""

_FAILURES = 2
"""Requests without an answer, one after the other, after which contact counts as lost. One may be the
request's own fault. A server that cannot even be connected to is lost at once."""


class Contact:
    """A transport that watches another one.

    One for all clients of a process: beneath what counts and traces requests, or above, makes no difference.

    :param address: of the server, for people.
    """

    def __init__(self, transport: Transport, *, address: str, clock: Clock) -> None:
        self._transport = transport
        self._address = address
        self._clock = clock
        self.host = str(getattr(transport, "host", ""))
        self._failures = 0
        self._answered_at = clock.monotonic()
        self._lost = False
        self._said_at = 0.0

    @property
    def lost(self) -> bool:
        """Whether there is no contact now."""
        return self._lost

    async def request(self, request: HttpRequest) -> HttpResponse:
        """Send and read the whole answer."""
        try:
            response = await self._transport.request(request)
        except TransportError as error:
            self._failed(error)
            raise
        self._answered()
        return response

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpStream]:
        """Send and hand out the body as a stream. One that breaks was answered all the same."""
        return self._stream(request)

    async def close(self) -> None:
        """Close pooled connections."""
        await self._transport.close()

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncIterator[HttpStream]:
        async with AsyncExitStack() as opened:
            try:
                stream = await opened.enter_async_context(self._transport.stream(request))
            except TransportError as error:
                self._failed(error)
                raise
            self._answered()
            yield stream

    def _failed(self, error: TransportError) -> None:
        self._failures += 1
        now = self._clock.monotonic()
        if not self._lost:
            if self._failures < _FAILURES and not isinstance(error, Unreachable):
                return
            self._lost, self._said_at = True, now
            log.warning("cannot reach the API server %s: %s", self._address, error)
        elif now - self._said_at >= REPEAT:
            self._said_at = now
            log.warning(
                "cannot reach the API server %s for %.0f s: %s",
                self._address,
                now - self._answered_at,
                error,
            )
        error.reported = True

    def _answered(self) -> None:
        now = self._clock.monotonic()
        if self._lost:
            self._lost = False
            age = now - self._answered_at
            log.warning("the API server %s can be reached again after %.0f s", self._address, age)
        self._failures, self._answered_at = 0, now
