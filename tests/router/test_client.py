"""Calls to one node: real servers, real sockets."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from etl_operator.router.client import RouterClients, cluster_of
from etl_operator.router.errors import (
    TEXT_LIMIT,
    Rejected,
    RouterAdminUnavailable,
    TimedOut,
    Unreachable,
)
from etl_operator.router.methods import PREFIXES
from etl_operator.router.pb import router_pb2 as pb
from etl_operator.router.registration import Lease, Registration
from tests.hanging import HANGS
from tests.router.conftest import Start
from tests.router.fake import black_hole, nobody

USERS = Registration(
    service_id="etl/users",
    type=1,
    name="users",
    host="users-svc",
    port=50051,
    use_tls=True,
    labels={"a": "b"},
)


async def test_a_pipelines_life(clients: RouterClients, start: Start) -> None:
    node = clients.node((await start()).address)
    assert await node.get_pipeline("etl/p") is None
    assert await node.create_pipeline(pb.PipelineConfig(id="etl/p", name="p")) == "etl/p"
    assert await node.update_pipeline("etl/p", pb.PipelineConfig(id="etl/p", name="p", description="x")) == 2
    await node.enable_pipeline("etl/p")
    found = await node.get_pipeline("etl/p")
    assert found is not None
    assert (found.config.description, found.status.enabled, found.status.version) == ("x", True, 2)
    assert await node.disable_pipeline("etl/p") == 7
    assert await node.list_pipelines() == []
    assert [one.name for one in await node.list_pipelines(include_disabled=True)] == ["p"]
    await node.delete_pipeline("etl/p")
    assert await node.get_pipeline("etl/p") is None


async def test_deleting_what_is_gone_is_a_success(clients: RouterClients, start: Start) -> None:
    router = await start()
    await clients.node(router.address).delete_pipeline("etl/none")
    assert router.calls == ["DeletePipeline"]


async def test_a_refusal_is_an_error_with_the_routers_words(clients: RouterClients, start: Start) -> None:
    node = clients.node((await start()).address)
    with pytest.raises(Rejected, match="pipeline not found: etl/none"):
        await node.update_pipeline("etl/none", pb.PipelineConfig())


@pytest.mark.parametrize("length", [100, 12_000, 17_000, 500_000, 3_000_000])
async def test_a_refusal_of_any_length_is_a_refusal(
    clients: RouterClients, start: Start, length: int
) -> None:
    """gRPC drops the status together with a header that is too long for it."""
    router = await start()
    router.register_error = grpc.StatusCode.INVALID_ARGUMENT, "no such type: " + "x" * length
    with pytest.raises(Rejected) as caught:
        await clients.node(router.address).register(USERS)
    assert len(str(caught.value)) < TEXT_LIMIT + 200
    told = "no such type: x" if length < 1_000_000 else "rejected, with a message that is too long"
    assert caught.value.message.startswith(told)


async def test_a_services_life(clients: RouterClients, start: Start) -> None:
    router = await start()
    node = clients.node(router.address)
    assert await node.register(USERS) == Lease("etl/users", 30.0)
    (endpoint,) = await node.get_service_endpoints("users")
    assert (endpoint.endpoint.host, endpoint.endpoint.port) == ("users-svc", 50051)
    sent = router.registry["etl/users"]
    assert (sent.identity.service_type, sent.endpoint.use_tls, sent.metadata.weight) == (1, True, 100)
    assert dict(sent.metadata.labels) == {"a": "b"}
    assert [one.identity.service_id for one in await node.list_services()] == ["etl/users"]
    await node.deregister("etl/users")
    await node.deregister("etl/users")
    assert await node.get_service_endpoints("users") == []


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_the_package_prefix_is_found_once(clients: RouterClients, start: Start, prefix: str) -> None:
    router = await start(prefix=prefix)
    node = clients.node(router.address)
    await asyncio.gather(*(node.get_cluster_status() for _ in range(5)))
    probes = router.calls.count("GetServiceEndpoints")
    assert probes == (0 if prefix == PREFIXES[0] else 1)
    await node.register(USERS)
    await clients.node(router.address).get_cluster_status()
    assert router.calls.count("GetServiceEndpoints") == probes


async def test_a_pinned_prefix_is_not_questioned(start: Start) -> None:
    router = await start(prefix="conveyor")
    wrong, right = RouterClients(prefix="etl"), RouterClients(prefix="conveyor")
    with pytest.raises(RouterAdminUnavailable):
        await wrong.node(router.address).get_cluster_status()
    await right.node(router.address).get_cluster_status()
    assert router.calls == ["GetClusterStatus"]
    await wrong.close()
    await right.close()


async def test_a_router_without_admin_is_told_from_a_wrong_prefix(
    clients: RouterClients, start: Start
) -> None:
    router = await start(prefix="conveyor")
    router.admin = False
    node = clients.node(router.address)
    for _ in range(3):
        with pytest.raises(RouterAdminUnavailable):
            await node.get_cluster_status()
    await node.register(USERS)
    assert router.calls.count("GetServiceEndpoints") == 1
    assert router.registrations == ["etl/users"]


async def test_an_address_where_nobody_listens(clients: RouterClients) -> None:
    with pytest.raises(Unreachable, match="connection refused") as failed:
        await clients.node(nobody()).get_cluster_status()
    assert not isinstance(failed.value, TimedOut)


async def test_every_call_ends_by_its_deadline() -> None:
    clients = RouterClients(deadline=0.3, status_deadline=0.2)
    with black_hole() as address:
        node = clients.node(address)
        for call in (node.get_cluster_status(), node.register(USERS), node.list_services()):
            with pytest.raises(TimedOut, match="no answer in time"):
                await call
    await clients.close()


async def test_a_black_hole_stalls_nobody_else(clients: RouterClients, start: Start) -> None:
    router = await start()
    with black_hole() as address:
        stuck = asyncio.ensure_future(clients.node(address).get_cluster_status())
        for _ in range(20):
            await clients.node(router.address).get_cluster_status()
        assert not stuck.done()
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck


async def test_a_slow_router_times_out_and_stays_usable(start: Start) -> None:
    clients = RouterClients(deadline=0.2)
    router = await start()
    router.delay = 2.0
    with pytest.raises(TimedOut):
        await clients.node(router.address).get_pipeline("etl/p")
    router.delay = 0.0
    clients.deadline = 5.0
    assert await clients.node(router.address).get_pipeline("etl/p") is None
    await clients.close()


async def test_a_broken_connection_is_tried_again_only_where_twice_is_once(
    clients: RouterClients, start: Start
) -> None:
    router = await start()
    node = clients.node(router.address)
    router.broken_calls = 2
    await node.get_cluster_status()
    assert router.calls.count("GetClusterStatus") == 3
    router.broken_calls = 3
    with pytest.raises(Unreachable, match="connection lost"):
        await node.get_cluster_status()
    assert router.calls.count("GetClusterStatus") == 6
    router.broken_calls = 1
    with pytest.raises(Unreachable):
        await node.create_pipeline(pb.PipelineConfig(id="etl/p"))
    assert router.calls.count("CreatePipeline") == 1
    router.broken_calls = 1
    with pytest.raises(Unreachable):
        await node.register(USERS)
    assert router.calls.count("Register") == 1


async def test_a_router_that_comes_back_is_reached_within_seconds(
    clients: RouterClients, start: Start
) -> None:
    router = await start()
    node = clients.node(router.address)
    await node.get_cluster_status()
    await router.stop()
    # Long enough for the connection's back-off to reach its limit.
    failures = 0
    async with asyncio.timeout(HANGS):
        while failures < 15:
            with pytest.raises(Unreachable):
                await node.get_cluster_status()
            failures += 1
            await asyncio.sleep(0.1)
    await router.start()
    attempts = 0
    while True:
        attempts += 1
        try:
            await node.get_cluster_status()
            break
        except Unreachable:
            # 1.5 s of back-off and some jitter, counted in tries rather than by the clock.
            assert attempts < 30
            await asyncio.sleep(0.1)


async def test_one_channel_per_address_and_none_left_unused(start: Start) -> None:
    clients = RouterClients(limit=2, idle=300)
    routers = [await start() for _ in range(4)]
    for router in routers * 2:
        await clients.node(router.address).get_cluster_status()
    assert len(clients.channels) == 2
    # Channels in use are never closed, whatever the limit says.
    routers[0].delay = routers[1].delay = routers[2].delay = 0.3
    await asyncio.gather(*(clients.node(one.address).get_cluster_status() for one in routers[:3]))
    await clients.close()
    assert len(clients.channels) == 0


async def test_unused_channels_are_closed(start: Start) -> None:
    clients = RouterClients(idle=0.05)
    router = await start()
    node = clients.node(router.address)
    await node.get_cluster_status()
    assert len(clients.channels) == 1
    async with asyncio.timeout(HANGS):
        while len(clients.channels):  # noqa: ASYNC110 - closing happens on a timer, without an event
            await asyncio.sleep(0.01)
    await node.get_cluster_status()
    await clients.close()


async def test_calls_in_flight_fail_when_the_clients_are_closed(clients: RouterClients, start: Start) -> None:
    router = await start()
    router.delay = 5.0
    call = asyncio.ensure_future(clients.node(router.address).register(USERS))
    async with asyncio.timeout(HANGS):
        while "Register" not in router.calls:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)
    await clients.close()
    with pytest.raises(Unreachable, match="closed"):
        await call


async def test_every_call_is_observed(start: Start) -> None:
    seen: list[tuple[str, str, str]] = []
    clients = RouterClients(observe=lambda cluster, method, code, _: seen.append((cluster, method, code)))
    router = await start()
    await clients.node(router.address).get_cluster_status()
    router.register_error = (grpc.StatusCode.INVALID_ARGUMENT, "endpoint required")
    with pytest.raises(Rejected, match="endpoint required"):
        await clients.node(router.address).register(USERS)
    await clients.close()
    assert seen == [
        ("127.0.0.1", "GetClusterStatus", "OK"),
        ("127.0.0.1", "Register", "INVALID_ARGUMENT"),
    ]


@pytest.mark.parametrize(
    ("address", "cluster"),
    [
        ("my-cluster-0.my-cluster-headless.prod.svc.cluster.local:50051", "prod/my-cluster"),
        ("a-12.a-headless.b.svc:1", "b/a"),
        ("10.0.0.7:50051", "10.0.0.7"),
        ("router.example:1", "router.example"),
    ],
)
def test_the_cluster_of_an_address(address: str, cluster: str) -> None:
    assert cluster_of(address) == cluster
