"""An API server that cannot be reached, or does not serve what is watched: said once, with what to do."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

import pytest

from informers.apiserver.core import ApiServer
from informers.apiserver.faults import FaultRule
from informers.client import Client, Contact, HttpRequest
from informers.client.http import HttpTransport
from informers.client.kubeconfig import ClusterAccess
from informers.controller import Controller
from informers.errors import MissingResources, TransportError, Unreachable
from informers.leader import LeaderElector, LeaseLost
from informers.manager import Manager
from informers.metrics import Metrics
from informers.objects import ObjectKey, Resource, Result
from informers.testing.clock import VirtualClock, run_virtual
from informers.testing.transport import ApiServerTransport
from tests.definitions import definition

ADDRESS = "https://192.0.2.1:6443"
KINDS = [
    Resource("", "v1", plural, kind)
    for plural, kind in (
        ("configmaps", "ConfigMap"),
        ("secrets", "Secret"),
        ("services", "Service"),
        ("pods", "Pod"),
        ("serviceaccounts", "ServiceAccount"),
    )
]
WIDGETS = [Resource("example.com", "v1", f"{name}s", name.title()) for name in ("widget", "gadget", "thing")]
REMEDY = "widgetctl crds | kubectl apply -f -"


class Writer:
    """Writes on every pass, so that it fails while nothing can be written."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def reconcile(self, key: ObjectKey) -> Result:
        await self.client.patch(KINDS[0], key, {"data": {"n": "1"}}, field_manager="copier/writer")
        return Result.after(1.0)


def manager_of(
    core: ApiServer, resources: list[Resource], *, elect: bool = False, **options: object
) -> Manager:
    clock = VirtualClock()
    transport = Contact(ApiServerTransport(core), address=ADDRESS, clock=clock)
    leader = None
    if elect:
        leader = LeaderElector(
            Client(transport, clock=clock), "default", "lock", "me", clock=clock, rng=random.Random(1)
        )
    manager = Manager(
        Client(transport, clock=clock),
        clock=clock,
        metrics=Metrics(process=False),
        leader=leader,
        metrics_address="0",
        health_address="0",
        watch_loop=False,
        freeze=False,
        rng=random.Random(0),
        **options,  # type: ignore[arg-type]
    )
    for resource in resources:
        manager.informer(resource)
    return manager


def server() -> ApiServer:
    core = ApiServer(VirtualClock(), rng=random.Random(0))
    core.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
    for number in range(5):
        meta = {"namespace": "default", "name": f"m{number}"}
        core.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
    return core


def play(main: Callable[[ApiServer], Awaitable[None]]) -> None:
    async def whole() -> None:
        core = server()
        running = asyncio.ensure_future(core.run())
        try:
            await main(core)
        finally:
            running.cancel()
            await asyncio.wait([running])

    run_virtual(whole())


def loud(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("elect", [False, True], ids=["alone", "elected"])
def test_a_dead_server_is_one_line_then_one_a_minute_and_one_when_it_is_back(
    caplog: pytest.LogCaptureFixture, elect: bool
) -> None:
    async def main(core: ApiServer) -> None:
        manager = manager_of(core, KINDS, elect=elect, preflight=True)
        controller = Controller("writer", Writer(manager.client), clock=VirtualClock())
        controller.watches(manager.informer(KINDS[0]))
        manager.add(controller)
        task = asyncio.ensure_future(manager.run())
        await asyncio.sleep(60)
        assert loud(caplog) == []
        outage = core.faults.add(FaultRule(cut="before"))
        # Streams end as well, and are opened again in vain.
        core.flow.cut()
        await asyncio.sleep(300)
        core.faults.remove(outage)
        await asyncio.sleep(60)
        if elect:
            with pytest.raises(LeaseLost):
                await task
        else:
            task.cancel()
            await asyncio.wait([task])

    play(main)
    lines = loud(caplog)
    ours = [line for line in lines if ADDRESS in line]
    # The first request that fails may have failed for itself.
    assert len(lines) - len(ours) <= 1
    assert ours[0].startswith(f"cannot reach the API server {ADDRESS}: ")
    if not elect:
        assert 2 <= len(ours) - 2 <= 5
        assert all(f"cannot reach the API server {ADDRESS} for " in line for line in ours[1:-1])
        assert ours[-1].startswith(f"the API server {ADDRESS} can be reached again after 3")


def test_a_server_that_is_dead_from_the_start_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main(core: ApiServer) -> None:
        core.faults.add(FaultRule(cut="before"))
        task = asyncio.ensure_future(manager_of(core, KINDS, preflight=True, elect=True).run())
        await asyncio.sleep(50)
        task.cancel()
        await asyncio.wait([task])

    play(main)
    assert len(loud(caplog)) <= 2
    assert sum(ADDRESS in line for line in loud(caplog)) == 1


def test_one_request_that_fails_is_no_loss_of_contact(caplog: pytest.LogCaptureFixture) -> None:
    async def main(core: ApiServer) -> None:
        task = asyncio.ensure_future(manager_of(core, KINDS).run())
        await asyncio.sleep(30)
        core.faults.add(FaultRule(resource="pods", cut="before", times=1))
        core.flow.cut()
        await asyncio.sleep(60)
        task.cancel()
        await asyncio.wait([task])

    play(main)
    assert not [line for line in loud(caplog) if ADDRESS in line]


async def test_an_address_nobody_listens_on_is_unreachable(
    caplog: pytest.LogCaptureFixture, unused_tcp_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    transport = HttpTransport(ClusterAccess(server=url))
    contact = Contact(transport, address=url, clock=VirtualClockOf())
    try:
        for _ in range(3):
            with pytest.raises(Unreachable) as caught:
                await contact.request(HttpRequest("GET", "/version", timeout=5))
            assert caught.value.reported
    finally:
        await contact.close()
    (line,) = loud(caplog)
    assert line.startswith(f"cannot reach the API server {url}: GET /version: cannot connect to ")
    assert "ConnectionRefusedError" in line
    assert contact.lost


class VirtualClockOf:
    """A clock that stands."""

    def monotonic(self) -> float:
        return 0.0

    def time(self) -> float:
        return 0.0


# -- definitions that are not there ----------------------------------------------------------------------


def test_missing_definitions_are_named_together_with_what_installs_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sentence = (
        "the API server does not serve gadgets.example.com, things.example.com, widgets.example.com; "
        f"install the CRDs: {REMEDY}"
    )

    async def main(core: ApiServer) -> None:
        manager = manager_of(core, [*KINDS, *WIDGETS], remedy=REMEDY, missing_patience=300)
        task = asyncio.ensure_future(manager.run())
        await asyncio.sleep(60)
        (finding,) = manager.ready.findings(only=("definitions",))
        assert finding.problem == sentence
        with pytest.raises(MissingResources) as caught:
            await task
        assert str(caught.value) == sentence

    play(main)
    assert loud(caplog) == [sentence]


def test_definitions_that_come_late_are_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def main(core: ApiServer) -> None:
        manager = manager_of(core, WIDGETS[:1], remedy=REMEDY, missing_patience=300)
        task = asyncio.ensure_future(manager.run())
        await asyncio.sleep(60)
        core.create(definition("Widget", "example.com", {"type": "object"}))
        await asyncio.sleep(600)
        assert manager.informer(WIDGETS[0]).synced
        assert not [one.problem for one in manager.ready.findings() if one.problem]
        task.cancel()
        await asyncio.wait([task])

    play(main)
    assert len(loud(caplog)) == 1


def test_the_mark_is_of_one_error() -> None:
    one, two = TransportError("a"), TransportError("b")
    one.reported = True
    assert not two.reported
