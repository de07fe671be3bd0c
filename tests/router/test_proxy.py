"""Nodes are reached through a CONNECT proxy when ``grpc_proxy`` names one: gRPC does that by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from etl_operator.router.client import RouterClients
from etl_operator.router.errors import Unreachable
from tests.hanging import HANGS
from tests.router.conftest import Start

POD = "my-cluster-0.my-cluster-headless.default.svc.cluster.local:50051"


class Proxy:
    """Resolves names from a table; answers 502 for what it cannot reach."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.asked: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen; returns the URL."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """End every connection."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            target = request.split()[1]
            self.asked.append(target)
            host, _, port = self.names.get(target, "127.0.0.1:1").rpartition(":")
            try:
                there, back = await asyncio.open_connection(host, int(port))
            except OSError:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                return
            try:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await _first(_copy(reader, back), _copy(there, writer))
            finally:
                back.close()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            writer.close()
            self._tasks.discard(task)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


async def _first(*work: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    made = Proxy()
    monkeypatch.setenv("grpc_proxy", await made.start())
    for name in ("no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield made
    await made.stop()


async def test_a_pod_is_called_by_name_through_the_proxy(proxy: Proxy, start: Start) -> None:
    router = await start()
    proxy.names[POD] = router.address
    clients = RouterClients()
    assert (await clients.node(POD).get_cluster_status()).node_id == 1
    # The proxy is given the name, not an address: names are its affair.
    assert proxy.asked == [POD]
    await clients.close()


async def test_a_pod_the_proxy_cannot_reach_is_unreachable_and_found_again(
    proxy: Proxy, start: Start
) -> None:
    clients = RouterClients()
    node = clients.node(POD)
    messages = set()
    for _ in range(5):
        with pytest.raises(Unreachable) as failed:
            await node.get_cluster_status()
        messages.add(failed.value.message)
    assert messages == {"the proxy could not reach it"}
    proxy.names[POD] = (await start()).address
    async with asyncio.timeout(HANGS):
        while True:
            with suppress(Unreachable):
                await node.get_cluster_status()
                break
            await asyncio.sleep(0.1)
    await clients.close()
