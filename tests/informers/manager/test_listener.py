"""Strangers at our pages: half-open requests, silence, crowds, and no file descriptors left."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from informers import listener
from informers.certificates import ServingCertificate
from informers.listener import Connection, Connections
from informers.server import BindAddress, Handler, HttpServer
from informers.testing.clock import run_virtual
from tests.informers.manager.pairs import write_pair

ROOT = Path(__file__).resolve().parents[3]
HALF = b"GET /metrics HT"

# Metrics and health as a manager serves them, in a process that may open few files.
PAGES = """
import asyncio, resource
from informers.health import Checks
from informers.metrics import Metrics
from informers.server import BindAddress, HttpServer, health_routes, metrics_routes

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

async def main():
    local = BindAddress("127.0.0.1", 0)
    metrics = HttpServer(local, metrics_routes(Metrics()), what="metrics")
    health = HttpServer(local, health_routes(Checks(), Checks()), what="health probes")
    for server in (metrics, health):
        await server.start()
    print(metrics.address.port, health.address.port, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[tuple[int, int, Path]]:
    """Ports of metrics and health, and the file with what the process says on standard error."""
    errors = tmp_path / "errors"
    with errors.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", PAGES],
            stdout=subprocess.PIPE,
            stderr=output,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    assert process.stdout is not None
    metrics, health = map(int, process.stdout.readline().split())
    yield metrics, health, errors
    process.kill()
    process.communicate()


def half_open(port: int, count: int, said: bytes = HALF) -> list[socket.socket]:
    """So many callers that never finish what they say."""
    callers = []
    for _ in range(count):
        caller = socket.create_connection(("127.0.0.1", port))
        with contextlib.suppress(OSError):
            caller.sendall(said)
        callers.append(caller)
    return callers


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize("victim", ["metrics", "health"])
@pytest.mark.parametrize("said", [HALF, b""], ids=["half a request", "nothing"])
async def test_callers_who_do_not_finish_keep_nobody_out(
    pages: tuple[int, int, Path], victim: str, said: bytes
) -> None:
    metrics, health, errors = pages
    crowd = await asyncio.to_thread(half_open, metrics if victim == "metrics" else health, 600, said)
    try:
        for _ in range(3):
            assert await get(f"http://127.0.0.1:{health}/healthz") == (200, "ok\n")
            assert (await get(f"http://127.0.0.1:{metrics}/metrics"))[0] == 200
    finally:
        for caller in crowd:
            caller.close()
    assert errors.read_bytes() == b""


@asynccontextmanager
async def serving(handler: Handler, certificate: ServingCertificate | None = None) -> AsyncIterator[int]:
    server = HttpServer(BindAddress("127.0.0.1", 0), {"/": handler}, what="pages", certificate=certificate)
    await server.start()
    try:
        yield server.address.port
    finally:
        await server.stop()


async def hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


async def ended(caller: socket.socket) -> bool:
    """Wait until the server closes the connection."""
    caller.setblocking(False)
    with contextlib.suppress(ConnectionResetError):
        while await asyncio.get_running_loop().sock_recv(caller, 100):
            pass
    return True


async def test_who_sends_no_request_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "REQUEST_SECONDS", 0.2)
    async with serving(hello) as port:
        for said in (b"", HALF, b"GET / HTTP/1.1\r\nHost: x\r\nX: "):
            (caller,) = half_open(port, 1, said)
            with caller:
                assert await ended(caller)


async def test_an_answered_connection_may_ask_again() -> None:
    async with serving(hello) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(5) == b"hello"
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_requests_that_are_being_answered_are_not_put_out(caplog: pytest.LogCaptureFixture) -> None:
    asked, answer = asyncio.Semaphore(0), asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        asked.release()
        await answer.wait()
        return web.Response(text="slow")

    async with serving(slow) as port:
        tasks = [asyncio.create_task(get(f"http://127.0.0.1:{port}/")) for _ in range(listener.CONNECTIONS)]
        for _ in tasks:
            await asked.acquire()
        for caller in half_open(port, 2):
            with caller:
                assert await ended(caller)
        answer.set()
        assert await asyncio.gather(*tasks) == [(200, "slow")] * len(tasks)
    (record,) = caplog.records
    assert record.getMessage() == "pages: all 64 connections are in use; further connections are closed"


async def test_tls_that_is_never_finished_is_closed_in_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(listener, "REQUEST_SECONDS", 0.2)
    cert = write_pair(tmp_path)
    async with serving(hello, ServingCertificate(tmp_path / "tls.crt", tmp_path / "tls.key")) as port:
        for said in (b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"):
            (caller,) = half_open(port, 1, said)
            with caller:
                assert await ended(caller)
        context = ssl.create_default_context(cadata=cert.decode())
        connector = aiohttp.TCPConnector(ssl=context)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"https://127.0.0.1:{port}/") as answer,
        ):
            assert await answer.text() == "hello"
        await asyncio.sleep(0.05)


async def test_a_lack_of_descriptors_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener, "_EXHAUSTED_PAUSE", 0.01)
    accept, tries = socket.socket.accept, 0

    def none_left(sock: socket.socket) -> Any:
        nonlocal tries
        tries += 1
        if tries <= 20:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return accept(sock)

    monkeypatch.setattr(socket.socket, "accept", none_left)
    with caplog.at_level(logging.DEBUG, "informers.listener"):
        async with serving(hello) as port:
            assert await get(f"http://127.0.0.1:{port}/") == (200, "hello")
    assert tries > 20
    (record,) = caplog.records
    assert record.getMessage() == "pages: no connection can be accepted: Too many open files"


async def test_who_is_accepted_as_the_listener_ends_is_let_go() -> None:
    listening = listener.listening_socket("127.0.0.1", 0)
    port = listening.getsockname()[1]
    made = listener.Listener(listening, asyncio.Protocol, what="pages")
    running, loop = asyncio.create_task(made.run()), asyncio.get_running_loop()
    await asyncio.sleep(0)
    for caller in half_open(port, 3, b""):
        with caller:
            # After the round in which the loop finds the caller, before the one in which anybody hears of it.
            loop.call_soon(lambda: loop.call_soon(running.cancel))
            await asyncio.gather(running, return_exceptions=True)
            assert await ended(caller)


# -- who has to go ---------------------------------------------------------------------------------------


class Wire(asyncio.WriteTransport):
    """A transport that is open or not."""

    def __init__(self) -> None:
        super().__init__()
        self.open = True

    def abort(self) -> None:
        self.open = False

    def is_closing(self) -> bool:
        return not self.open


EVENTS = st.lists(
    st.tuples(st.sampled_from("ahbeg"), st.integers(0, 3), st.integers(0, 7)), min_size=1, max_size=60
)


@given(events=EVENTS, limit=st.integers(1, 5))
def test_the_limit_holds_and_a_lone_caller_is_never_put_out(
    events: list[tuple[str, int, int]], limit: int
) -> None:
    async def main() -> None:
        connections, loop = Connections(limit), asyncio.get_running_loop()
        wires: dict[Wire, Connection] = {}
        answering: dict[Wire, contextlib.AbstractContextManager[None]] = {}
        for kind, peer, number in events:
            open_now = [wire for wire in wires if wire.open]
            chosen = open_now[number % len(open_now)] if open_now else None
            if kind == "a":
                before = {wire: one.peer for wire, one in wires.items() if wire.open}
                idle = [wire for wire in before if not wires[wire].busy]
                room = connections.make_room()
                gone = [wire for wire in before if not wire.open]
                assert room is (len(before) < limit or bool(idle))
                assert len(gone) == (1 if room and len(before) >= limit else 0)
                if gone:
                    # Nobody is put out while another address has more of the places that can be spared.
                    peers = list(before.values())
                    most = max(peers.count(before[wire]) for wire in idle)
                    assert peers.count(before[gone[0]]) == most
                    assert gone[0] in idle
                if room:
                    wire = Wire()
                    wires[wire] = Connection(str(peer), loop.time(), wire)
                    connections.add(wires[wire])
            elif kind == "h" and chosen is not None:
                chosen.open = False
            elif kind == "b" and chosen is not None and chosen not in answering:
                answering[chosen] = connections.answering(chosen)
                answering[chosen].__enter__()
            elif kind == "e" and answering:
                wire, context = answering.popitem()
                context.__exit__(None, None, None)
            await asyncio.sleep(number)
            assert len([wire for wire in wires if wire.open]) <= limit
            now = loop.time()
            for wire, one in wires.items():
                if wire.open and not one.busy:
                    assert now - one.since <= one.patience + 1e-6
        connections.close()
        assert len(connections) == 0

    run_virtual(main())


def test_places_of_callers_who_have_gone_are_free() -> None:
    async def main() -> None:
        connections = Connections(1)
        first = Wire()
        connections.add(Connection("a", 0.0, first))
        busy = connections.answering(first)
        with busy:
            assert not connections.make_room()
            first.open = False
            assert connections.make_room()

    run_virtual(main())


def test_a_request_that_comes_with_the_end_of_the_handshake_is_not_put_out() -> None:
    async def main() -> None:
        connections, wire = Connections(1), Wire()
        greeting = asyncio.create_task(asyncio.sleep(3600))
        connections.add(Connection("a", asyncio.get_running_loop().time(), greeting))
        with connections.answering(wire):
            connections.settle(greeting, wire)
            await asyncio.sleep(10 * listener.IDLE_SECONDS)
            assert wire.open
            assert not connections.make_room()
            assert not greeting.cancelled()
        await asyncio.sleep(listener.IDLE_SECONDS - 1)
        assert wire.open
        await asyncio.sleep(listener.IDLE_SECONDS)
        assert not wire.open
        assert len(connections) == 0
        greeting.cancel()

    run_virtual(main())
