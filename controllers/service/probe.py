"""Asking a service whether it is healthy: grpc.health.v1, or a plain connection where it has none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from controllers.service.names import is_address
from etl_operator.router.endpoints import host_port
from etl_operator.router.proxying import connect, proxy_of
from etl_operator.router.registry import Health

TIMEOUT = 3.0
"""Seconds for one step of a probe: finding the host, asking it, connecting to it."""

_UNRESOLVED = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


@dataclass(frozen=True, slots=True)
class _Found:
    """Where a host is: at an address, or behind a proxy that knows it by name."""

    host: str
    """What the server is asked for."""
    target: str
    """What to connect to."""
    proxy: str = ""


async def probe(hosts: Sequence[str], port: int, use_tls: bool) -> Health:
    """Probe once; never raises for an endpoint that is down.

    :param hosts: one address, or absolute names without a dot at the end: the first that exists is meant.
    """
    try:
        async with asyncio.timeout(TIMEOUT):
            found = await _find(hosts, port)
    except TimeoutError:
        return Health(False, f"its name did not resolve within {TIMEOUT:.0f} s")
    except OSError as error:
        return Health(False, f"cannot look up {hosts[0]}: {error.strerror or error}")
    return found if isinstance(found, Health) else await _ask(found, port, use_tls)


async def _find(hosts: Sequence[str], port: int) -> _Found | Health:
    """The first of the hosts that exists, or what is wrong with all of them.

    :raises OSError: when DNS or the proxy does not answer.
    """
    if is_address(hosts[0]):
        return _Found(hosts[0], hosts[0])
    proxy = proxy_of(hosts[0])
    return await (_reached(proxy, hosts, port) if proxy else _existing(hosts))


async def _existing(hosts: Sequence[str]) -> _Found | Health:
    loop = asyncio.get_running_loop()
    for host in hosts:
        try:
            # The dot keeps this process's own search list out.
            answers = await loop.getaddrinfo(f"{host}.", None, type=socket.SOCK_STREAM)
        except UnicodeError:
            continue
        except socket.gaierror as error:
            if error.errno not in _UNRESOLVED:
                raise
        else:
            return _Found(host, str(answers[0][4][0]))
    return Health(False, f"its name does not resolve, not as {', nor as '.join(hosts)}")


async def _reached(proxy: str, hosts: Sequence[str], port: int) -> _Found | Health:
    """What the names resolve to is the proxy's affair; the first it connects to is taken."""
    answers = []
    for host in hosts:
        answer = await connect(proxy, host, port)
        if not answer:
            return _Found(host, host, proxy)
        answers.append(f"{host}: {answer}")
    return Health(False, f"the proxy cannot connect to it: {'; '.join(answers)}")


async def _ask(where: _Found, port: int, use_tls: bool) -> Health:
    if use_tls:
        # The operator holds no client certificates: with TLS a connection is all that can be judged.
        return await _connect(where, port)
    options = [
        ("grpc.default_authority", host_port(where.host, port)),
        ("grpc.enable_http_proxy", int(bool(where.proxy))),
    ]
    async with grpc.aio.insecure_channel(host_port(where.target, port), options=options) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=TIMEOUT
            )
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND):
                return Health(True, "reachable; it does not serve grpc.health.v1")
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return await _connect(where, port)
            return Health(False, f"{error.code().name}: {error.details()}")
    serving = answer.status == health_pb2.HealthCheckResponse.SERVING
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return Health(serving, f"grpc.health.v1 reports {name}")


async def _connect(where: _Found, port: int) -> Health:
    try:
        async with asyncio.timeout(TIMEOUT):
            if where.proxy:
                answer = await connect(where.proxy, where.target, port)
                return Health(not answer, f"cannot connect: {answer}" if answer else "accepts connections")
            _, writer = await asyncio.open_connection(where.target, port)
    except TimeoutError:
        return Health(False, f"no connection within {TIMEOUT:.0f} s")
    except OSError as error:
        return Health(False, f"cannot connect: {error}")
    writer.close()
    return Health(True, "accepts connections")
