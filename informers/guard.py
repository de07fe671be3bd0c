"""Who may look at our own pages: callers whom the API server knows, and lets.

A bearer token is shown to the API server (``TokenReview``), and then it is asked whether its user may ``get``
the path (``SubjectAccessReview``). To ask, the operator needs the role ``system:auth-delegator``; the callers
need a rule like ``nonResourceURLs: [/metrics], verbs: [get]``.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
from collections import OrderedDict
from typing import Any

from aiohttp import web

from informers.access import review
from informers.client import Client
from informers.clock import Clock
from informers.errors import RuntimeFault, log_level
from informers.objects import Resource
from informers.server import Handler

log = logging.getLogger(__name__)

TOKEN_REVIEW = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
ACCESS_REVIEW = Resource(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False
)

ALLOWED_FOR = 60.0
"""Seconds a yes is remembered."""
DENIED_FOR = 10.0
"""Seconds a no is remembered."""
CAPACITY = 256
"""Answers remembered."""
_AT_ONCE = 4
"""Questions to the API server at a time; more callers wait."""


class Guard:
    """Lets requests pass to handlers, or not.

    :param client: its transport is used past its fence: the questions change nothing, and a standby has pages
        as well.
    """

    def __init__(self, client: Client, *, clock: Clock) -> None:
        self._transport = client.transport
        self._clock = clock
        self._answers: OrderedDict[tuple[bytes, str], tuple[float, int]] = OrderedDict()
        self._turnstile = asyncio.Semaphore(_AT_ONCE)

    def guarded(self, handler: Handler) -> Handler:
        """The handler, for callers who may: 401 without a valid token, 403 without the right, 503 when the
        API server cannot be asked."""

        async def answer(request: web.Request) -> web.StreamResponse:
            status = await self._status(request.headers.get("Authorization", ""), request.path)
            if status == 200:
                return await handler(request)
            headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
            return web.Response(status=status, headers=headers, text=f"{_WORDS[status]}\n")

        return answer

    async def _status(self, authorization: str, path: str) -> int:
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or not token.isascii():
            return 401
        # Whoever reads our memory shall not find tokens in it.
        asked = hashlib.sha256(token.encode()).digest(), path
        known = self._known(asked)
        if known is not None:
            return known
        async with self._turnstile:
            known = self._known(asked)
            if known is not None:
                return known
            try:
                status = await self._ask(token, path)
            except RuntimeFault as error:
                level = log_level(error, logging.WARNING)
                log.log(level, "a caller's permissions cannot be checked: %s", error, extra={"path": path})
                return 503
        rest = ALLOWED_FOR if status == 200 else DENIED_FOR
        self._answers[asked] = self._clock.monotonic() + rest, status
        while len(self._answers) > CAPACITY:
            self._answers.popitem(last=False)
        return status

    def _known(self, asked: tuple[bytes, str]) -> int | None:
        until, status = self._answers.get(asked, (0.0, 0))
        if status and self._clock.monotonic() < until:
            return status
        self._answers.pop(asked, None)
        return None

    async def _ask(self, token: str, path: str) -> int:
        found = await review(self._transport, TOKEN_REVIEW, {"token": token}, self._clock)
        user: dict[str, Any] = found.get("user") or {}
        if not found.get("authenticated") or not user.get("username"):
            return 401
        spec = {
            "user": user["username"],
            "nonResourceAttributes": {"path": path, "verb": "get"},
            **{name: user[name] for name in ("uid", "groups", "extra") if user.get(name)},
        }
        allowed = await review(self._transport, ACCESS_REVIEW, spec, self._clock)
        return 200 if allowed.get("allowed") else 403


_WORDS = {
    401: "send a bearer token that the API server accepts",
    403: "no permission to get this path",
    503: "the API server cannot be reached to check the token",
}


def from_this_machine(handler: Handler) -> Handler:
    """The handler, for callers on a loopback address: a port-forward, or a shell in the pod."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if _loopback(request.remote):
            return await handler(request)
        return web.Response(status=403, text="allowed only from this machine; use kubectl port-forward\n")

    return answer


def _loopback(remote: str | None) -> bool:
    try:
        address = ipaddress.ip_address(remote or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
