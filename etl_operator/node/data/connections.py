"""Connections to services: one for each address and way of securing it, made again when its files change."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio

from etl_operator.node.data.view import Service
from etl_operator.tls.credentials import ChannelTls, channel_tls
from etl_operator.tls.files import TlsError, TlsFiles, context_of
from etl_operator.tls.relay import CHUNK, OwnSocket, relay
from informers.listener import Listener

log = logging.getLogger(__name__)

CA_LABEL = "etl.router/tls.ca-secret"
"""Label of a registration: the Secret whose ``ca.crt`` signs the service's certificate."""
CLIENT_LABEL = "etl.router/tls.client-secret"
"""Label of a registration: the Secret with the ``tls.crt`` and ``tls.key`` that the router presents."""
UNVERIFIED_LABEL = "etl.router/tls.insecure-skip-verify"
"""Label of a registration: ``true``: the service's certificate is not verified."""

LOOK_EVERY = 10.0
"""Seconds between two looks at the files of a connection."""

_PROXY = "grpc_proxy"
"""Environment variable with the URL of a proxy for gRPC."""
_OVERHEAD = 64 * 1024
"""Bytes of a call beside its records."""
_SECRET = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a service is and how it is called."""

    host: str
    port: int
    use_tls: bool = False
    ca_secret: str = ""
    client_secret: str = ""
    unverified: bool = False

    @classmethod
    def of(cls, service: Service) -> Place:
        """That of a service."""
        labels: Mapping[str, str] = service.labels if service.use_tls else {}
        return cls(
            service.host,
            service.port,
            service.use_tls,
            labels.get(CA_LABEL, ""),
            labels.get(CLIENT_LABEL, ""),
            labels.get(UNVERIFIED_LABEL) == "true",
        )

    def files(self, directory: str) -> dict[str, Path]:
        """The files of its Secrets: ``ca.crt``, ``tls.crt``, ``tls.key``, as far as they are named.

        :raises TlsError: a name is none of a Secret, or this node has no directory for them.
        """
        found: dict[str, Path] = {}
        named = {"ca.crt": self.ca_secret, "tls.crt": self.client_secret, "tls.key": self.client_secret}
        for key, secret in named.items():
            if not secret:
                continue
            if not directory or not _SECRET.fullmatch(secret):
                raise TlsError(f"Secret {secret} is not mounted in this router")
            found[key] = Path(directory, secret, key)
        return found


@dataclass(slots=True)
class _Open:
    channel: grpc.aio.Channel
    stamps: object
    looked: float
    bridge: _Bridge | None = None

    async def close(self, grace: float) -> None:
        await self.channel.close(grace)
        if self.bridge is not None:
            await self.bridge.close()


class Connections:
    """Channels to services.

    :param directory: with one directory for each Secret; empty for none.
    :param message_bytes: largest message, both ways, beside what a call adds.
    :param grace: seconds that calls under way have when a channel is closed.
    """

    def __init__(
        self,
        directory: str,
        message_bytes: int,
        grace: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._message_bytes = message_bytes
        self._grace = grace
        self._monotonic = monotonic
        self._open: dict[Place, _Open] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def to(self, place: Place) -> grpc.aio.Channel:
        """The channel of a place.

        :raises TlsError: its certificates cannot be used.
        """
        known = self._open.get(place)
        if known is None or self._outdated(place, known):
            if known is not None:
                self._close(self._open.pop(place))
            known = self._open[place] = self._make(place)
        return known.channel

    def keep(self, places: Iterable[Place]) -> None:
        """Close the channels of all other places."""
        for place in self._open.keys() - set(places):
            self._close(self._open.pop(place))

    async def close(self) -> None:
        """Close all of them."""
        self.keep(())
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _close(self, opened: _Open) -> None:
        # Calls under way have their time to end.
        task = asyncio.get_running_loop().create_task(opened.close(self._grace))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _outdated(self, place: Place, known: _Open) -> bool:
        if not known.stamps or self._monotonic() - known.looked < LOOK_EVERY:
            return False
        known.looked = self._monotonic()
        try:
            changed = _stamps(place.files(self._directory)) != known.stamps
            if changed:
                # Half a rotation must not end what works.
                self._secured(place)
        except TlsError as error:
            log.debug("certificates for %s:%d: %s", place.host, place.port, error)
            return False
        return changed

    def _make(self, place: Place) -> _Open:
        host = f"[{place.host}]" if ":" in place.host else place.host
        target = f"{host}:{place.port}"
        if not place.use_tls:
            channel = grpc.aio.insecure_channel(target, options=self._options())
            return _Open(channel, None, self._monotonic())
        files = place.files(self._directory)
        stamps = _stamps(files)
        secured = self._secured(place)
        if place.unverified:
            bridge = _Bridge(place, files)
            options = [*self._options(), ("grpc.default_authority", target)]
            channel = grpc.aio.insecure_channel(bridge.target, options=options)
            return _Open(channel, stamps, self._monotonic(), bridge)
        channel = grpc.aio.secure_channel(target, secured.credentials(), options=self._options())
        return _Open(channel, stamps, self._monotonic())

    def _secured(self, place: Place) -> ChannelTls:
        files = place.files(self._directory)
        try:
            return channel_tls(files.get("ca.crt"), files.get("tls.crt"), files.get("tls.key"))
        except TlsError as error:
            # The path is this node's affair; people know the Secret.
            text = str(error)
            for key, path in files.items():
                text = text.replace(str(path), f"{key} of Secret {path.parent.name}")
            raise TlsError(text) from None

    def _options(self) -> Sequence[tuple[str, Any]]:
        return [
            ("grpc.max_send_message_length", self._message_bytes + _OVERHEAD),
            ("grpc.max_receive_message_length", self._message_bytes + _OVERHEAD),
            # A proxy for web pages is not for records; one that is meant for gRPC is honoured.
            ("grpc.enable_http_proxy", int(bool(os.environ.get(_PROXY)))),
            ("grpc.max_reconnect_backoff_ms", 1000),
            # No keepalive: a call has a deadline, and servers cut off whom they find to ping too often.
        ]


def _stamps(files: Mapping[str, Path]) -> tuple[object, ...]:
    found: list[object] = []
    for path in files.values():
        with contextlib.suppress(OSError):
            stat = path.stat()
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)


class _Bridge:
    """Calls a service over TLS without verifying its certificate, which gRPC itself does not offer.

    The channel connects to a Unix socket of this process, and everything is passed on to the service.
    """

    def __init__(self, place: Place, files: Mapping[str, Path]) -> None:
        self._place = place
        self._context = _unverifying(files)
        self._inside = OwnSocket("service")
        self.target = self._inside.target
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self._inside.path)
        listening.listen()
        self._listener = Listener(listening, self._protocol, what=f"{place.host}:{place.port}")
        loop = asyncio.get_running_loop()
        self._running = loop.create_task(self._listener.run())
        self._tasks: set[asyncio.Task[None]] = set()
        log.warning(
            "calls to %s:%d do not verify its certificate: insecureSkipVerify is set", place.host, place.port
        )

    async def close(self) -> None:
        self._running.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(self._running, *self._tasks, return_exceptions=True)
        self._inside.remove()

    def _protocol(self) -> asyncio.BaseProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(limit=CHUNK), self._accept)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = self._place
        with self._listener.connections.answering(writer.transport):
            try:
                theirs = await asyncio.open_connection(
                    place.host, place.port, ssl=self._context, server_hostname=place.host, limit=CHUNK
                )
                await relay((reader, writer), theirs)
            except OSError as error:
                log.debug("cannot connect to %s:%d: %s", place.host, place.port, error)
            finally:
                writer.transport.abort()


def _unverifying(files: Mapping[str, Path]) -> ssl.SSLContext:
    if "tls.crt" in files:
        context = context_of(TlsFiles(files["tls.crt"], files["tls.key"]), server=False)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context
