"""The keeper of registrations against real nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import grpc
import pytest

from etl_operator.router.client import RouterClients
from etl_operator.router.errors import Unreachable
from etl_operator.router.pb import common_pb2, registry_pb2
from etl_operator.router.registry import Health, Registration, RegistryKeeper
from tests.router.conftest import Start, eventually
from tests.router.fake import FakeRouter, black_hole, nobody


def service(name: str) -> Registration:
    return Registration(f"etl/{name}", type=1, name=name, host=f"{name}-svc", port=50051)


@asynccontextmanager
async def running(clients: RouterClients) -> AsyncIterator[RegistryKeeper]:
    keeper = RegistryKeeper(clients)
    task = asyncio.ensure_future(keeper.run())
    try:
        yield keeper
    finally:
        await keeper.close()
        await task


@pytest.fixture
async def keeper(clients: RouterClients) -> AsyncIterator[RegistryKeeper]:
    async with running(clients) as made:
        yield made


def everywhere(keeper: RegistryKeeper, name: str) -> bool:
    state = keeper.state(f"etl/{name}")
    return bool(state) and all(one.registered for one in state.values())


async def test_a_wanted_service_is_registered_with_every_node_at_once(
    keeper: RegistryKeeper, three: list[FakeRouter]
) -> None:
    told: list[str] = []
    keeper.on_change = told.append
    where = [router.address for router in three]
    keeper.want(service("a"), where)
    assert {one.registered for one in keeper.state("etl/a").values()} == {False}
    await eventually(lambda: everywhere(keeper, "a"), "registered with all three")
    assert list(keeper.state("etl/a")) == where
    assert all("etl/a" in router.registry for router in three)
    assert told == ["etl/a"] * 3


async def test_the_same_wish_again_costs_nothing(keeper: RegistryKeeper, start: Start) -> None:
    router = await start()
    for _ in range(100):
        keeper.want(service("a"), [router.address])
    await eventually(lambda: everywhere(keeper, "a"), "registered")
    for _ in range(100):
        keeper.want(replace(service("a")), [router.address])
    keeper.want(service("b"), [router.address])
    await eventually(lambda: everywhere(keeper, "b"), "the next one registered")
    assert router.registrations == ["etl/a", "etl/b"]


async def test_health_goes_along_with_the_heartbeats(keeper: RegistryKeeper, start: Start) -> None:
    router = await start()
    keeper.want(service("a"), [router.address])
    await eventually(lambda: router.beats.get("etl/a", 0) > 0, "a heartbeat")
    assert router.health == {}, "nothing is claimed of what nobody probes"
    for healthy, status in (
        (False, common_pb2.HEALTH_STATUS_UNHEALTHY),
        (True, common_pb2.HEALTH_STATUS_HEALTHY),
    ):
        keeper.want(service("a"), [router.address], Health(healthy, "by a probe"))
        expected = registry_pb2.ServiceHealth(status=status, message="by a probe")
        await eventually(lambda expected=expected: router.health.get("etl/a") == expected, "it is heard")  # type: ignore[misc]
    assert router.registrations == ["etl/a"]


async def test_changed_content_is_registered_over_the_old(keeper: RegistryKeeper, start: Start) -> None:
    router = await start()
    keeper.want(service("a"), [router.address])
    await eventually(lambda: everywhere(keeper, "a"), "registered")
    keeper.want(replace(service("a"), port=6000), [router.address])
    assert not everywhere(keeper, "a")
    await eventually(lambda: everywhere(keeper, "a"), "registered anew")
    assert router.registry["etl/a"].endpoint.port == 6000
    # In between nobody would find the service.
    assert "Deregister" not in router.calls


def want(keeper: RegistryKeeper, router: FakeRouter, count: int) -> list[str]:
    """Have this many services registered; their names."""
    names = [f"s{number}" for number in range(count)]
    for name in names:
        keeper.want(service(name), [router.address])
    return names


async def test_heartbeats_of_all_services_share_one_stream(keeper: RegistryKeeper, start: Start) -> None:
    router = await start()
    router.lease = 0.3
    names = want(keeper, router, 50)
    await eventually(
        lambda: all(router.beats.get(f"etl/{name}", 0) >= 5 for name in names), "five heartbeats of each"
    )
    assert router.streams == 1
    assert len(router.registrations) == 50


async def test_a_node_that_forgot_is_told_again(keeper: RegistryKeeper, start: Start) -> None:
    router = await start()
    router.lease = 0.3
    keeper.want(service("a"), [router.address])
    keeper.want(service("b"), [router.address])
    await eventually(lambda: "etl/a" in router.beats, "heartbeats flow")
    del router.registry["etl/a"]
    await eventually(lambda: "etl/a" in router.registry, "registered again")
    # Only what was forgotten: routers list an endpoint once per registration.
    assert sorted(router.registrations) == ["etl/a", "etl/a", "etl/b"]


async def test_a_restarted_node_is_told_again_long_before_the_next_heartbeat(
    keeper: RegistryKeeper, start: Start
) -> None:
    router = await start()
    # The next heartbeat would come in 20 minutes; the broken stream must be enough.
    router.lease = 3600.0
    keeper.want(service("a"), [router.address])
    await eventually(lambda: "etl/a" in router.beats, "the first heartbeat")
    await router.restart()
    await eventually(lambda: "etl/a" in router.registry, "registered again")
    await eventually(lambda: everywhere(keeper, "a"), "and known to be")
    assert router.streams == 2


async def test_a_node_that_comes_back_with_another_prefix_is_registered_with_again(
    keeper: RegistryKeeper, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Known for longer than this, a prefix may be doubted.
    monkeypatch.setattr("etl_operator.router.client.REPROBE", 0.0)
    router = await start()
    keeper.want(service("a"), [router.address])
    await eventually(lambda: "etl/a" in router.beats, "the first heartbeat")
    router.beats.clear()
    router.prefix = "conveyor"
    await router.restart()
    await eventually(lambda: "etl/a" in router.registry, "registered again")
    await eventually(lambda: "etl/a" in router.beats, "heartbeats under the new prefix")
    await eventually(lambda: everywhere(keeper, "a"), "and known to be")


async def test_a_lease_that_becomes_shorter_is_kept(keeper: RegistryKeeper, start: Start) -> None:
    router = await start()
    router.lease = 3600.0
    keeper.want(service("a"), [router.address])
    await eventually(lambda: "etl/a" in router.beats, "the first heartbeat")
    router.lease = 0.3
    keeper.want(service("b"), [router.address])
    await eventually(lambda: router.beats["etl/a"] > 3, "heartbeats for the shorter lease")


async def test_an_unreachable_node_is_reported_and_found_again(keeper: RegistryKeeper, start: Start) -> None:
    router = await start()
    router.lease = 0.3
    keeper.want(service("a"), [router.address])
    await eventually(lambda: everywhere(keeper, "a"), "registered")
    await router.stop()
    await eventually(lambda: not everywhere(keeper, "a"), "the lease has run out")
    error = keeper.state("etl/a")[router.address].error
    assert error is not None
    keeper.want(service("b"), [router.address])
    await eventually(lambda: keeper.state("etl/b")[router.address].error is not None, "the error is known")
    told: list[str] = []
    keeper.on_change = told.append
    await router.start()
    await eventually(lambda: everywhere(keeper, "a") and everywhere(keeper, "b"), "both registered")
    assert set(told) == {"etl/a", "etl/b"}


async def test_dead_and_mute_nodes_do_not_hold_up_the_others(keeper: RegistryKeeper, start: Start) -> None:
    router = await start()
    with black_hole() as mute:
        dead = nobody()
        keeper.want(service("a"), [dead, mute, router.address])
        await eventually(lambda: keeper.state("etl/a")[router.address].registered, "registered where it can")
        await eventually(lambda: keeper.state("etl/a")[dead].error is not None, "the error is known")
        assert not keeper.state("etl/a")[mute].registered
        assert "connection refused" in str(keeper.state("etl/a")[dead].error)
        keeper.want(service("a"), [router.address])
        assert list(keeper.state("etl/a")) == [router.address]


async def test_silent_heartbeats_count_as_a_broken_stream(start: Start) -> None:
    clients = RouterClients(deadline=0.3)
    router = await start()
    router.lease = 0.6
    async with running(clients) as keeper:
        keeper.want(service("a"), [router.address])
        await eventually(lambda: router.streams == 1, "heartbeats flow")
        router.silent_heartbeats = True
        await eventually(lambda: not everywhere(keeper, "a"), "the lease counts as lost")
        assert "not answered" in str(keeper.state("etl/a")[router.address].error)
        router.silent_heartbeats = False
        await eventually(lambda: everywhere(keeper, "a"), "alive again")
        assert router.streams >= 2
        assert router.registrations == ["etl/a"]
    await clients.close()


async def test_a_refused_service_is_reported_and_holds_up_nobody(
    keeper: RegistryKeeper, start: Start
) -> None:
    router = await start()
    router.register_error = (grpc.StatusCode.INVALID_ARGUMENT, "identity required")
    keeper.want(service("a"), [router.address])
    await eventually(lambda: keeper.state("etl/a")[router.address].error is not None, "the refusal is known")
    assert "identity required" in str(keeper.state("etl/a")[router.address].error)
    router.register_error = None
    keeper.want(service("b"), [router.address])
    await eventually(lambda: everywhere(keeper, "b"), "the other one registered")
    assert not everywhere(keeper, "a")
    # A changed wish is not made to wait for the refused one's time.
    keeper.want(replace(service("a"), port=6000), [router.address])
    await eventually(lambda: everywhere(keeper, "a"), "registered")


async def test_a_dropped_service_is_gone_from_every_node(
    keeper: RegistryKeeper, three: list[FakeRouter]
) -> None:
    keeper.want(service("a"), [router.address for router in three])
    await eventually(lambda: everywhere(keeper, "a"), "registered")
    assert await keeper.drop("etl/a") == {}
    assert not any("etl/a" in router.registry for router in three)
    assert keeper.state("etl/a") == {}
    assert await keeper.drop("etl/a") == {}


async def test_dropping_names_the_nodes_that_could_not_be_told(
    keeper: RegistryKeeper, three: list[FakeRouter]
) -> None:
    keeper.want(service("a"), [router.address for router in three])
    await eventually(lambda: everywhere(keeper, "a"), "registered")
    await three[1].stop()
    failures = await keeper.drop("etl/a")
    assert list(failures) == [three[1].address]
    assert isinstance(failures[three[1].address], Unreachable)
    assert "etl/a" not in three[0].registry


async def test_a_drop_overtakes_a_registration_under_way(keeper: RegistryKeeper, start: Start) -> None:
    router = await start()
    router.delay = 0.2
    keeper.want(service("a"), [router.address])
    await eventually(lambda: "Register" in router.calls, "the call is under way")
    await keeper.drop("etl/a")
    assert router.registrations == ["etl/a"]
    assert "etl/a" not in router.registry


async def test_a_wish_during_a_drop_is_fulfilled(keeper: RegistryKeeper, start: Start) -> None:
    router = await start()
    keeper.want(service("a"), [router.address])
    await eventually(lambda: everywhere(keeper, "a"), "registered")
    router.delay = 0.2
    dropping = asyncio.ensure_future(keeper.drop("etl/a"))
    await eventually(lambda: "Deregister" in router.calls, "the call is under way")
    keeper.want(service("a"), [router.address])
    await dropping
    await eventually(lambda: everywhere(keeper, "a"), "registered again")
    assert "etl/a" in router.registry


async def test_nodes_no_longer_wanted_are_told_so(keeper: RegistryKeeper, three: list[FakeRouter]) -> None:
    keeper.want(service("a"), [router.address for router in three])
    await eventually(lambda: everywhere(keeper, "a"), "registered")
    keeper.want(service("a"), [three[0].address])
    await eventually(lambda: "etl/a" not in three[1].registry, "node 2 has let go")
    await eventually(lambda: "etl/a" not in three[2].registry, "node 3 has let go")
    keeper.want(service("a"), ())
    await eventually(lambda: "etl/a" not in three[0].registry, "node 1 has let go")
    assert keeper.state("etl/a") == {}


async def test_nothing_happens_before_run_and_nothing_is_lost(clients: RouterClients, start: Start) -> None:
    router = await start()
    keeper = RegistryKeeper(clients)
    keeper.want(service("a"), [router.address])
    keeper.want(service("b"), [router.address])
    assert await keeper.drop("etl/b") == {}
    assert router.calls == []
    task = asyncio.ensure_future(keeper.run())
    await eventually(lambda: everywhere(keeper, "a"), "registered")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # Leases are left to the next leader, deletions still get through.
    assert "etl/a" in router.registry
    assert await keeper.drop("etl/a") == {}
    assert router.registry == {}
    await keeper.close()


async def test_one_task_per_node_whatever_the_number_of_services(
    keeper: RegistryKeeper, three: list[FakeRouter]
) -> None:
    before = len(asyncio.all_tasks())
    peak = 0
    where = [router.address for router in three]
    for number in range(300):
        keeper.want(service(f"s{number}"), where)

    def done() -> bool:
        nonlocal peak
        peak = max(peak, sum("registrations at" in task.get_name() for task in asyncio.all_tasks()))
        return all(len(router.registry) == 300 for router in three)

    await eventually(done, "all registered")
    assert peak == 3
    await eventually(lambda: len(asyncio.all_tasks()) <= before + 40, "helpers are gone")


async def test_ten_thousand_services_on_one_stream(keeper: RegistryKeeper, start: Start) -> None:
    router = await start()
    router.lease = 15.0
    names = want(keeper, router, 10_000)
    await eventually(lambda: len(router.registry) == 10_000, "all registered")
    await eventually(lambda: len(router.beats) == 10_000, "a heartbeat of each")
    assert router.streams == 1
    for name in names[::10]:
        del router.registry[f"etl/{name}"]
    await eventually(lambda: len(router.registry) == 10_000, "all registered again")
    assert len(router.registrations) == 11_000
