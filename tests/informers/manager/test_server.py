"""The small servers over real HTTP."""

from __future__ import annotations

import asyncio
import http.client
import logging
import select
import socket
from pathlib import Path

import aiohttp
import pytest

from informers.certificates import ServingCertificate
from informers.errors import RuntimeFault
from informers.health import Checks
from informers.metrics import Metrics
from informers.server import (
    BindAddress,
    CannotListen,
    HttpServer,
    health_routes,
    metrics_routes,
    parse_bind_address,
)
from tests.hanging import HANGS
from tests.informers.manager.pairs import write_pair


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0", None),
        ("", None),
        (":8080", BindAddress("", 8080)),
        ("127.0.0.1:8080", BindAddress("127.0.0.1", 8080)),
        ("localhost:0", BindAddress("localhost", 0)),
        ("[::]:8080", BindAddress("::", 8080)),
        ("[::1]:8080", BindAddress("::1", 8080)),
    ],
)
def test_addresses(text: str, address: BindAddress | None) -> None:
    assert parse_bind_address(text) == address
    if address is not None:
        assert str(address) == text


@pytest.mark.parametrize(
    "text", ["8080", "::1:8080", "host:", "host:http", ":65536", ":-1", "[::1]", "[::1:80"]
)
def test_what_is_no_address_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(CannotListen, match="use HOST:PORT"):
        parse_bind_address(text)


async def get(address: BindAddress, path: str, **headers: str) -> tuple[int, str, str]:
    host = {"": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(address.host, address.host)
    url = f"http://{host}:{address.port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, await answer.text(), answer.headers["Content-Type"]


HOSTS = ["", "127.0.0.1", "localhost"]
if socket.has_dualstack_ipv6():
    HOSTS += ["::", "::1"]


@pytest.mark.parametrize("host", HOSTS)
async def test_metrics_on_every_kind_of_address(host: str) -> None:
    metrics = Metrics(process=False)
    metrics.gauge("answer", "The answer.").set(42)
    server = HttpServer(BindAddress(host, 0), metrics_routes(metrics), what="metrics")
    await server.start()
    try:
        assert server.address.port > 0
        status, text, content_type = await get(server.address, "/metrics")
        assert (status, content_type.partition(";")[0]) == (200, "text/plain")
        assert "answer 42.0" in text
        _, text, content_type = await get(server.address, "/metrics", Accept="application/openmetrics-text")
        assert content_type.startswith("application/openmetrics-text")
        assert (await get(server.address, "/else"))[0] == 404
    finally:
        await server.stop()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 on this machine")
async def test_every_address_means_both_families() -> None:
    server = HttpServer(BindAddress("", 0), metrics_routes(Metrics(process=False)), what="metrics")
    await server.start()
    try:
        for host in ("127.0.0.1", "::1"):
            assert (await get(BindAddress(host, server.address.port), "/metrics"))[0] == 200
    finally:
        await server.stop()


async def test_a_taken_port_is_a_clear_fault_and_leaves_nothing_behind(tmp_path: Path) -> None:
    write_pair(tmp_path)
    certificate = ServingCertificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = HttpServer(BindAddress("127.0.0.1", port), {}, what="metrics", certificate=certificate)
        with pytest.raises(RuntimeFault, match=rf"127\.0\.0\.1:{port} for metrics: Address already in use$"):
            await server.start()
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_address_of_another_machine_is_a_clear_fault() -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        server = HttpServer(BindAddress(host, 0), {}, what="health probes")
        with pytest.raises(OSError, match="cannot listen on"):
            await server.start()


async def test_checks_over_http() -> None:
    live, ready = Checks(), Checks()
    problem: str | None = None
    ready.add("informer/pods", lambda: problem)
    ready.add("leader-election", lambda: None)
    server = HttpServer(BindAddress("127.0.0.1", 0), health_routes(live, ready), what="health probes")
    await server.start()
    try:
        assert await get(server.address, "/healthz") == (200, "ok\n", "text/plain; charset=utf-8")
        assert (await get(server.address, "/readyz"))[:2] == (200, "ok\n")
        verbose = "[+]informer/pods ok\n[+]leader-election ok\n"
        assert (await get(server.address, "/readyz?verbose"))[:2] == (200, verbose)
        problem = 'cannot list resource "pods"'
        status, text, _ = await get(server.address, "/readyz")
        assert status == 500
        assert text == '[-]informer/pods: cannot list resource "pods"\n[+]leader-election ok\n'
        assert (await get(server.address, "/readyz/informer/pods"))[0] == 500
        assert (await get(server.address, "/readyz/leader-election"))[0] == 200
        assert (await get(server.address, "/readyz?exclude=informer/pods"))[0] == 200
        assert (await get(server.address, "/readyz/else"))[0] == 404
        assert (await get(server.address, "/healthz"))[0] == 200, "a restart would not help"
    finally:
        await server.stop()


def test_a_check_that_fails_itself_is_a_failed_check() -> None:
    checks = Checks()

    def faulty() -> str | None:
        raise KeyError("bug")

    checks.add("faulty", faulty)
    assert [finding.problem for finding in checks.findings()] == ["the check failed: KeyError"]
    with pytest.raises(ValueError, match="already"):
        checks.add("faulty", faulty)


def _refusal(port: int, *said: bytes) -> http.client.HTTPResponse:
    """The answer to what is no request, read by a caller that says the rest when the answer is there."""
    with socket.create_connection(("127.0.0.1", port), HANGS) as caller:
        caller.sendall(said[0])
        assert select.select([caller], [], [], HANGS)[0]
        for more in said[1:]:
            caller.sendall(more)
        answer = http.client.HTTPResponse(caller)
        answer.begin()
        return answer


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (400, b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        (400, b"\x16\x03\x01\r\n\r\n"),
        (431, b"GET /healthz?" + b"a" * 10_000),
    ],
    ids=["two hosts", "tls", "target"],
)
async def test_a_refusal_is_heard_and_logs_no_traceback(
    code: int, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    server = HttpServer(BindAddress("127.0.0.1", 0), health_routes(Checks(), Checks()), what="health probes")
    await server.start()
    try:
        answer = await asyncio.to_thread(_refusal, server.address.port, said, *[b"a" * 100_000] * 4)
        assert (answer.status, answer.will_close) == (code, True)
    finally:
        await server.stop()
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]
