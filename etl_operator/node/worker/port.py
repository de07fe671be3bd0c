"""The gRPC port of a node: without TLS, with it, or, for a time, as each client likes.

gRPC listens either with TLS or without. Where clients may do both, this process accepts their connections
itself, looks at the first byte, and passes everything on to one of two Unix sockets of the same server.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

import grpc.aio

from etl_operator.node.limits import callers, raise_open_files
from etl_operator.node.settings import Node, Settings
from etl_operator.tls.credentials import server_credentials
from etl_operator.tls.files import TlsFiles
from etl_operator.tls.peers import HANDSHAKE
from etl_operator.tls.relay import CHUNK, OwnSocket, relay
from informers.listener import Listener

log = logging.getLogger(__name__)

_BACKLOG = 128


class Port:
    """One port of one server.

    :param listen: ``IP:PORT``.
    :param shared: other processes listen on it as well, and each gets some of the connections.
    """

    def __init__(self, listen: str, settings: Settings, *, shared: bool = False) -> None:
        self._listen = listen
        self._settings = settings
        self._shared = shared
        self._entrance: _Entrance | None = None

    def check(self) -> None:
        """Look at the files, without a port.

        :raises TlsError: a file cannot be used.
        """
        self._credentials()

    def _credentials(self) -> grpc.ServerCredentials | None:
        node = self._settings.node
        files = tls_files(node)
        return server_credentials(files, require=node.tls_client_auth == "require") if files else None

    async def open(self, server: grpc.aio.Server) -> None:
        """Add the port to a server that has not started.

        :raises TlsError: a file cannot be used.
        :raises RuntimeError: the port cannot be bound, as is an OSError.
        """
        credentials = self._credentials()
        if credentials is None:
            server.add_insecure_port(self._listen)
            return
        if self._settings.node.tls_plaintext == "deny":
            server.add_secure_port(self._listen, credentials)
            return
        plain, encrypted = OwnSocket("plain"), OwnSocket("tls")
        server.add_insecure_port(plain.target)
        server.add_secure_port(encrypted.target, credentials)
        self._entrance = _Entrance(self._listen, plain, encrypted, shared=self._shared)

    async def close(self) -> None:
        """Close it. The server has been stopped before."""
        if self._entrance is not None:
            await self._entrance.close()


def tls_files(node: Node) -> TlsFiles | None:
    """The files of the gRPC port, or None without TLS."""
    if not node.tls_cert:
        return None
    return TlsFiles(Path(node.tls_cert), Path(node.tls_key), Path(node.tls_ca) if node.tls_ca else None)


class _Entrance:
    """Accepts connections and passes them on.

    :raises OSError: the address cannot be bound.
    """

    def __init__(self, listen: str, plain: OwnSocket, encrypted: OwnSocket, *, shared: bool) -> None:
        self._plain = plain
        self._encrypted = encrypted
        host, _, port = listen.rpartition(":")
        host = host.strip("[]")
        listening = socket.create_server(
            (host, int(port)),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=_BACKLOG,
            reuse_port=shared,
        )
        # Each connection costs three files: its own, and both ends of the one inside.
        limit = max(callers(raise_open_files()) // 3, 1)
        self._listener = Listener(listening, self._protocol, what="gRPC", limit=limit)
        self._running = asyncio.create_task(self._listener.run(), name="listener for gRPC")
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Close every connection."""
        self._running.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(self._running, *self._tasks, return_exceptions=True)
        for inside in (self._plain, self._encrypted):
            inside.remove()

    def _protocol(self) -> asyncio.BaseProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(limit=CHUNK), self._accept)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.read(CHUNK)
            inside = self._encrypted if first.startswith(HANDSHAKE) else self._plain
            ours = await asyncio.open_unix_connection(inside.path, limit=CHUNK) if first else None
        except OSError as error:
            log.debug("a connection ended before it was passed on: %s", error)
            ours = None
        if ours is None:
            writer.transport.abort()
            return
        ours[1].write(first)
        with self._listener.connections.answering(writer.transport):
            await relay((reader, writer), ours)
