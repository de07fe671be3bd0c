"""Nothing a token passes through tells it: no line of the log, no error, no representation."""

from __future__ import annotations

import logging

import pytest
from aiohttp import web

from informers.client import ClusterAccess, HttpRequest, HttpTransport
from informers.client.auth import StaticCredentials, bearer
from informers.errors import TransportError
from tests.hanging import HANGS
from tests.informers.client.serving import serving

TOKEN = "eyJhbGciOi.a-token-nobody-may-see.c2ln"
GET = HttpRequest("GET", "/api/v1/pods", timeout=HANGS)


@pytest.mark.parametrize("status", [200, 401, 403, 500])
async def test_no_answer_makes_a_request_tell_its_token(
    status: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    shown: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        shown.append(request.headers.get("Authorization"))
        return web.Response(status=status)

    caplog.set_level(logging.DEBUG)
    async with serving(answer) as url:
        access = ClusterAccess(url, credentials=StaticCredentials(bearer(TOKEN)))
        transport = HttpTransport(access)
        assert (await transport.request(GET)).status == status
        await transport.close()
    assert set(shown) == {f"Bearer {TOKEN}"}
    written = "".join(capfd.readouterr())
    for told in (caplog.text, written, repr(access), repr(transport), repr(bearer(TOKEN))):
        assert TOKEN not in told


async def test_an_error_does_not_tell_it_either(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    access = ClusterAccess("http://127.0.0.1:1", credentials=StaticCredentials(bearer(TOKEN)))
    transport = HttpTransport(access)
    with pytest.raises(TransportError) as caught:
        await transport.request(GET)
    await transport.close()
    logging.getLogger("test").error("as the controller logs it", exc_info=caught.value)
    assert TOKEN not in caplog.text
    assert "as the controller logs it" in caplog.text
