"""The edge to the network: one protocol with two methods, and the values that cross it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request, without any I/O. ``path`` is absolute on the server and carries no query."""

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    content_type: str = "application/json"
    accept: str = "application/json"
    timeout: float | None = 30.0
    """Seconds for the whole exchange; for a stream, seconds without a byte. ``None`` waits forever."""
    silence: float | None = None
    """Seconds without a byte, beside the whole exchange, for long answers. No limit of its own by default."""
    fence: Callable[[], None] | None = field(default=None, compare=False, repr=False)
    """Called right before the request leaves, and before it is sent again; raises when this process may not
    write any more."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete answer, whatever its status. Header names are lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpStream(Protocol):
    """An answer whose body arrives piece by piece."""

    status: int
    headers: Mapping[str, str]

    def chunks(self) -> AsyncIterator[bytes]:
        """Body bytes as they come, in any chunking; ends when the server ends the stream.

        :raises informers.errors.TransportError: when the connection breaks or stays silent too long.
        """
        ...

    async def read(self) -> bytes:
        """The rest of the body at once; for refusals."""
        ...


class Transport(Protocol):
    """Carries requests to one API server. Both methods raise ``TransportError`` when there is no
    answer, and nothing for a 4xx or 5xx: error statuses are values here, and exceptions in the client."""

    async def request(self, request: HttpRequest) -> HttpResponse:
        """Send and read the whole answer."""
        ...

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpStream]:
        """Send and hand out the body as a stream; leaving the context closes the connection."""
        ...

    async def close(self) -> None:
        """Close pooled connections."""
        ...
