"""Asking a service whether it is healthy: grpc.health.v1, or a plain connection where it has none."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from etl_operator.router.endpoints import host_port

TIMEOUT = 3.0
"""Seconds for one probe."""


@dataclass(frozen=True, slots=True)
class Health:
    """The outcome of one probe."""

    healthy: bool
    message: str


async def probe(host: str, port: int, use_tls: bool) -> Health:
    """Probe once; never raises for an endpoint that is down."""
    if use_tls:
        # The operator holds no client certificates: with TLS a connection is all that can be judged.
        return await _connect(host, port)
    async with grpc.aio.insecure_channel(host_port(host, port)) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=TIMEOUT
            )
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND):
                return Health(True, "reachable; it serves no grpc.health.v1")
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return await _connect(host, port)
            return Health(False, f"{error.code().name}: {error.details()}")
    serving = answer.status == health_pb2.HealthCheckResponse.SERVING
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return Health(serving, f"grpc.health.v1 says {name}")


async def _connect(host: str, port: int) -> Health:
    try:
        async with asyncio.timeout(TIMEOUT):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Health(False, f"no connection within {TIMEOUT:.0f} s")
    except OSError as error:
        return Health(False, f"cannot connect: {error}")
    writer.close()
    return Health(True, "accepts connections")
