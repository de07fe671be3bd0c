"""The header ``Expect``: a client that sends its body only when it is asked for, as curl does.

As Go's ``net/http``: ``100 Continue`` goes out when the body is about to be read, and any other expectation
is refused. A client that is refused without having been asked may send its body or not, so that nobody knows
where its next request begins: its connection closes.
"""

from __future__ import annotations

from aiohttp import HttpVersion11, web

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_ASKED = web.RequestKey("asked for the body", bool)


def cannot_be_met(request: web.BaseRequest) -> bool:
    """Whether the client expects what no server does."""
    return bool(request.headers.get("Expect")) and not _waits(request)


async def ask_for_body(request: web.BaseRequest) -> None:
    """Let a client that waits for it send the body."""
    if _waits(request) and request.version >= HttpVersion11 and request.body_exists:
        request[_ASKED] = True
        await request.writer.write(_CONTINUE)
        # It is no part of the answer.
        request.writer.output_size = 0


def still_waits(request: web.BaseRequest) -> bool:
    """Whether the body may or may not come."""
    return _waits(request) and request.body_exists and _ASKED not in request


def _waits(request: web.BaseRequest) -> bool:
    return "100-continue" in (one.strip().lower() for one in request.headers.get("Expect", "").split(","))
