"""Connections that break, hang or close, and what of a request may be sent again."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest
from aiohttp import web

from informers.client import ClusterAccess, HttpRequest
from informers.errors import Fenced, TransportError
from tests.hanging import HANGS
from tests.informers.client.sending import APPLY, CHUNKED, EMPTY, GET, transport_to
from tests.informers.client.serving import rude, serving


class SteppedClock:
    """A clock that tests set."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


class TestBreakage:
    async def test_nobody_listens(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            async with transport_to(ClusterAccess(url)) as transport:
                with pytest.raises(TransportError):
                    await transport.request(GET)
                with pytest.raises(TransportError):
                    async with transport.stream(GET):
                        pass

    @pytest.mark.parametrize(
        "said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", b"SSH-2.0-OpenSSH\r\n"]
    )
    async def test_a_connection_that_ends_too_soon(self, said: bytes) -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said)
            await writer.drain()

        async with rude(talk) as url, transport_to(ClusterAccess(url)) as transport:
            with pytest.raises(TransportError):
                await transport.request(GET)

    async def test_a_reset_in_the_middle_of_a_stream(self) -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(CHUNKED + b"3\r\none\r\n")
            await writer.drain()
            await reader.read(1)
            # Closing with zero linger sends a reset.
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            writer.transport.abort()

        async with (
            rude(talk) as url,
            transport_to(ClusterAccess(url)) as transport,
            transport.stream(GET) as stream,
        ):
            chunks = stream.chunks()
            assert await anext(chunks) == b"one"
            # Prods the server to go on, now that the first chunk has been seen.
            stream._answer.connection.transport.write(b"x")  # type: ignore[attr-defined]
            with pytest.raises(TransportError):
                await anext(chunks)

    @pytest.mark.parametrize("ending", ["half-closed", "closed"])
    async def test_a_stream_cut_without_its_end_is_an_error_and_a_proper_end_is_not(
        self, ending: str
    ) -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(CHUNKED + b"3\r\none\r\n")
            if ending == "half-closed":
                writer.write_eof()
                await reader.read()

        async def proper(_: web.Request) -> web.Response:
            return web.Response(text="all")

        async with (
            rude(talk) as url,
            transport_to(ClusterAccess(url)) as transport,
            transport.stream(GET) as stream,
        ):
            with pytest.raises(TransportError):
                async for chunk in stream.chunks():
                    assert chunk == b"one"
        async with (
            serving(proper) as url,
            transport_to(ClusterAccess(url)) as transport,
            transport.stream(GET) as stream,
        ):
            assert [chunk async for chunk in stream.chunks()] == [b"all"]

    @pytest.mark.parametrize("said", [b"", CHUNKED, CHUNKED + b"3\r\none\r\n"])
    async def test_silence_is_bounded(self, said: bytes) -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said)
            await writer.drain()
            await reader.read()

        impatient = replace(GET, timeout=0.2)
        async with rude(talk) as url, transport_to(ClusterAccess(url)) as transport:
            with pytest.raises(TransportError, match=r"(?i)timeout"):
                async with transport.stream(impatient) as stream:
                    async for _ in stream.chunks():
                        pass
            with pytest.raises(TransportError, match=r"(?i)timeout"):
                await transport.request(impatient)

    @pytest.mark.parametrize("through_proxy", [False, True])
    async def test_a_long_answer_has_all_the_time_there_is_as_long_as_it_comes(
        self, through_proxy: bool
    ) -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(CHUNKED)
            for _ in range(12):
                await asyncio.sleep(0.1)
                writer.write(b"1\r\nx\r\n")
                await writer.drain()
            if b"/silent" in head:
                await reader.read()
            writer.write(b"0\r\n\r\n")
            await writer.drain()

        async with rude(talk) as url:
            access = ClusterAccess("http://api.test:80", proxy=url) if through_proxy else ClusterAccess(url)
            async with transport_to(access) as transport:
                answer = await transport.request(replace(GET, timeout=60, silence=1))
                assert answer.body == b"x" * 12
                with pytest.raises(TransportError, match=r"silent for 1 s|Timeout on reading data"):
                    await transport.request(replace(GET, path="/silent", timeout=10, silence=1))
                with pytest.raises(TransportError, match=r"TimeoutError"):
                    await transport.request(replace(GET, timeout=0.5, silence=60))

    @pytest.mark.parametrize(("request_", "repeated"), [(GET, True), (APPLY, True), ("merge", False)])
    async def test_a_kept_alive_connection_the_server_closed(
        self, request_: HttpRequest | str, repeated: bool
    ) -> None:
        """What may be repeated is; a merge patch might have been carried out."""
        if isinstance(request_, str):
            request_ = replace(APPLY, content_type="application/merge-patch+json")
        requests = 0

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal requests
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"ontent-Length: 2" in head:
                    await reader.readexactly(2)
                requests += 1
                if requests == 2:
                    return
                writer.write(EMPTY)
                await writer.drain()

        async with rude(talk) as url, transport_to(ClusterAccess(url)) as transport:
            await transport.request(GET)
            if repeated:
                assert (await transport.request(request_)).status == 200
                assert requests == 3
            else:
                with pytest.raises(TransportError):
                    await transport.request(request_)
                assert requests == 2

    @pytest.mark.parametrize("through_proxy", [False, True])
    async def test_a_write_is_not_sent_again_once_the_fence_has_closed(self, through_proxy: bool) -> None:
        """As of a process that is stopped with a request under way, and wakes up when its lease is over."""
        requests = []
        closed = False

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal closed
            while True:
                requests.append(await reader.readuntil(b"\r\n\r\n"))
                if len(requests) > 1:
                    await reader.readexactly(2)
                    closed = True
                    return
                writer.write(EMPTY)
                await writer.drain()

        def fence() -> None:
            if closed:
                raise Fenced("not leading any more")

        async with rude(talk) as url:
            access = ClusterAccess("http://api.test:80", proxy=url) if through_proxy else ClusterAccess(url)
            async with transport_to(access) as transport:
                await transport.request(GET)
                with pytest.raises(Fenced):
                    await transport.request(replace(APPLY, fence=fence))
        assert len(requests) == 2

    async def test_a_fence_that_closes_while_the_connection_opens_keeps_the_request_back(self) -> None:
        received = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            received.append(await reader.read(1))

        def fence() -> None:
            raise Fenced("not leading any more")

        async with rude(talk) as url, transport_to(ClusterAccess(url)) as transport:
            with pytest.raises(Fenced):
                await transport.request(replace(APPLY, fence=fence))
            async with asyncio.timeout(HANGS):
                while not received:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        assert received == [b""]

    async def test_cancellation_closes_the_connection_and_leaves_the_pool_usable(self) -> None:
        closed = asyncio.Event()
        entered = asyncio.Event()
        first = True

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal first
            await reader.readuntil(b"\r\n\r\n")
            if not first:
                writer.write(EMPTY)
                await writer.drain()
                return
            first = False
            entered.set()
            await reader.read()
            closed.set()

        async with rude(talk) as url, transport_to(ClusterAccess(url)) as transport:
            task = asyncio.ensure_future(transport.request(GET))
            await entered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(HANGS):
                await closed.wait()
            assert (await transport.request(GET)).status == 200

    async def test_leaving_a_stream_closes_its_connection(self) -> None:
        closed = asyncio.Event()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(CHUNKED + b"3\r\none\r\n")
            await writer.drain()
            await reader.read()
            closed.set()

        async with rude(talk) as url, transport_to(ClusterAccess(url)) as transport:
            async with transport.stream(GET) as stream:
                assert await anext(stream.chunks()) == b"one"
            async with asyncio.timeout(HANGS):
                await closed.wait()
