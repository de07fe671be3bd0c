"""A running server and clients of it, for every test that needs a real one."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from etl_operator.sandbox.http.files.kubeconfig import write_kubeconfig
from etl_operator.sandbox.http.server import EmbeddedServer
from informers.client import Client, HttpTransport, load_kubeconfig
from informers.objects import Object, Resource
from tests.hanging import HANGS

T = TypeVar("T")

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
SERVICE_ACCOUNT = Resource("", "v1", "serviceaccounts", "ServiceAccount")
ROLE = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDING = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")


@contextlib.asynccontextmanager
async def serving(state_dir: Path | None = None) -> AsyncIterator[EmbeddedServer]:
    """A server on a free port."""
    server = EmbeddedServer(state_dir=state_dir)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def client_of(server: EmbeddedServer, directory: Path, account: str = "") -> AsyncIterator[Client]:
    """A client over HTTPS: the administrator's, or that of a service account ``namespace/name``."""
    path = directory / f"kubeconfig-{account.replace('/', '-')}"
    write_kubeconfig(path, server.kubeconfig_for(account) if account else server.admin_kubeconfig())
    client = Client(HttpTransport(load_kubeconfig(str(path))))
    try:
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def browsing(server: EmbeddedServer, token: str | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    """A plain HTTP session that trusts the server; the administrator's token unless another is given."""
    context = ssl.create_default_context(cadata=server.ca_pem.decode())
    given = server.admin_kubeconfig()["users"][0]["user"]["token"] if token is None else token
    headers = {"Authorization": f"Bearer {given}"} if given else {}
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(server.url, headers=headers, connector=connector) as session:
        yield session
    # The transports of TLS connections close a moment after their session.
    await asyncio.sleep(0)


async def asked(http: aiohttp.ClientSession, method: str, path: str, **options: Any) -> tuple[int, Any]:
    """Status and document of the answer to a request."""
    async with http.request(method, path, **options) as response:
        return response.status, await response.json(content_type=None)


async def eventually(check: Callable[[], Awaitable[T | None]], *, what: str, within: float = HANGS) -> T:
    """Wait until ``check`` gives something true, and return it."""
    deadline = time.monotonic() + within
    while not (result := await check()):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        await asyncio.sleep(0.02)
    return result


async def comes_true(holds: Callable[[], object], *, what: str) -> None:
    """Wait until something holds that can be seen at once."""

    async def check() -> bool:
        return bool(holds())

    await eventually(check, what=what)


def config_map(name: str, namespace: str = "default", **data: str) -> Object:
    """A ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }
