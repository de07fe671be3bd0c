"""The HTTP transport against real sockets: TLS, reuse, credentials, and everything that breaks."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from informers.client import ClusterAccess, HttpRequest, HttpTransport
from informers.client.auth import Credential, StaticCredentials, bearer
from informers.client.requests import APPLY_PATCH
from informers.client.tls import TlsSettings
from informers.errors import ConfigError, Fenced, TransportError
from tests.hanging import HANGS
from tests.informers.client.serving import Authority, rude, serving

GET = HttpRequest("GET", "/api/v1/pods", [("labelSelector", "a in (b,c)&d"), ("limit", "5")], timeout=HANGS)
APPLY = HttpRequest("PATCH", "/api/v1/pods/x", body=b"{}", content_type=APPLY_PATCH, timeout=HANGS)
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def transport_to(access: ClusterAccess) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(access)
    try:
        yield transport
    finally:
        await transport.close()


async def echo(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "method": request.method,
            "path": request.raw_path,
            "query": list(request.query.items()),
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": (await request.read()).decode(),
            "peer": request.transport.get_extra_info("peername")[1] if request.transport else None,
        },
        status=int(request.headers.get("x-status", "200")),
    )


class Renewing:
    """Credentials that count their renewals."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = [bearer(token) for token in tokens]
        self.renewals = 0

    async def current(self) -> Credential:
        return self._tokens[0]

    async def renewed(self, rejected: Credential) -> Credential:
        self.renewals += 1
        if len(self._tokens) > 1:
            self._tokens.pop(0)
        return self._tokens[0]


class TestRequests:
    async def test_what_arrives_is_what_was_asked(self) -> None:
        async with serving(echo) as url, transport_to(ClusterAccess(url + "/prefix")) as transport:
            answer = json.loads((await transport.request(GET)).body)
            assert answer["path"].startswith("/prefix/api/v1/pods?")
            assert answer["query"] == [list(pair) for pair in GET.query]
            assert answer["headers"]["accept-encoding"] == "identity"
            assert "authorization" not in answer["headers"]
            assert "content-type" not in answer["headers"]
            odd = HttpRequest("PUT", "/x/system:node äö", body=b"\x00\xff", content_type="a/b", timeout=HANGS)
            answer = json.loads((await transport.request(replace(odd, body=b"hi"))).body)
            assert answer["path"] == "/prefix/x/system:node%20%C3%A4%C3%B6"
            assert (answer["body"], answer["headers"]["content-type"]) == ("hi", "a/b")

    async def test_refusals_are_values(self) -> None:
        access_headers = [("X-Status", "503")]
        async with (
            serving(echo) as url,
            transport_to(ClusterAccess(url, headers=access_headers)) as transport,
        ):
            assert (await transport.request(GET)).status == 503
            async with transport.stream(GET) as stream:
                assert stream.status == 503
                assert b"labelSelector" in await stream.read()

    async def test_a_redirect_is_not_followed(self) -> None:
        async def elsewhere(_: web.Request) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})

        async with serving(elsewhere) as url, transport_to(ClusterAccess(url)) as transport:
            assert (await transport.request(GET)).status == 302

    async def test_connections_are_reused(self) -> None:
        peers: set[bytes] = set()

        async def peer(request: web.Request) -> web.Response:
            assert request.transport is not None
            peers.add(str(request.transport.get_extra_info("peername")).encode())
            return web.Response(text="x" * 300_000)

        async with serving(peer) as url, transport_to(ClusterAccess(url)) as transport:
            for _ in range(5):
                await transport.request(GET)
            assert len(peers) == 1
            await asyncio.gather(*(transport.request(GET) for _ in range(5)))
            assert len(peers) <= 5

    async def test_the_environment_does_not_choose_a_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        async with serving(echo) as url, transport_to(ClusterAccess(url)) as transport:
            assert (await transport.request(GET)).status == 200

    async def test_a_proxy_from_the_kubeconfig_is_used(self) -> None:
        asked: list[tuple[str, str | None]] = []

        async def proxy(request: web.Request) -> web.Response:
            asked.append((str(request.url), request.headers.get("Proxy-Authorization")))
            return web.Response(text="proxied")

        async with serving(proxy) as url:
            with_user = url.replace("http://", "http://me:secret@")
            access = ClusterAccess("http://cluster.example:6443", proxy=with_user)
            async with transport_to(access) as transport:
                assert (await transport.request(GET)).body == b"proxied"
        assert asked[0][0].startswith("http://cluster.example:6443/api/v1/pods")
        assert asked[0][1] == "Basic bWU6c2VjcmV0"
        assert "secret" not in repr(access)

    async def test_closed_is_closed(self) -> None:
        transport = HttpTransport(ClusterAccess("http://127.0.0.1:1"))
        await transport.close()
        with pytest.raises(TransportError, match="closed"):
            await transport.request(GET)


class TestCredentials:
    async def test_a_rejected_token_is_renewed_once(self) -> None:
        tokens: list[str | None] = []

        async def picky(request: web.Request) -> web.Response:
            tokens.append(request.headers.get("Authorization"))
            return web.Response(status=200 if tokens[-1] == "Bearer new" else 401)

        credentials = Renewing("old", "new")
        async with (
            serving(picky) as url,
            transport_to(ClusterAccess(url, credentials=credentials)) as transport,
        ):
            assert (await transport.request(GET)).status == 200
            assert tokens == ["Bearer old", "Bearer new"]
            assert (await transport.request(GET)).status == 200
            assert credentials.renewals == 1

    async def test_a_stream_renews_as_well(self) -> None:
        async def picky(request: web.Request) -> web.Response:
            good = request.headers.get("Authorization") == "Bearer new"
            return web.Response(status=200 if good else 401, text="events")

        access = ClusterAccess("", credentials=Renewing("old", "new"))
        async with (
            serving(picky) as url,
            transport_to(replace(access, server=url)) as transport,
            transport.stream(GET) as stream,
        ):
            assert [chunk async for chunk in stream.chunks()] == [b"events"]

    async def test_a_401_that_renewal_does_not_cure_is_the_answer(self) -> None:
        requests = 0

        async def never(_: web.Request) -> web.Response:
            nonlocal requests
            requests += 1
            return web.Response(status=401)

        async with serving(never) as url:
            async with transport_to(ClusterAccess(url, credentials=Renewing("a", "b"))) as transport:
                assert (await transport.request(GET)).status == 401
            assert requests == 2
            async with transport_to(
                ClusterAccess(url, credentials=StaticCredentials(bearer("a")))
            ) as transport:
                assert (await transport.request(GET)).status == 401
            assert requests == 3

    @pytest.mark.parametrize("token", ["a\r\nX-Remote-User: root", "a\nb", "a\0"])
    async def test_a_token_that_would_be_more_than_one_header_is_not_sent(self, token: str) -> None:
        async with serving(echo) as url:
            access = ClusterAccess(url, credentials=StaticCredentials(bearer(token)))
            for way in (access, replace(access, proxy=url)):
                async with transport_to(way) as transport:
                    with pytest.raises(TransportError, match="line break") as caught:
                        await transport.request(GET)
                assert token not in str(caught.value)

    async def test_no_credential_is_no_answer(self) -> None:
        class Broken(Renewing):
            async def current(self) -> Credential:
                raise ConfigError("exec: plugin ended with 1")

        async with transport_to(ClusterAccess("http://127.0.0.1:1", credentials=Broken("x"))) as transport:
            with pytest.raises(TransportError, match="plugin ended with 1"):
                await transport.request(GET)


class TestTls:
    async def test_a_scheme_in_capitals_is_the_same_scheme(self, tmp_path: Path) -> None:
        """Else the token would go over the wire for everybody to read."""
        authority = Authority()
        async with serving(echo, authority.server_context(tmp_path)) as url:
            shouted = ClusterAccess(url.replace("https", "HTTPS"), tls=TlsSettings(ca_data=authority.pem))
            async with transport_to(shouted) as transport:
                assert (await transport.request(GET)).status == 200

    @pytest.mark.parametrize("note", ["# Autorität\n".encode(), b"\xef\xbb\xbf", b"# latin \xe9\n"])
    async def test_an_authority_may_be_commented_in_any_language(self, tmp_path: Path, note: bytes) -> None:
        authority = Authority()
        async with serving(echo, authority.server_context(tmp_path)) as url:
            tls = TlsSettings(ca_data=note + authority.pem)
            async with transport_to(ClusterAccess(url, tls=tls)) as transport:
                assert (await transport.request(GET)).status == 200

    async def test_no_place_for_a_client_certificate_is_no_answer(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
        authority = Authority()
        pair = authority.issue("me")
        tls = TlsSettings(ca_data=authority.pem, cert_data=pair.certificate, key_data=pair.key)
        async with transport_to(ClusterAccess("https://127.0.0.1:1", tls=tls)) as transport:
            with pytest.raises(TransportError, match="cannot write a temporary file"):
                await transport.request(GET)

    async def test_the_cluster_s_authority_is_trusted_and_no_other(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        authority = Authority()
        async with serving(echo, authority.server_context(tmp_path)) as url:
            access = ClusterAccess(url, tls=TlsSettings(ca_data=authority.pem))
            async with transport_to(access) as transport:
                assert (await transport.request(GET)).status == 200
            for tls in (TlsSettings(), TlsSettings(ca_data=Authority().pem)):
                async with transport_to(ClusterAccess(url, tls=tls)) as transport:
                    with pytest.raises(TransportError, match=r"(?i)certificate"):
                        await transport.request(GET)
            assert "not verified" not in caplog.text
            async with transport_to(ClusterAccess(url, tls=TlsSettings(insecure=True))) as transport:
                assert (await transport.request(GET)).status == 200
            assert "the API server's certificate is not verified" in caplog.text

    async def test_the_name_is_checked_against_the_one_configured(self, tmp_path: Path) -> None:
        authority = Authority()
        context = authority.server_context(tmp_path, dns="api.internal")
        async with serving(echo, context) as url:
            right = TlsSettings(ca_data=authority.pem, server_name="api.internal")
            async with transport_to(ClusterAccess(url, tls=right)) as transport:
                assert (await transport.request(GET)).status == 200
            async with transport_to(ClusterAccess(url, tls=TlsSettings(ca_data=authority.pem))) as transport:
                with pytest.raises(TransportError):
                    await transport.request(GET)

    async def test_a_client_certificate_from_data_from_files_and_from_a_plugin(self, tmp_path: Path) -> None:
        authority = Authority()
        pair = authority.issue("me")
        certificate, key = pair.write(tmp_path, "me")
        trust = TlsSettings(ca_data=authority.pem)
        plugin = StaticCredentials(Credential(None, pair.certificate, pair.key))
        async with serving(echo, authority.server_context(tmp_path, clients=True)) as url:
            for access in (
                ClusterAccess(url, tls=replace(trust, cert_data=pair.certificate, key_data=pair.key)),
                ClusterAccess(url, tls=replace(trust, cert_file=certificate, key_file=key)),
                ClusterAccess(url, tls=trust, credentials=plugin),
            ):
                async with transport_to(access) as transport:
                    assert (await transport.request(GET)).status == 200
                assert "PRIVATE KEY" not in repr(access)
            async with transport_to(ClusterAccess(url, tls=trust)) as transport:
                with pytest.raises(TransportError):
                    await transport.request(GET)

    async def test_a_rotated_authority_is_taken_up(self, tmp_path: Path) -> None:
        clock = SteppedClock()
        old, new = Authority("old"), Authority("new")
        file = tmp_path / "ca.crt"
        file.write_bytes(old.pem)
        async with (
            serving(echo, old.server_context(tmp_path / "old")) as before,
            serving(echo, new.server_context(tmp_path / "new")) as after,
        ):
            access = ClusterAccess(before, tls=TlsSettings(ca_file=file))
            transport = HttpTransport(access, clock=clock)
            assert (await transport.request(GET)).status == 200
            # The server moves on to a certificate of the new authority, at the same address.
            transport._access = replace(access, server=after)
            with pytest.raises(TransportError):
                await transport.request(GET)
            file.write_bytes(new.pem)
            clock.now += 11
            assert (await transport.request(GET)).status == 200
            await transport.close()

    @pytest.mark.parametrize("content", [b"", b"no certificate", b"\xff\xfe"])
    async def test_an_unusable_authority_is_named(self, tmp_path: Path, content: bytes) -> None:
        file = tmp_path / "ca.crt"
        file.write_bytes(content)
        access = ClusterAccess("https://127.0.0.1:1", tls=TlsSettings(ca_file=file))
        async with transport_to(access) as transport:
            with pytest.raises(TransportError, match=r"ca\.crt"):
                await transport.request(GET)

    async def test_a_key_that_does_not_match_says_so_without_showing_it(self) -> None:
        authority = Authority()
        tls = TlsSettings(
            ca_data=authority.pem,
            cert_data=authority.issue("a").certificate,
            key_data=authority.issue("b").key,
        )
        async with transport_to(ClusterAccess("https://127.0.0.1:1", tls=tls)) as transport:
            with pytest.raises(TransportError, match="do not match") as caught:
                await transport.request(GET)
        assert "PRIVATE" not in str(caught.value)


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
