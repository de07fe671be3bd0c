"""The pooled HTTP transport: connections of our own to a server that is reached directly, aiohttp's through a
proxy.

It follows no redirect, asks no environment variable for a proxy, and never compresses: the API server is
near, and unpacking costs more than it saves.
"""

from __future__ import annotations

import asyncio
import functools
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol
from urllib.parse import quote, quote_plus, unquote, urlsplit, urlunsplit

import aiohttp
from yarl import URL

from informers.client.auth import Credential, basic
from informers.client.kubeconfig import ClusterAccess
from informers.client.requests import APPLY_PATCH
from informers.client.tls import TlsContexts
from informers.client.transport import HttpRequest, HttpResponse, HttpStream
from informers.client.wire import CONNECT_TIMEOUT, KEEP_ALIVE, CannotConnect, Endpoint, Message, Wire
from informers.clock import Clock, SystemClock
from informers.errors import ConfigError, TransportError, Unreachable

USER_AGENT = "informers"

_SAFE = "/:@!$&'()*+,;=~"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]*").fullmatch
_escaped = functools.lru_cache(1024)(quote_plus)
"""Parameters are few and repeat, but for continuation tokens."""
_READ_BUFFER = 2**18
_BROKEN = (aiohttp.ClientError, OSError, asyncio.TimeoutError)
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))


class _Answer(Protocol):
    """The answer of either kind of connection, its head read."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    async def readany(self) -> bytes:
        """Some of the body; b"" at its end."""
        ...

    async def read(self) -> bytes:
        """The rest of the body."""
        ...

    def close(self) -> None:
        """Let go of the connection; end it, unless the answer was read completely."""
        ...


class _Proxied:
    """An answer of aiohttp."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.headers.items()}

    async def readany(self) -> bytes:
        return await self._answer.content.readany()

    async def read(self) -> bytes:
        return await self._answer.read()

    def close(self) -> None:
        self._answer.close()


class HttpTransport:
    """A :class:`informers.client.transport.Transport` over HTTP/1.1 with kept-alive connections.

    A 401 is answered once with a renewed credential. Connections open on first use, within the running
    loop.

    :param user_agent: identifies this client in the server's log.
    """

    def __init__(
        self, access: ClusterAccess, *, clock: Clock | None = None, user_agent: str = USER_AGENT
    ) -> None:
        self._access = access
        self._clock = clock or SystemClock()
        self._headers = [("User-Agent", user_agent), ("Accept-Encoding", "identity"), *access.headers]
        self._tls = TlsContexts(access.tls) if _parts(access.server)[0] == "https" else None
        self._proxy, self._proxy_headers = _split_proxy(access.proxy)
        self._session: aiohttp.ClientSession | None = None
        self._wire = Wire()
        self._closed = False
        self.host = URL(access.server).authority
        """Where requests go, as metrics label them."""

    async def request(self, request: HttpRequest) -> HttpResponse:
        """Send and read the whole answer.

        :raises TransportError: when there is none.
        """
        answer = await self._authenticated(request, streaming=False)
        try:
            return HttpResponse(answer.status, await answer.read(), answer.headers)
        except _BROKEN as error:
            raise _no_answer(request, error) from error
        finally:
            # Right in every case: a response that was read completely lets go of its connection only.
            answer.close()

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpStream]:
        """Send and hand out the body as it comes; ``request.timeout`` bounds every single wait for bytes.

        :raises TransportError: when there is no answer.
        """
        return self._stream(request)

    async def close(self) -> None:
        """Close pooled connections. What still runs fails with ``TransportError``."""
        self._closed = True
        await self._wire.close()
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncIterator[HttpStream]:
        answer = await self._authenticated(request, streaming=True)
        try:
            yield _Stream(request, answer)
        finally:
            answer.close()

    async def _authenticated(self, request: HttpRequest, *, streaming: bool) -> _Answer:
        credential = await self._credential(None)
        answer = await self._send(request, credential, streaming)
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
        return await self._send(request, renewed, streaming)

    async def _credential(self, rejected: Credential | None) -> Credential:
        source = self._access.credentials
        try:
            return await (source.current() if rejected is None else source.renewed(rejected))
        except ConfigError as error:
            raise TransportError(f"no credential: {error}") from error

    async def _send(self, request: HttpRequest, credential: Credential, streaming: bool) -> _Answer:
        if self._closed:
            raise TransportError("the transport is closed")
        context = None
        if self._tls is not None:
            try:
                context = self._tls.context(credential, self._clock.monotonic())
            except ConfigError as error:
                raise TransportError(str(error)) from error
        headers = [*self._headers, ("Accept", request.accept)]
        if request.body is not None:
            headers.append(("Content-Type", request.content_type))
        if credential.authorization is not None:
            headers.append(("Authorization", credential.authorization))
        origin = _origin(self._access.server)
        if self._proxy is None and origin is not None:
            return await self._direct(request, origin, headers, context, streaming)
        return await self._through_proxy(request, headers, context, streaming)

    async def _direct(
        self,
        request: HttpRequest,
        origin: tuple[str, int],
        headers: list[tuple[str, str]],
        context: ssl.SSLContext | None,
        streaming: bool,
    ) -> _Answer:
        body = request.body
        if body is not None or request.method in _WITH_BODY:
            headers.append(("Content-Length", str(len(body or b""))))
        _, authority, _ = _parts(self._access.server)
        lines = [f"{request.method} {self._target(request)} HTTP/1.1", f"Host: {authority}"]
        lines += [f"{name}: {value}" for name, value in headers]
        head = "\r\n".join(lines)
        if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1 or "\0" in head:
            # Without a word of it: it may be the token.
            raise TransportError(f"{request.method} {request.path}: a header contains a line break")
        message = Message(
            request.method,
            f"{head}\r\n\r\n".encode() + (body or b""),
            request.content_type == APPLY_PATCH,
            *_limits(request, streaming),
            request.fence,
        )
        endpoint = Endpoint(*origin, context, self._access.tls.server_name or origin[0])
        try:
            return await self._wire.send(endpoint, message)
        except _BROKEN as error:
            raise _no_answer(request, error) from error

    async def _through_proxy(
        self,
        request: HttpRequest,
        headers: list[tuple[str, str]],
        context: ssl.SSLContext | None,
        streaming: bool,
    ) -> _Answer:
        arguments: dict[str, Any] = {}
        if context is not None:
            arguments["ssl"] = context
            if self._access.tls.server_name:
                arguments["server_hostname"] = self._access.tls.server_name
        scheme, authority, _ = _parts(self._access.server)
        url = URL(f"{scheme}://{authority}{self._target(request)}", encoded=True)

        def send() -> Any:
            if request.fence is not None:
                request.fence()
            return self._opened().request(
                request.method,
                url,
                data=request.body,
                headers=headers,
                timeout=_timeout(*_limits(request, streaming)),
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
        except ValueError:
            # How aiohttp puts it. Without a word of it, as above.
            raise TransportError(f"{request.method} {request.path}: a header contains a line break") from None
        return _Proxied(answer)

    def _target(self, request: HttpRequest) -> str:
        """Path and query, as they are sent."""
        path = request.path if _PLAIN_PATH(request.path) else quote(request.path, safe=_SAFE)
        target = _parts(self._access.server)[2] + path
        if not request.query:
            return target
        query = "&".join([f"{_escaped(name)}={_escaped(value)}" for name, value in request.query])
        return f"{target}?{query}"

    def _opened(self) -> aiohttp.ClientSession:
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
    def __init__(self, request: HttpRequest, answer: _Answer) -> None:
        self._request = request
        self._answer = answer
        self.status = answer.status
        self.headers = answer.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """Body bytes as they come.

        :raises TransportError: when the connection breaks or stays silent too long.
        """
        readany = self._answer.readany
        while True:
            try:
                chunk = await readany()
            except _BROKEN as error:
                raise _no_answer(self._request, error) from error
            if not chunk:
                return
            yield chunk

    async def read(self) -> bytes:
        """The rest of the body."""
        try:
            return await self._answer.read()
        except _BROKEN as error:
            raise _no_answer(self._request, error) from error


def _no_answer(request: HttpRequest, error: BaseException) -> TransportError:
    where = ""
    if isinstance(error, CannotConnect):
        where, error = f"{error}: ", error.reason
    elif isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError):
        where = f"cannot connect to {error.host}:{error.port}: "
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            error = error.certificate_error
        else:
            error = error.os_error
    kind = type(error).__name__
    reason = f"{kind}: {error}" if str(error) else kind
    found = Unreachable if where else TransportError
    return found(f"{request.method} {request.path}: {where}{reason}")


@functools.lru_cache(16)
def _parts(server: str) -> tuple[str, str, str]:
    """Scheme, authority and path prefix of a server."""
    url = URL(server, encoded=True)
    return url.scheme, url.raw_authority, url.raw_path.rstrip("/")


@functools.lru_cache(16)
def _origin(server: str) -> tuple[str, int] | None:
    """Host and port, where they are all there is to it."""
    url = URL(server)
    if url.scheme not in ("http", "https") or url.raw_user is not None or not url.raw_host or not url.port:
        return None
    return url.raw_host, url.port


def _limits(request: HttpRequest, streaming: bool) -> tuple[float | None, float | None]:
    """Seconds for the whole exchange, and without a byte."""
    return (None, request.timeout) if streaming else (request.timeout, request.silence)


@functools.lru_cache(16)
def _timeout(total: float | None, silence: float | None) -> aiohttp.ClientTimeout:
    """There are only a few different ones."""
    return aiohttp.ClientTimeout(total=total, sock_connect=CONNECT_TIMEOUT, sock_read=silence)


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
