"""Clients and routers that are gone when the test is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from etl_operator.router.client import RouterClients
from tests.hanging import HANGS
from tests.router.fake import FakeCluster, FakeRouter

Start = Callable[..., Awaitable[FakeRouter]]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever proxy this machine uses is not for loopback."""
    for name in ("grpc_proxy", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def clients() -> AsyncIterator[RouterClients]:
    made = RouterClients()
    yield made
    await made.close()


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start a router; takes what :class:`FakeRouter` takes."""
    running: list[FakeRouter] = []

    async def make(
        cluster: FakeCluster | None = None, node_id: int = 1, *, prefix: str = "etl"
    ) -> FakeRouter:
        router = await FakeRouter(cluster, node_id, prefix=prefix).start()
        running.append(router)
        return router

    yield make
    for router in running:
        await router.stop()


@pytest.fixture
async def three(start: Start) -> list[FakeRouter]:
    """The nodes of one cluster; node 1 leads."""
    cluster = FakeCluster()
    return [await start(cluster, node_id) for node_id in (1, 2, 3)]


async def eventually(condition: Callable[[], bool], what: str, within: float = HANGS) -> None:
    """Wait for a condition; fail with ``what`` when it does not come true."""
    try:
        async with asyncio.timeout(within):
            while not condition():  # noqa: ASYNC110 - a condition on another side has no event
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"not within {within} s: {what}")
