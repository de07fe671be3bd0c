"""The small HTTP servers: ``/metrics``, ``/healthz``, ``/readyz``; with TLS where a certificate is given."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from aiohttp import web

from informers.certificates import ServingCertificate
from informers.connection import HttpConnection
from informers.errors import RuntimeFault
from informers.health import Checks, report
from informers.listener import IDLE_SECONDS, Listener
from informers.metrics import Metrics

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_BACKLOG = 128


class CannotListen(RuntimeFault, OSError):
    """An address cannot be listened on: it is taken, not ours, or makes no sense."""


@dataclass(frozen=True, slots=True)
class BindAddress:
    """Where to listen; an empty host means every address of the machine."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_bind_address(text: str) -> BindAddress | None:
    """Read ``:8080``, ``127.0.0.1:8080``, ``[::]:8080`` or ``localhost:8080``; ``0`` and "" mean off.

    :raises CannotListen: for anything else.
    """
    if text in ("", "0"):
        return None
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = host == f"[{bare}]"
    number = int(port) if port.isascii() and port.isdigit() else -1
    if not colon or not 0 <= number <= 65535 or (":" in bare) != bracketed:
        raise CannotListen(f"{text!r} is not an address to listen on; use HOST:PORT, :PORT or 0")
    return BindAddress(bare, number)


class HttpServer:
    """One listening socket and the paths it answers, to a bounded number of callers with bounded patience.

    :param address: where; port 0 takes a free one.
    :param what: what it is for, for error messages.
    :param certificate: serve over TLS with it; plain HTTP without.
    """

    def __init__(
        self,
        address: BindAddress,
        routes: Mapping[str, Handler],
        *,
        what: str,
        certificate: ServingCertificate | None = None,
    ) -> None:
        self.address = address
        self.what = what
        self._certificate = certificate
        self._tasks: list[asyncio.Task[None]] = []
        self._listener: Listener | None = None
        application = web.Application()
        for path, handler in routes.items():
            application.router.add_get(path, self._counted(handler))
        self._runner = web.AppRunner(application, handle_signals=False, shutdown_timeout=1.0)

    async def start(self) -> None:
        """Listen.

        :raises CannotListen: when the address is taken, or not of this machine.
        :raises informers.errors.ConfigError: when the certificate cannot be used.
        """
        context = None
        if self._certificate is not None:
            self._certificate.load()
            context = self._certificate.context
        listening = await self._listen()
        self.address = BindAddress(self.address.host, listening.getsockname()[1])
        await self._runner.setup()
        server = self._runner.server
        assert server is not None, "a runner that is set up has one"
        protocol = functools.partial(
            HttpConnection, server, access_log=None, keepalive_timeout=IDLE_SECONDS, lingering_time=1.0
        )
        self._listener = Listener(listening, protocol, what=self.what, context=context)
        self._tasks = [asyncio.create_task(self._listener.run(), name=f"listener for {self.what}")]
        if self._certificate is not None:
            following = asyncio.create_task(self._certificate.follow(), name="serving certificate")
            self._tasks.append(following)

    async def stop(self) -> None:
        """Close the socket and every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runner.cleanup()

    def _counted(self, handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            assert self._listener is not None, "requests come from there"
            with self._listener.connections.answering(request.transport):
                return await handler(request)

        return answer

    async def _listen(self) -> socket.socket:
        try:
            return await _bind(self.address)
        except OSError as error:
            # The library's own sentence would name the address again.
            resolving = isinstance(error, socket.gaierror) or error.errno is None
            why = error.strerror if resolving else os.strerror(error.errno or 0)
            raise CannotListen(f"cannot listen on {self.address} for {self.what}: {why}") from error


async def _bind(address: BindAddress) -> socket.socket:
    if address.host in ("", "::") and socket.has_dualstack_ipv6():
        # One socket for both families, so that port 0 gives them the same port.
        return socket.create_server(
            ("::", address.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG
        )
    found = await asyncio.get_running_loop().getaddrinfo(
        address.host or "0.0.0.0",  # noqa: S104 - the caller asked for every address
        address.port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )
    family, _, _, _, where = found[0]
    return socket.create_server((str(where[0]), int(where[1])), family=family, backlog=_BACKLOG)


def metrics_routes(metrics: Metrics) -> Mapping[str, Handler]:
    """``/metrics``, in the format the scraper asks for."""

    async def answer(request: web.Request) -> web.Response:
        body, content_type = metrics.expose(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    return {"/metrics": answer}


def health_routes(live: Checks, ready: Checks) -> Mapping[str, Handler]:
    """``/healthz`` and ``/readyz``, with a path below for each check.

    Status 200 or 500. ``?verbose`` lists every check, as a failure always does; ``?exclude=<name>`` leaves
    one out.
    """
    routes: dict[str, Handler] = {}
    for path, checks in (("/healthz", live), ("/readyz", ready)):
        handler = _answer_checks(checks)
        routes[path] = handler
        routes[f"{path}/"] = handler
        routes[f"{path}/{{check:.+}}"] = handler
    return routes


def _answer_checks(checks: Checks) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        check = request.match_info.get("check")
        if check is not None and check not in checks.names():
            return web.Response(status=404, text=f"there is no check {check}\n")
        only = () if check is None else (check,)
        findings = checks.findings(only=only, exclude=request.query.getall("exclude", []))
        failed = any(finding.problem is not None for finding in findings)
        text = report(findings) if failed or "verbose" in request.query else "ok\n"
        return web.Response(status=500 if failed else 200, text=text)

    return answer
