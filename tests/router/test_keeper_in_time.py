"""The keeper over minutes and hours of virtual time: how often it asks what."""

from __future__ import annotations

import asyncio
import random

from etl_operator.router.link import PATIENCE
from etl_operator.router.registration import Health, Lease, Registration, RegistrationState
from etl_operator.router.registry import RegistryKeeper
from informers.testing.clock import VirtualLoop
from tests.router.memory import ADDRESSES, LONG, SERVICES, TTL, Nodes, registration


def test_services_are_never_registered_twice_without_need() -> None:
    """Routers list an endpoint once per registration: heartbeats, not registrations, keep it alive."""
    nodes = Nodes()
    node = nodes.node(ADDRESSES[0])
    calls: list[str] = []
    register = node.register

    async def counted(registration: Registration) -> Lease:
        calls.append(registration.service_id)
        return await register(registration)

    node.register = counted  # type: ignore[method-assign]

    async def hours() -> None:
        keeper = RegistryKeeper(nodes)
        running = asyncio.ensure_future(keeper.run())
        for service in SERVICES:
            keeper.want(registration(service, 1), [ADDRESSES[0]])
        for _ in range(100):
            await asyncio.sleep(60)
            # The connection breaks, the node remembers.
            for stream in list(node.streams):
                stream.end()
        await keeper.close()
        await running

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(hours())
    assert sorted(calls) == sorted(SERVICES)


def test_behind_a_closed_fence_the_keeper_looks_again_every_other_second() -> None:
    nodes = Nodes()
    node = nodes.node(ADDRESSES[0])
    tries: list[str] = []
    register = node.register

    async def counted(registration: Registration) -> Lease:
        tries.append(registration.service_id)
        return await register(registration)

    node.register = counted  # type: ignore[method-assign]

    async def a_minute() -> None:
        keeper = RegistryKeeper(nodes)
        running = asyncio.ensure_future(keeper.run())
        nodes.gate.left = 0
        keeper.want(registration(SERVICES[0], 1), [ADDRESSES[0]])
        await asyncio.sleep(60)
        assert 25 <= len(tries) <= 31
        assert keeper.state(SERVICES[0]) == {ADDRESSES[0]: RegistrationState(False)}
        await keeper.close()
        await running

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(a_minute())
    assert node.registry == {}


def test_a_fence_that_closes_among_failures_loses_no_wish() -> None:
    nodes = Nodes()
    node = nodes.node(ADDRESSES[0])
    # The first of the batch is not answered, the second is not sent.
    node.down, nodes.gate.left = True, 1

    async def scenario() -> None:
        keeper = RegistryKeeper(nodes)
        running = asyncio.ensure_future(keeper.run())
        for service in SERVICES[:2]:
            keeper.want(registration(service, 1), [ADDRESSES[0]])
        # Long enough for both, and too short for another try.
        await asyncio.sleep(0.05)
        assert nodes.gate.left == 0
        node.down, nodes.gate.left = False, None
        await asyncio.sleep(LONG)
        await keeper.close()
        await running

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario())
    assert set(node.registry) == set(SERVICES[:2])


def test_what_is_forgotten_is_left_where_it_is() -> None:
    nodes = Nodes()
    node = nodes.node(ADDRESSES[0])

    async def scenario() -> None:
        keeper = RegistryKeeper(nodes)
        running = asyncio.ensure_future(keeper.run())
        keeper.want(registration(SERVICES[0], 1), [ADDRESSES[0]])
        await asyncio.sleep(LONG)
        assert node.streams
        keeper.forget(SERVICES[0])
        await asyncio.sleep(LONG)
        assert keeper.state(SERVICES[0]) == {}
        assert SERVICES[0] in node.registry, "nobody deregistered it"
        assert not node.streams, "and nobody sends heartbeats for it"
        await keeper.close()
        await running

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario())


def test_a_node_that_does_not_answer_is_asked_one_thing_at_a_time() -> None:
    nodes = Nodes()
    node = nodes.node(ADDRESSES[0])
    node.down = True
    asked: list[float] = []
    register = node.register

    async def counted(registration: Registration) -> Lease:
        asked.append(asyncio.get_running_loop().time())
        return await register(registration)

    node.register = counted  # type: ignore[method-assign]

    async def scenario() -> None:
        keeper = RegistryKeeper(nodes, rng=random.Random(7))
        running = asyncio.ensure_future(keeper.run())
        for service in SERVICES:
            keeper.want(registration(service, 1), [ADDRESSES[0]])
        await asyncio.sleep(LONG)
        # All at once for the first time, when nobody could know.
        later = asked[len(SERVICES) :]
        assert len(later) > 10
        assert len(set(later)) == len(later)
        await keeper.close()
        await running

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario())


def test_the_silence_of_a_new_node_is_shown_when_it_lasts() -> None:
    nodes = Nodes()
    node = nodes.node(ADDRESSES[0])
    node.down = True
    shown: list[str | None] = []

    async def scenario() -> None:
        keeper = RegistryKeeper(nodes, rng=random.Random(7))
        running = asyncio.ensure_future(keeper.run())
        register = node.register

        async def watched(wanted: Registration) -> Lease:
            shown.append(keeper.state(SERVICES[0])[ADDRESSES[0]].error)
            return await register(wanted)

        node.register = watched  # type: ignore[method-assign, assignment]
        keeper.want(registration(SERVICES[0], 1), [ADDRESSES[0]])
        await asyncio.sleep(LONG)
        await keeper.close()
        await running

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario())
    # What is shown when it is asked again is what the times before have led to.
    assert shown[:PATIENCE] == [None] * PATIENCE
    assert set(shown[PATIENCE:]) == {"connection refused"}


def test_what_is_wanted_again_is_not_asked_for_again() -> None:
    """Every look of a controller repeats its wish; a node that refuses is left alone for a while."""
    nodes = Nodes()
    node = nodes.node(ADDRESSES[0])
    node.refusing = {SERVICES[0]}
    tries: list[float] = []
    register = node.register

    async def counted(wanted: Registration) -> Lease:
        tries.append(asyncio.get_running_loop().time())
        return await register(wanted)

    async def scenario() -> None:
        keeper = RegistryKeeper(nodes, rng=random.Random(7))
        running = asyncio.ensure_future(keeper.run())
        node.register = counted  # type: ignore[method-assign, assignment]
        for _ in range(50):
            keeper.want(registration(SERVICES[0], 1), [ADDRESSES[0]])
            await asyncio.sleep(0.1)
            shown = keeper.state(SERVICES[0])[ADDRESSES[0]]
            assert shown == RegistrationState(False, "endpoint required")
        assert len(tries) <= 2
        keeper.want(registration(SERVICES[0], 2), [ADDRESSES[0]])
        await asyncio.sleep(0.1)
        assert len(tries) > 1, "another wish may be granted"
        await keeper.close()
        await running

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario())


def test_a_node_that_cannot_be_told_to_forget_is_not_told_for_ever() -> None:
    """A pod that is gone does not come back under its address; where it has not gone, its leases run out."""
    nodes = Nodes()
    node = nodes.node(ADDRESSES[0])
    tries: list[float] = []
    deregister = node.deregister

    async def counted(service: str) -> None:
        tries.append(asyncio.get_running_loop().time())
        await deregister(service)

    node.deregister = counted  # type: ignore[method-assign]

    async def scenario() -> None:
        keeper = RegistryKeeper(nodes, rng=random.Random(7))
        running = asyncio.ensure_future(keeper.run())
        keeper.want(registration(SERVICES[0], 1), [ADDRESSES[0]])
        await asyncio.sleep(LONG)
        node.down = True
        keeper.dismiss(SERVICES[0])
        await asyncio.sleep(LONG)
        assert len(tries) == 1
        # The connections to it are closed, and nothing runs for it.
        assert not node.streams
        assert len(asyncio.all_tasks()) == 2
        await keeper.close()
        await running

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario())


def test_a_turn_of_health_does_not_wait_for_the_next_round() -> None:
    """Also a new registration of a service that is ill: the node takes it for a healthy one."""
    nodes, well, ill = Nodes(), Health(True, "SERVING"), Health(False, "NOT_SERVING")
    node = nodes.node(ADDRESSES[0])

    async def main() -> None:
        keeper = RegistryKeeper(nodes, rng=random.Random(7))
        task = asyncio.ensure_future(keeper.run())
        for port, health in ((1, well), (1, ill), (2, ill), (2, well), (2, ill)):
            keeper.want(registration("etl/a", port), [ADDRESSES[0]], health)
            keeper.want(registration("etl/b", 1), [ADDRESSES[0]], well)
            await asyncio.sleep(TTL / 30)
            assert node.heard == {"etl/a": health, "etl/b": well}
        await keeper.close()
        await task

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
