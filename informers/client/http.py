"""The pooled HTTP transport.

It follows no redirect, asks no environment variable for a proxy, and never compresses: the API server is
near, and unpacking costs more than it saves.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit, urlunsplit

import aiohttp
from yarl import URL

from informers.client.auth import Credential, basic
from informers.client.kubeconfig import ClusterAccess
from informers.client.requests import APPLY_PATCH
from informers.client.tls import TlsContexts
from informers.client.transport import HttpRequest, HttpResponse, HttpStream
from informers.clock import Clock, SystemClock
from informers.errors import ConfigError, TransportError

CONNECT_TIMEOUT = 10.0
"""Seconds for TCP connect and TLS handshake."""
KEEP_ALIVE = 60.0
"""Seconds an idle connection is kept; API servers keep theirs longer, so reuse seldom meets a closed one."""
USER_AGENT = "informers"

_SAFE = "/:@!$&'()*+,;=~"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]*").fullmatch
_escaped = functools.lru_cache(1024)(quote_plus)
"""Parameters are few and repeat, but for continuation tokens."""
_READ_BUFFER = 2**18
_BROKEN = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


class HttpTransport:
    """A :class:`informers.client.transport.Transport` over HTTP/1.1 with kept-alive connections.

    A 401 is answered once with a renewed credential. Connections open on first use, within the running
    loop.

    :param user_agent: tells the server's log who we are.
    """

    def __init__(
        self, access: ClusterAccess, *, clock: Clock | None = None, user_agent: str = USER_AGENT
    ) -> None:
        self._access = access
        self._clock = clock or SystemClock()
        self._headers = [("User-Agent", user_agent), ("Accept-Encoding", "identity"), *access.headers]
        self._tls = TlsContexts(access.tls) if access.server.startswith("https") else None
        self._proxy, self._proxy_headers = _split_proxy(access.proxy)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self.host = URL(access.server).authority
        """Where requests go, as metrics label them."""

    async def request(self, request: HttpRequest) -> HttpResponse:
        """Send and read the whole answer.

        :raises TransportError: when there is none.
        """
        answer = await self._authenticated(request, _whole(request.timeout))
        try:
            return HttpResponse(answer.status, await _guarded(request, answer.read()), _lower(answer.headers))
        finally:
            # Right in every case: a response that was read completely has let go of its connection already.
            answer.close()

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpStream]:
        """Send and hand out the body as it comes; ``request.timeout`` bounds every single wait for bytes.

        :raises TransportError: when there is no answer.
        """
        return self._stream(request)

    async def close(self) -> None:
        """Close pooled connections. What still runs fails with ``TransportError``."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncIterator[HttpStream]:
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=request.timeout)
        answer = await self._authenticated(request, limits)
        try:
            yield _Stream(request, answer)
        finally:
            answer.close()

    async def _authenticated(
        self, request: HttpRequest, limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        credential = await self._credential(None)
        answer = await self._send(request, limits, credential)
        if answer.status != 401:
            return answer
        try:
            renewed = await self._credential(credential)
        except BaseException:
            answer.close()
            raise
        if renewed == credential:
            return answer
        answer.close()
        return await self._send(request, limits, renewed)

    async def _credential(self, rejected: Credential | None) -> Credential:
        source = self._access.credentials
        try:
            return await (source.current() if rejected is None else source.renewed(rejected))
        except ConfigError as error:
            raise TransportError(f"no credential: {error}") from error

    async def _send(
        self, request: HttpRequest, limits: aiohttp.ClientTimeout, credential: Credential
    ) -> aiohttp.ClientResponse:
        arguments: dict[str, Any] = {}
        if self._tls is not None:
            try:
                arguments["ssl"] = self._tls.context(credential, self._clock.monotonic())
            except ConfigError as error:
                raise TransportError(str(error)) from error
            if self._access.tls.server_name:
                arguments["server_hostname"] = self._access.tls.server_name
        url = self._url(request)
        headers = [*self._headers, ("Accept", request.accept)]
        if request.body is not None:
            headers.append(("Content-Type", request.content_type))
        if credential.authorization is not None:
            headers.append(("Authorization", credential.authorization))

        def send() -> Any:
            return self._opened().request(
                request.method,
                url,
                data=request.body,
                headers=headers,
                timeout=limits,
                allow_redirects=False,
                proxy=self._proxy,
                proxy_headers=self._proxy_headers,
                **arguments,
            )

        try:
            try:
                answer: aiohttp.ClientResponse = await send()
            except aiohttp.ServerDisconnectedError:
                if request.content_type != APPLY_PATCH:
                    raise
                # A kept-alive connection the server had closed. aiohttp itself repeats what HTTP calls
                # idempotent; an apply is as well, though its method does not say so.
                answer = await send()
        except _BROKEN as error:
            raise _no_answer(request, error) from error
        return answer

    def _url(self, request: HttpRequest) -> URL:
        # Put together from its parts: to have one parsed takes as long as all the rest of this.
        path = request.path if _PLAIN_PATH(request.path) else quote(request.path, safe=_SAFE)
        scheme, authority, prefix = _parts(self._access.server)
        return URL.build(
            scheme=scheme,
            authority=authority,
            path=prefix + path,
            query_string="&".join([f"{_escaped(name)}={_escaped(value)}" for name, value in request.query]),
            encoded=True,
        )

    def _opened(self) -> aiohttp.ClientSession:
        if self._closed:
            raise TransportError("the transport is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # Unlimited: every watch holds a connection for minutes and must not starve the rest, whose
                # number the workers bound.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                read_bufsize=_READ_BUFFER,
            )
        return self._session


class _Stream:
    def __init__(self, request: HttpRequest, answer: aiohttp.ClientResponse) -> None:
        self._request = request
        self._answer = answer
        self.status = answer.status
        self.headers: Mapping[str, str] = _lower(answer.headers)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Body bytes as they come.

        :raises TransportError: when the connection breaks or stays silent too long.
        """
        content = self._answer.content
        while chunk := await _guarded(self._request, content.readany()):
            yield chunk

    async def read(self) -> bytes:
        """The rest of the body."""
        return await _guarded(self._request, self._answer.read())


async def _guarded(request: HttpRequest, reading: Any) -> bytes:
    try:
        content: bytes = await reading
    except _BROKEN as error:
        raise _no_answer(request, error) from error
    return content


def _no_answer(request: HttpRequest, error: BaseException) -> TransportError:
    where = ""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError):
        where = f"cannot connect to {error.host}:{error.port}: "
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            error = error.certificate_error
        else:
            error = error.os_error
    kind = type(error).__name__
    reason = f"{kind}: {error}" if str(error) else kind
    return TransportError(f"{request.method} {request.path}: {where}{reason}")


@functools.lru_cache(16)
def _parts(server: str) -> tuple[str, str, str]:
    """Scheme, authority and path prefix of a server."""
    url = URL(server, encoded=True)
    return url.scheme, url.raw_authority, url.raw_path.rstrip("/")


@functools.lru_cache(16)
def _whole(seconds: float | None) -> aiohttp.ClientTimeout:
    """Limits of an ordinary exchange; there are only a few different ones."""
    return aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_TIMEOUT)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _split_proxy(proxy: str | None) -> tuple[str | None, dict[str, str] | None]:
    """A proxy's URL without the password in it, which errors would quote, and the header instead."""
    if proxy is None:
        return None, None
    parts = urlsplit(proxy)
    if parts.username is None:
        return proxy, None
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    credential = basic(unquote(parts.username), unquote(parts.password or ""))
    # aiohttp turns it into Proxy-Authorization, for tunnels and plain requests alike.
    return bare, {"Authorization": str(credential.authorization)}
