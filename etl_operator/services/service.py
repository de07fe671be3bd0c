"""The base of sources, transforms and sinks, and the life cycle of their process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from etl_operator.probes import HttpServer, Page, Route, json_page
from etl_operator.services.errors import StartError
from etl_operator.services.metrics import ServiceMetrics
from etl_operator.tls.credentials import server_credentials
from etl_operator.tls.files import TlsError, TlsFiles

log = logging.getLogger(__name__)

MAX_MESSAGE = 64 * 1024 * 1024
"""Maximum bytes of a gRPC message, the default of routers."""


@dataclass(frozen=True, slots=True)
class Bind:
    """An IP address, IPv6 without brackets, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files; when they are replaced, new connections get the new ones."""

    certificate: Path
    """Certificate of this service, with the intermediate certificates up to the CA that routers trust."""
    key: Path
    client_authority: Path | None = None
    """Clients must have a certificate that this CA signed. ``None``: clients need no certificate."""

    def credentials(self) -> grpc.ServerCredentials:
        """:raises StartError: a file cannot be used."""
        files = TlsFiles(self.certificate, self.key, self.client_authority)
        try:
            return server_credentials(files, require=self.client_authority is not None)
        except TlsError as error:
            raise StartError(f"cannot use the TLS files: {error}") from error


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a service listens, and how it stops."""

    bind: Bind
    """Address of the gRPC server: the service, if routers call it, and ``grpc.health.v1``."""
    health_port: int = 8080
    """HTTP port of ``/healthz`` and ``/readyz``, on the same IP. 0 disables it."""
    metrics_port: int = 9090
    """HTTP port of ``/metrics``, on the same IP. 0 disables it."""
    grace: float = 20.0
    """Seconds to finish what is in flight before the process exits."""
    tls: Tls | None = None
    """TLS on the gRPC port."""


class Service:
    """Base of :class:`Source`, :class:`Transform` and :class:`Sink`."""

    kind = "service"

    def __init__(self) -> None:
        self.metrics = self._metrics()

    async def open(self) -> None:
        """Called once, before the service is ready: open files and connections here.

        :raises StartError: the service cannot start.
        """

    async def close(self) -> None:
        """Called once, after the last call has ended."""

    def _metrics(self) -> ServiceMetrics:
        return ServiceMetrics()

    def _handlers(self) -> Sequence[grpc.GenericRpcHandler[Any, Any]]:
        """The gRPC services, without that of health."""
        return ()

    async def _run(self, stop: asyncio.Event, grace: float) -> None:
        """Run until ``stop`` is set; the process ends if it returns before."""
        await stop.wait()

    async def _finish(self) -> None:
        """Called when no more calls arrive: finish those that have arrived."""


async def serve(service: Service, serving: Serving) -> None:
    """Run a service until SIGTERM, SIGINT or, for a source, its last record.

    :raises StartError: a file, connection or port cannot be opened.
    """
    stop = asyncio.Event()
    ending = _Ending(serving.grace)

    def end() -> None:
        ending.begin()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    state = _State()
    async with contextlib.AsyncExitStack() as stack:
        await _pages(stack, service, serving, state)
        await service.open()
        stack.push_async_callback(service.close)
        server = _server(service, serving, state)
        await server.start()
        log.info("%s started", service.kind, extra={"bind": serving.bind})
        await state.set(ready=True)
        try:
            await service._run(stop, serving.grace)
        finally:
            ending.begin()
            log.info("%s stopping", service.kind)
            await state.set(ready=False)
            # Calls in flight are answered; new ones are refused at once.
            await server.stop(ending.remaining())
        try:
            async with asyncio.timeout(ending.remaining()):
                await service._finish()
        except TimeoutError:
            log.warning("calls in flight did not finish within %s s", serving.grace)


class _Ending:
    """The common deadline of all steps of the shutdown.

    :param grace: seconds from the start of the shutdown.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._began: float | None = None

    def begin(self) -> None:
        """Start the shutdown, if it has not started."""
        if self._began is None:
            self._began = asyncio.get_running_loop().time()

    def remaining(self) -> float:
        """Seconds until the deadline."""
        assert self._began is not None
        return max(0.0, self._began + self._grace - asyncio.get_running_loop().time())


class _State:
    """Readiness of the service, over HTTP and gRPC."""

    def __init__(self) -> None:
        self._ready = False
        self.health: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]

    async def set(self, *, ready: bool) -> None:
        self._ready = ready
        kinds = health_pb2.HealthCheckResponse
        await self.health.set("", kinds.SERVING if ready else kinds.NOT_SERVING)

    def routes(self) -> dict[str, Route]:
        def alive() -> Page:
            return json_page(HTTPStatus.OK, {"status": "ok"})

        def ready() -> Page:
            status = HTTPStatus.OK if self._ready else HTTPStatus.SERVICE_UNAVAILABLE
            return json_page(status, {"ready": self._ready})

        return {"/healthz": alive, "/readyz": ready}


async def _pages(stack: contextlib.AsyncExitStack, service: Service, serving: Serving, state: _State) -> None:
    routes: dict[int, dict[str, Route]] = {}
    for port, offered in (
        (serving.health_port, state.routes()),
        (serving.metrics_port, service.metrics.routes()),
    ):
        if port:
            routes.setdefault(port, {}).update(offered)
    for port, offered in routes.items():
        bind = Bind(serving.bind.host, port)
        what = ", ".join(sorted(offered))
        server = HttpServer(bind, offered, what=what)
        with _explained(f"HTTP ({what})", bind):
            await server.start()
        stack.push_async_callback(server.stop)


def _server(service: Service, serving: Serving, state: _State) -> grpc.aio.Server:
    server = grpc.aio.server(
        options=[
            # A second process on the same port must fail to start, not receive half of the calls.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.max_send_message_length", MAX_MESSAGE),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 5000),
        ]
    )
    server.add_generic_rpc_handlers(tuple(service._handlers()))
    health_pb2_grpc.add_HealthServicer_to_server(state.health, server)
    bind, credentials = serving.bind, serving.tls.credentials() if serving.tls else None
    with _explained("gRPC", bind):
        _try(bind)
        if credentials is None:
            server.add_insecure_port(str(bind))
        else:
            server.add_secure_port(str(bind), credentials)
    return server


def _try(bind: Bind) -> None:
    """Bind once: unlike gRPC, the operating system reports why that is not possible."""
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((bind.host, bind.port))


@contextlib.contextmanager
def _explained(what: str, bind: Bind) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StartError(f"cannot listen on {bind} for {what}: {reason}") from error
