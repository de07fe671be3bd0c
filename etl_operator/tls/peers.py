"""Mutual TLS between the members of a cluster: both ends prove who they are."""

from __future__ import annotations

import asyncio
import socket
import ssl

from etl_operator.tls.files import Reloading, TlsFiles, context_of
from etl_operator.tls.names import is_for, is_member, names_of

HANDSHAKE = b"\x16"
"""First byte of a TLS connection: the record type of a handshake (RFC 8446, 5.1)."""


class PeerTls:
    """Certificates of one member, as contexts for connections.

    :param files: with an authority: only whom it has signed is a member.
    :param name: what the certificates of all members are valid for: ``*.`` and a domain. By default, each is
        to be valid for the host under which it is known.
    :param plaintext: accept connections without TLS as well, and dial without it who does not have it: for
        the time in which members get or lose TLS one by one.
    :raises TlsError: a file cannot be used.
    """

    def __init__(self, files: TlsFiles, *, name: str = "", plaintext: bool = False) -> None:
        self.plaintext = plaintext
        self._name = name
        self._files = files
        self._contexts = Reloading(files.paths, lambda _: self._make())

    def _make(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        server, client = (context_of(self._files, server=server) for server in (True, False))
        client.check_hostname = False  # By `stranger`, as on the other end.
        for context in (server, client):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        return server, client

    @property
    def dialling(self) -> ssl.SSLContext:
        """For a connection to another member."""
        return self._contexts.current()[1]

    async def accepting(self, accepted: socket.socket) -> ssl.SSLContext | None:
        """For a connection that another member has made. None: without TLS."""
        if self.plaintext and await first_byte(accepted) != HANDSHAKE:
            return None
        return self._contexts.current()[0]

    def stranger(self, writer: asyncio.StreamWriter, host: str) -> str:
        """Why the other end of a connection is not the member at ``host``, or ""."""
        certificate = writer.get_extra_info("peercert")
        if not certificate:
            return "" if self.plaintext else "it has no certificate"
        names = names_of(certificate)
        if is_member(names, self._name) if self._name else is_for(names, host):
            return ""
        return (
            f"its certificate is not valid for {self._name or host}, only for {', '.join(names) or 'nobody'}"
        )


async def first_byte(accepted: socket.socket) -> bytes:
    """The first byte that arrives on a connection, which stays in it; nothing at its end.

    :raises OSError: the connection is broken.
    """
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    loop.add_reader(accepted, arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(accepted)
    return accepted.recv(1, socket.MSG_PEEK)
