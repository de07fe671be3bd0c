"""The HTTP transport against real sockets: requests, reuse, proxies and credentials."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from aiohttp import web

from informers.client import ClusterAccess, HttpRequest, HttpTransport
from informers.client.auth import Credential, StaticCredentials, bearer
from informers.errors import ConfigError, TransportError
from tests.hanging import HANGS
from tests.informers.client.sending import GET, Renewing, echo, transport_to
from tests.informers.client.serving import serving


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
