"""A process that must not write any more sends routers nothing that changes them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from etl_operator.router import methods as m
from etl_operator.router.client import RouterClients, RouterNode
from etl_operator.router.cluster import RouterCluster
from etl_operator.router.errors import TimedOut, Unreachable
from etl_operator.router.pb import router_pb2 as pb
from etl_operator.router.registration import Beat, Registration
from etl_operator.router.registry import RegistryKeeper
from informers.errors import Fenced
from tests.router.conftest import Start, eventually
from tests.router.fake import FakeRouter

CONFIG = pb.PipelineConfig(id="etl/p", name="p")
USERS = Registration("etl/users", type=1, name="users", host="users-svc", port=50051)


class Gate:
    """A fence that a test opens and closes."""

    def __init__(self, left: int | None = None) -> None:
        self.left = left
        """So many writes pass yet; ``None`` is any number."""
        self.asked = 0

    def __call__(self) -> None:
        self.asked += 1
        if self.left == 0:
            raise Fenced("this process does not hold the lease")
        if self.left is not None:
            self.left -= 1


@asynccontextmanager
async def fenced(gate: Gate) -> AsyncIterator[RouterClients]:
    clients = RouterClients(fence=gate)
    try:
        yield clients
    finally:
        await clients.close()


WRITES: dict[str, Callable[[RouterNode], Awaitable[object]]] = {
    "CreatePipeline": lambda node: node.create_pipeline(CONFIG),
    "UpdatePipeline": lambda node: node.update_pipeline("etl/p", CONFIG),
    "EnablePipeline": lambda node: node.enable_pipeline("etl/p"),
    "DisablePipeline": lambda node: node.disable_pipeline("etl/p"),
    "DeletePipeline": lambda node: node.delete_pipeline("etl/p"),
    "Register": lambda node: node.register(USERS),
    "Deregister": lambda node: node.deregister("etl/users"),
    "Heartbeat": lambda node: beat(node, 1),
}


async def beat(node: RouterNode, count: int) -> list[bool]:
    stream = node.heartbeats()
    try:
        return await stream.beat([Beat("etl/users", "etl/users")] * count)
    finally:
        stream.close()


def test_whatever_is_no_question_is_a_write() -> None:
    methods = [one for one in vars(m).values() if isinstance(one, m.Method)]
    assert {one.name for one in methods if one.writes} == set(WRITES)
    assert all(one.name.startswith(("Get", "List")) for one in methods if not one.writes)


@pytest.mark.parametrize("method", WRITES)
async def test_a_closed_fence_lets_no_write_pass(start: Start, method: str) -> None:
    router, gate = await start(), Gate()
    async with fenced(gate) as clients:
        node = clients.node(router.address)
        await node.create_pipeline(CONFIG)
        await node.register(USERS)
        await WRITES[method](node)
        assert clients.may_write()
        gate.left = 0
        router.calls.clear()
        with pytest.raises(Fenced, match="does not hold the lease"):
            await WRITES[method](node)
        assert router.calls == []
        assert not clients.may_write()


async def test_reads_need_no_fence(start: Start) -> None:
    router = await start()
    async with fenced(Gate(left=0)) as clients:
        node = clients.node(router.address)
        await node.get_cluster_status()
        assert await node.get_pipeline("etl/p") is None
        assert await node.list_pipelines() == []
        assert await node.list_services() == []
        assert await node.get_service_endpoints("users") == []


@pytest.mark.parametrize("tries", [1, 2])
async def test_every_try_asks_anew(start: Start, tries: int) -> None:
    router, gate = await start(), Gate(left=tries)
    router.broken_calls = 3
    async with fenced(gate) as clients:
        with pytest.raises(Fenced):
            await clients.node(router.address).deregister("etl/users")
        assert router.calls == ["Deregister"] * tries
        assert gate.asked == tries + 1


async def test_a_repeat_under_another_prefix_asks_anew(start: Start) -> None:
    router = await start(prefix="conveyor")
    async with fenced(Gate(left=1)) as clients:
        node = clients.node(router.address)
        with pytest.raises(Fenced):
            await node.create_pipeline(CONFIG)
        # The question which prefix it is was answered all the same.
        assert router.calls == ["GetServiceEndpoints"]
        await node.get_cluster_status()


class Line:
    """A way to a router that carries nothing back until told to."""

    def __init__(self, router: FakeRouter) -> None:
        self._router = router
        self._open = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.callers = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def open(self) -> None:
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._router.address.partition(":")
        there, back = await asyncio.open_connection(host, int(port))
        self.callers += 1
        for task in (self._copy(reader, back), self._copy(there, writer)):
            self._tasks.add(asyncio.ensure_future(task))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
        finally:
            writer.close()


@pytest.mark.parametrize("method", WRITES)
async def test_a_connection_that_takes_its_time_comes_before_the_fence(start: Start, method: str) -> None:
    router, gate = await start(), Gate()
    line = Line(router)
    async with line.running() as address, fenced(gate) as clients:
        call = asyncio.ensure_future(WRITES[method](clients.node(address)))
        await eventually(lambda: line.callers > 0, "it connects")
        gate.left = 0
        line.open()
        with pytest.raises(Fenced):
            await call
        assert router.calls == []
        # The connection stands, and serves whoever may use it.
        await clients.node(address).get_cluster_status()


async def test_connecting_and_the_call_share_one_deadline(start: Start) -> None:
    router = await start()
    router.delay = 0.5
    line, clients = Line(router), RouterClients(deadline=0.6)
    async with line.running() as address:
        call = asyncio.ensure_future(clients.node(address).deregister("etl/users"))
        await asyncio.sleep(0.3)
        line.open()
        with pytest.raises(TimedOut):
            await call
        await clients.close()


async def test_closing_the_clients_ends_a_write_that_waits_for_its_connection(start: Start) -> None:
    line = Line(await start())
    async with line.running() as address, fenced(Gate()) as clients:
        node = clients.node(address)
        calls = [asyncio.ensure_future(WRITES[one](node)) for one in ("Register", "Heartbeat")]
        await eventually(lambda: line.callers > 0, "it connects")
        await clients.close()
        for call in calls:
            with pytest.raises(Unreachable, match="the client was closed"):
                await call


async def test_the_cluster_and_the_observer_hear_nothing_of_it(three: list[FakeRouter]) -> None:
    gate, seen = Gate(left=1), list[str]()
    clients = RouterClients(lambda cluster, method, code, seconds: seen.append(method), fence=gate)
    addresses = [router.address for router in three]
    await RouterCluster(clients, addresses).on_leader(WRITES["CreatePipeline"])
    seen.clear()
    with pytest.raises(Fenced):
        await RouterCluster(clients, addresses).on_leader(WRITES["UpdatePipeline"])
    # Its leader is none the worse for it: it is still known, and no other node is tried.
    assert seen == []
    assert clients.leaders.get(addresses) == three[0].address
    await clients.close()


async def test_heartbeats_end_in_the_middle_of_a_round(start: Start) -> None:
    router, gate = await start(), Gate()
    async with fenced(gate) as clients:
        node = clients.node(router.address)
        await node.register(USERS)
        # One for the round as a whole, and three for heartbeats.
        gate.left = 4
        with pytest.raises(Unreachable) as ended:
            await beat(node, 500)
        assert not isinstance(ended.value, TimedOut), "answers that could not come were waited for"
        assert router.beats.get("etl/users", 0) <= 3
        with pytest.raises(Fenced):
            await beat(node, 500)


async def test_the_keeper_waits_in_silence_and_goes_on_when_it_may(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    router, gate = await start(), Gate()
    router.lease = 0.6
    caplog.set_level(logging.INFO)
    async with fenced(gate) as clients:
        keeper = RegistryKeeper(clients)
        task = asyncio.ensure_future(keeper.run())
        keeper.want(USERS, [router.address])
        await eventually(lambda: router.beats.get("etl/users", 0) > 1, "heartbeats flow")
        gate.left = 0
        asked = gate.asked
        await eventually(lambda: gate.asked > asked, "it wants to write")
        before = list(router.calls), dict(router.beats)
        # It is not told of this one before it may write again.
        router.registry.clear()
        with pytest.raises(Fenced):
            await clients.node(router.address).register(USERS)
        keeper.want(Registration("etl/b", type=1, name="b", host="b-svc", port=1), [router.address])
        asked = gate.asked
        await eventually(lambda: gate.asked > asked, "it tries again")
        assert (router.calls, router.beats) == before
        with pytest.raises(Fenced):
            await keeper.drop("etl/users")
        gate.left = None
        await eventually(lambda: router.registrations[-1] == "etl/b", "the other one is registered")
        await eventually(lambda: keeper.state("etl/b")[router.address].registered, "and known to be")
        await keeper.close()
        await task
    assert "etl/users" not in router.registry
    assert [record for record in caplog.records if record.name.startswith("etl_operator")] == []


async def test_what_nobody_can_explain_is_logged_and_survived(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    router = await start()
    refusals = [Fenced("for a moment")]

    def blink() -> None:
        if refusals:
            raise refusals.pop()

    clients = RouterClients(fence=blink)
    keeper = RegistryKeeper(clients)
    task = asyncio.ensure_future(keeper.run())
    keeper.want(USERS, [router.address])
    # When the keeper looks, the fence is open: it cannot have been that.
    await eventually(lambda: keeper.state("etl/users")[router.address].registered, "registered in the end")
    # grpc reports a poll that found nothing as an error of asyncio's, on a busy machine.
    ours = [record.message for record in caplog.records if record.name.startswith("etl_operator.")]
    assert ours == [f"registrations at {router.address}"]
    await keeper.close()
    await task
    await clients.close()
