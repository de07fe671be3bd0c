"""Client certificates, authorities and tokens that change on disk are taken up by a transport that runs."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from cryptography import x509

from informers.client import Client, HttpTransport, load_kubeconfig
from informers.errors import TransportError
from informers.objects import ObjectKey, Resource
from tests.informers.manager.pairs import pair, write_pair

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")


class Ticking:
    """A clock that is a minute later at every look."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 60.0
        return self.now

    def time(self) -> float:
        return 1_800_000_000.0 + self.now


class Callers:
    """A server that asks for a certificate, and remembers who came with which token."""

    def __init__(self, directory: Path) -> None:
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.seen: list[tuple[int, str]] = []
        self.url = ""

    def trust(self, certificate: bytes) -> None:
        self.context.load_verify_locations(cadata=certificate.decode())

    async def answer(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        shown = request.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        serial = x509.load_der_x509_certificate(shown).serial_number
        self.seen.append((serial, request.headers.get("Authorization", "")))
        # Each request on a connection of its own, so that each one shows a certificate.
        return web.json_response({"metadata": {"name": "a"}}, headers={"Connection": "close"})

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.context)
        await site.start()
        self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()


def serial(certificate: bytes) -> int:
    return x509.load_pem_x509_certificate(certificate).serial_number


def kubeconfig(directory: Path, url: str, authority: bytes) -> Path:
    """All by file: the authority, the pair, the token."""
    (directory / "ca.crt").write_bytes(authority)
    (directory / "token").write_text("one", encoding="ascii")
    config: dict[str, Any] = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": url, "certificate-authority": "ca.crt"}}],
        "users": [
            {
                "name": "x",
                "user": {
                    "client-certificate": "client/tls.crt",
                    "client-key": "client/tls.key",
                    "tokenFile": "token",
                },
            }
        ],
    }
    path = directory / "kubeconfig"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


async def test_a_new_pair_and_a_new_token_are_shown_without_a_restart(tmp_path: Path) -> None:
    server_directory, client_directory = tmp_path / "server", tmp_path / "client"
    server_directory.mkdir()
    client_directory.mkdir()
    authority, first = write_pair(server_directory), write_pair(client_directory)
    callers = Callers(server_directory)
    callers.trust(first)
    async with callers.serving():
        clock = Ticking()
        access = load_kubeconfig(str(kubeconfig(tmp_path, callers.url, authority)), clock=clock)
        client = Client(HttpTransport(access, clock=clock))
        try:
            await client.get(CONFIG_MAP, ObjectKey("default", "a"))
            assert callers.seen == [(serial(first), "Bearer one")]
            second, key = pair()
            callers.trust(second)
            (client_directory / "tls.crt").write_bytes(second)
            (tmp_path / "token").write_text("two", encoding="ascii")
            await client.get(CONFIG_MAP, ObjectKey("default", "a"))
            assert callers.seen[-1] == (serial(first), "Bearer two"), "half a pair is not used"
            (client_directory / "tls.key").write_bytes(key)
            await client.get(CONFIG_MAP, ObjectKey("default", "a"))
            assert callers.seen[-1] == (serial(second), "Bearer two")
            (tmp_path / "ca.crt").write_bytes(pair()[0])
            with pytest.raises(TransportError, match="certificate verify failed"):
                await client.get(CONFIG_MAP, ObjectKey("default", "a"))
            (tmp_path / "ca.crt").write_bytes(authority)
            await client.get(CONFIG_MAP, ObjectKey("default", "a"))
            assert len(callers.seen) == 4
        finally:
            await client.close()
            # The transports of TLS connections close a moment after their session.
            await asyncio.sleep(0.05)
