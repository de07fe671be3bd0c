"""Connections of our own: when they are used again, and how much they take in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from informers.client.http1 import Malformed
from informers.client.wire import HIGH_WATER, KEEP_ALIVE, MAX_IDLE, Answer, Endpoint, Message, Wire
from tests.hanging import HANGS
from tests.informers.client.serving import Rude, rude

EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def wired(talk: Rude) -> AsyncIterator[tuple[Wire, Endpoint]]:
    async with rude(talk) as url:
        wire = Wire()
        try:
            yield wire, Endpoint("127.0.0.1", int(url.rpartition(":")[2]))
        finally:
            await wire.close()


def message(method: str = "GET", *, total: float | None = 10.0, silence: float | None = None) -> Message:
    return Message(method, f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode(), False, total, silence)


async def body(wire: Wire, endpoint: Endpoint, asked: Message) -> bytes:
    answer = await wire.send(endpoint, asked)
    try:
        return await answer.read()
    finally:
        answer.close()


class Counting:
    """Answers every request with the same, and counts connections and requests."""

    def __init__(self, answer: bytes = EMPTY) -> None:
        self.answer = answer
        self.connections = 0
        self.requests = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                writer.write(self.answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass


async def test_one_connection_serves_one_after_the_other() -> None:
    server = Counting()
    async with wired(server) as (wire, endpoint):
        for _ in range(5):
            assert await body(wire, endpoint, message()) == b"{}"
        assert (server.connections, server.requests) == (1, 5)
        assert await asyncio.gather(*(body(wire, endpoint, message()) for _ in range(4))) == [b"{}"] * 4
        assert server.connections == 4


@pytest.mark.parametrize(
    "answer",
    [
        EMPTY + b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
async def test_a_connection_that_cannot_be_trusted_is_not_used_again(answer: bytes) -> None:
    server = Counting(answer)
    async with wired(server) as (wire, endpoint):
        for _ in range(3):
            assert await body(wire, endpoint, message()) == b"{}"
        assert server.connections == 3


async def test_an_answer_nobody_read_ends_its_connection() -> None:
    server = Counting()
    async with wired(server) as (wire, endpoint):
        for _ in range(2):
            (await wire.send(endpoint, message())).close()
        assert await body(wire, endpoint, message()) == b"{}"
        assert server.connections == 3


async def test_what_comes_unasked_is_no_answer() -> None:
    said = asyncio.Event()
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(EMPTY)
        await writer.drain()
        if connections == 1:
            await said.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await reader.read()

    async with wired(talk) as (wire, endpoint):
        assert await body(wire, endpoint, message()) == b"{}"
        (connection,) = wire.live
        said.set()
        async with asyncio.timeout(HANGS):
            await connection.lost
        assert await body(wire, endpoint, message()) == b"{}"
        assert connections == 2


async def test_idle_connections_are_bounded_in_number_and_in_age(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Counting()
    async with wired(server) as (wire, endpoint):
        answers = await asyncio.gather(*(wire.send(endpoint, message()) for _ in range(MAX_IDLE + 3)))
        for answer in answers:
            await answer.read()
            answer.close()
        async with asyncio.timeout(HANGS):
            await asyncio.wait([answer.connection.lost for answer in answers[:3]])
        assert len(wire.live) == MAX_IDLE
        for connection in wire.live:
            connection.idle_since -= KEEP_ALIVE + 1
        before = server.connections
        assert await body(wire, endpoint, message()) == b"{}"
        assert server.connections == before + 1


@pytest.mark.parametrize("said", [b"HTTP/1.1 2", b"nonsense"])
async def test_nothing_is_repeated_once_an_answer_has_begun(said: bytes) -> None:
    requests = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        writer.write(EMPTY)
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        writer.write(said)

    async with wired(talk) as (wire, endpoint):
        await body(wire, endpoint, message())
        with pytest.raises(Malformed):
            await body(wire, endpoint, message())
        assert requests == 2


@pytest.mark.parametrize(("method", "repeated"), [("PUT", True), ("DELETE", True), ("POST", False)])
async def test_what_http_calls_idempotent_is_repeated_on_a_new_connection(
    method: str, repeated: bool
) -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(EMPTY)
        await reader.readuntil(b"\r\n\r\n")

    async with wired(talk) as (wire, endpoint):
        # Two connections that are both to be closed under the next request.
        await asyncio.gather(body(wire, endpoint, message()), body(wire, endpoint, message()))
        if repeated:
            assert await body(wire, endpoint, message(method)) == b"{}"
            assert connections == 3
        else:
            with pytest.raises(ConnectionError):
                await body(wire, endpoint, message(method))
            assert connections == 2


async def test_a_reader_that_does_not_keep_up_holds_back_the_server() -> None:
    chunk = b"%x\r\n%s\r\n" % (2**16, b"x" * 2**16)
    sent = 0
    total = 1024

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(total):
            writer.write(chunk)
            await writer.drain()
            sent += 1
        writer.write(b"0\r\n\r\n")

    async with wired(talk) as (wire, endpoint):
        answer = await wire.send(endpoint, message(total=None, silence=10.0))
        async with asyncio.timeout(HANGS):
            while not answer.connection._paused:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        # What the sockets hold is bounded, and the server has far more to say.
        assert sent < total
        held = await answer.readany()
        assert len(held) <= 2 * HIGH_WATER
        rest = await answer.read()
        assert len(held) + len(rest) == total * 2**16
        assert sent == total
        answer.close()
        assert len(wire.live) == 1


async def test_silence_counts_only_while_somebody_listens() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await reader.read()

    async with wired(talk) as (wire, endpoint):
        answer: Answer = await wire.send(endpoint, message(total=None, silence=0.2))
        assert await answer.readany() == b"one"
        await asyncio.sleep(0.5)
        waiting = asyncio.ensure_future(answer.readany())
        await asyncio.sleep(0)
        assert not waiting.done()
        with pytest.raises(TimeoutError, match="silent"):
            await waiting
        answer.close()


async def test_closing_ends_what_is_under_way() -> None:
    asked = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()

    async with wired(talk) as (wire, endpoint):
        waiting = asyncio.ensure_future(body(wire, endpoint, message()))
        await asked.wait()
        await wire.close()
        with pytest.raises(ConnectionError):
            await waiting
        with pytest.raises(ConnectionError):
            await wire.send(endpoint, message())
