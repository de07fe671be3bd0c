"""What kubelet and Prometheus see of a manager: real sockets, real time."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from informers.apiserver.core import ApiServer
from informers.apiserver.faults import FaultRule
from informers.client import Client
from informers.clock import SystemClock
from informers.errors import RuntimeFault
from informers.health import LoopMonitor
from informers.manager import Manager
from informers.metrics import Metrics
from informers.testing.transport import ApiServerTransport
from tests.hanging import HANGS
from tests.informers.manager.operator import CONFIG_MAP


def manager_on(core: ApiServer, **options: Any) -> Manager:
    clock = SystemClock()
    client = Client(ApiServerTransport(core), clock=clock)
    manager = Manager(client, clock=clock, metrics=Metrics(), rng=random.Random(0), **options)
    manager.informer(CONFIG_MAP)
    return manager


@asynccontextmanager
async def running(manager: Manager) -> AsyncIterator[list[str]]:
    """Run it; the base URLs of its servers."""
    task = asyncio.create_task(manager.run())
    try:
        async with asyncio.timeout(HANGS):
            while not manager.addresses and not task.done():  # noqa: ASYNC110 (no event to wait for)
                await asyncio.sleep(0.01)
        yield [f"http://127.0.0.1:{address.port}" for address in manager.addresses]
    finally:
        task.cancel()
        await asyncio.wait([task])


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def test_probes_and_metrics_each_on_their_address() -> None:
    core = ApiServer(SystemClock(), rng=random.Random(0))
    refusal = core.faults.add(FaultRule(resource="configmaps", status=403))
    async with running(manager_on(core, metrics_address="127.0.0.1:0", health_address=":0")) as urls:
        metrics, health = urls
        status, text = await get(f"{health}/readyz")
        assert status == 500
        assert "[-]informer/configmaps: configmaps: not synced: " in text
        assert "403 Forbidden" in text
        assert await get(f"{health}/healthz") == (200, "ok\n")
        status, text = await get(f"{health}/healthz?verbose")
        assert "[+]informer/configmaps ok" in text
        core.faults.remove(refusal)
        async with asyncio.timeout(HANGS):
            while (await get(f"{health}/readyz"))[0] != 200:  # noqa: ASYNC110 (only HTTP tells)
                await asyncio.sleep(0.1)
        status, text = await get(f"{metrics}/metrics")
        assert status == 200
        assert 'informer_synced{namespaces="",resource="configmaps",selector=""} 1.0' in text
        assert "process_resident_memory_bytes" in text
        assert (await get(f"{metrics}/healthz"))[0] == 404


async def test_one_address_serves_all() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    core = ApiServer(SystemClock(), rng=random.Random(0))
    address = f"127.0.0.1:{port}"
    async with running(manager_on(core, metrics_address=address, health_address=address)) as urls:
        assert urls == [f"http://{address}"]
        for path in ("/metrics", "/healthz"):
            assert (await get(urls[0] + path))[0] == 200


async def test_a_taken_port_ends_run_and_frees_the_other() -> None:
    core = ApiServer(SystemClock(), rng=random.Random(0))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        manager = manager_on(core, metrics_address="127.0.0.1:0", health_address=f"127.0.0.1:{port}")
        with pytest.raises(RuntimeFault, match=f"cannot listen on 127.0.0.1:{port} for health probes"):
            await manager.run()
        metrics = manager.addresses[0].port
        socket.create_server(("127.0.0.1", metrics)).close()


async def test_servers_may_be_off() -> None:
    core = ApiServer(SystemClock(), rng=random.Random(0))
    manager = manager_on(core, metrics_address="0", health_address="0")
    task = asyncio.create_task(manager.run())
    async with asyncio.timeout(HANGS):
        await manager.informer(CONFIG_MAP).wait_synced()
    assert manager.addresses == []
    task.cancel()
    await asyncio.wait([task])


async def test_a_hanging_loop_shows_in_the_metrics_and_its_stack_on_standard_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    metrics = Metrics(process=False)
    monitor = asyncio.create_task(LoopMonitor(SystemClock(), metrics, limit=0.2).run())
    await asyncio.sleep(0)  # The monitor begins: it arms in its first step.
    time.sleep(1.5)  # noqa: ASYNC251 - the point is to block
    async with asyncio.timeout(HANGS):
        while b"event_loop_lag_seconds_count" not in metrics.render():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    monitor.cancel()
    await asyncio.wait([monitor])
    assert 'event_loop_lag_seconds_bucket{le="0.25"} 0.0' in metrics.render().decode()
    assert "test_manager_http.py" in capfd.readouterr().err
