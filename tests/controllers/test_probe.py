"""Probing an endpoint, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from controllers.service.probe import probe


@pytest.fixture
async def health() -> AsyncIterator[tuple[HealthServicer, int]]:
    """A gRPC server with the health service."""
    server = grpc.aio.server()
    servicer = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, port
    await server.stop(None)


async def test_a_serving_endpoint_is_healthy(health: tuple[HealthServicer, int]) -> None:
    servicer, port = health
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    found = await probe("127.0.0.1", port, False)
    assert found.healthy
    assert "SERVING" in found.message


async def test_one_that_says_no_is_not(health: tuple[HealthServicer, int]) -> None:
    servicer, port = health
    await servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    found = await probe("127.0.0.1", port, False)
    assert not found.healthy
    assert "NOT_SERVING" in found.message


async def test_a_grpc_server_without_health_counts_as_reachable() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    found = await probe("127.0.0.1", port, False)
    await server.stop(None)
    assert found.healthy
    assert "no grpc.health.v1" in found.message


async def test_a_closed_port_is_unhealthy() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    found = await probe("127.0.0.1", port, False)
    assert not found.healthy
    assert "cannot connect" in found.message


async def test_with_tls_a_connection_is_enough() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    found = await probe("127.0.0.1", port, True)
    server.close()
    await server.wait_closed()
    assert found.healthy
