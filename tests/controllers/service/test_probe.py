"""Probing an endpoint, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from controllers.service.names import candidates, seen_from
from controllers.service.probe import probe
from tests.router.test_proxy import Proxy

DOMAIN = "cluster.local"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


class Dns:
    """Knows a few absolute names; asked in the running loop's place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.names = names
        self.asked: list[str] = []
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self.getaddrinfo)

    async def getaddrinfo(self, host: str, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        if host.removesuffix(".") not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]


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
    found = await probe(["127.0.0.1"], port, False)
    assert found.healthy
    assert "SERVING" in found.message


async def test_one_that_says_no_is_not(health: tuple[HealthServicer, int]) -> None:
    servicer, port = health
    await servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    found = await probe(["127.0.0.1"], port, False)
    assert not found.healthy
    assert "NOT_SERVING" in found.message


async def test_a_grpc_server_without_health_counts_as_reachable() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    found = await probe(["127.0.0.1"], port, False)
    await server.stop(None)
    assert found.healthy
    assert "does not serve grpc.health.v1" in found.message


async def test_a_closed_port_is_unhealthy() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    found = await probe(["127.0.0.1"], port, False)
    assert not found.healthy
    assert "cannot connect" in found.message


async def test_with_tls_a_connection_is_enough() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    found = await probe(["127.0.0.1"], port, True)
    server.close()
    await server.wait_closed()
    assert found.healthy


# -- names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "tried"),
    [
        (
            "svc",
            ["svc.etl.svc.cluster.local", "svc.svc.cluster.local", "svc.cluster.local", "svc"],
        ),
        (
            "svc.other",
            [
                "svc.other.etl.svc.cluster.local",
                "svc.other.svc.cluster.local",
                "svc.other.cluster.local",
                "svc.other",
            ],
        ),
        ("pod.svc.other.svc.cluster.local", ["pod.svc.other.svc.cluster.local"]),
        ("svc.other.svc.cluster.local.", ["svc.other.svc.cluster.local"]),
        ("example.com.", ["example.com"]),
        ("10.0.0.7", ["10.0.0.7"]),
        ("fd00::7", ["fd00::7"]),
    ],
)
def test_a_name_is_one_of_the_objects_namespace(host: str, tried: list[str]) -> None:
    assert candidates(host, "etl", DOMAIN) == tried


def test_a_name_with_five_dots_is_absolute_first() -> None:
    assert candidates("a.b.c.d.e.f", "etl", DOMAIN)[0] == "a.b.c.d.e.f"
    assert candidates("a.b.c.d.e", "etl", DOMAIN)[-1] == "a.b.c.d.e"


@pytest.mark.parametrize(
    ("host", "other", "shown"),
    [
        ("svc", "etl", "svc"),
        ("svc", "platform", "svc.etl.svc.cluster.local"),
        ("svc.team", "platform", "svc.team"),
        ("10.0.0.7", "platform", "10.0.0.7"),
        ("fd00::7", "platform", "fd00::7"),
    ],
)
def test_a_bare_name_is_written_out_for_another_namespace(host: str, other: str, shown: str) -> None:
    assert seen_from(host, "etl", other, DOMAIN) == shown


async def test_the_operators_own_search_list_does_not_matter(
    health: tuple[HealthServicer, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    servicer, port = health
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    dns = Dns(monkeypatch, "svc.other.svc.cluster.local", "svc.operator.svc.cluster.local")
    found = await probe(candidates("svc.other", "etl", DOMAIN), port, False)
    assert found.healthy
    assert all(name.endswith(".") for name in dns.asked), "absolute"
    missing = await probe(candidates("svc", "etl", DOMAIN), port, False)
    assert not missing.healthy
    assert "does not resolve, not as svc.etl.svc.cluster.local, nor as" in missing.message


async def test_a_resolver_that_does_not_answer_is_not_taken_for_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    async def later(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", later)
    found = await probe(["svc.etl.svc.cluster.local", "svc"], 1, False)
    assert not found.healthy
    assert "cannot look up svc.etl.svc.cluster.local: Temporary failure" in found.message


@pytest.mark.parametrize("use_tls", [False, True])
async def test_a_proxy_resolves_the_same_names(
    health: tuple[HealthServicer, int], monkeypatch: pytest.MonkeyPatch, use_tls: bool
) -> None:
    servicer, port = health
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    proxy = Proxy()
    monkeypatch.setenv("grpc_proxy", await proxy.start())
    proxy.names[f"svc.svc.cluster.local:{port}"] = f"127.0.0.1:{port}"
    try:
        found = await probe(candidates("svc", "etl", DOMAIN), port, use_tls)
        assert found.healthy
        assert ("SERVING" in found.message) is not use_tls
        assert proxy.asked[:2] == [f"svc.etl.svc.cluster.local:{port}", f"svc.svc.cluster.local:{port}"]
        missing = await probe(candidates("gone", "etl", DOMAIN), port, use_tls)
        assert not missing.healthy
        assert "gone.etl.svc.cluster.local: 502" in missing.message
    finally:
        await proxy.stop()


async def test_a_proxy_that_is_down_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:1")
    found = await probe(["svc.etl.svc.cluster.local"], 1, False)
    assert not found.healthy
    assert "cannot look up svc.etl.svc.cluster.local" in found.message
