"""The keeper against a model: whatever happens, in the end every node knows exactly what is wanted there.

Runs in virtual time against nodes in memory, with the faults of real ones.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from etl_operator.router.errors import Rejected, TimedOut, Unreachable
from etl_operator.router.heartbeat import HeartbeatStream
from etl_operator.router.link import PATIENCE
from etl_operator.router.registration import Beat, Health, Lease, Registration, RegistrationState
from etl_operator.router.registry import RegistryKeeper
from informers.errors import Fenced
from informers.testing.clock import VirtualLoop

ADDRESSES = ("n1:1", "n2:1", "n3:1")
SERVICES = tuple(f"etl/s{number}" for number in range(5))
TTL = 30.0
# Longer than any pause, refusal or deadline in the keeper and in the nodes below.
LONG = 120.0


class Gate:
    """The fence of all nodes."""

    def __init__(self) -> None:
        self.left: int | None = None
        """So many writes pass yet; ``None`` is any number."""

    def write(self) -> None:
        if self.left == 0:
            raise Fenced("somebody else leads")
        if self.left is not None:
            self.left -= 1


class Node:
    """A node in memory: a registry, and ways to fail."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.wrong: list[str] = []
        """What the keeper should not have done: what is raised here it may take for a fault of the node."""
        self.registry: dict[str, Registration] = {}
        self.heard: dict[str, Health | None] = {}
        """Health, as the last heartbeat had it; a registration begins without."""
        self.down = False
        self.mute = False
        self.refusing: set[str] = set()
        self.busy: set[str] = set()
        self.streams: set[Stream] = set()

    async def register(self, registration: Registration) -> Lease:
        await self._call(registration.service_id)
        if registration.service_id in self.refusing:
            raise Rejected("endpoint required")
        self.registry[registration.service_id] = registration
        self.heard.pop(registration.service_id, None)
        return Lease(registration.service_id, TTL)

    async def deregister(self, service: str) -> None:
        await self._call(service)
        self.registry.pop(service, None)

    def heartbeats(self) -> HeartbeatStream:
        return cast(HeartbeatStream, Stream(self))

    def forget(self) -> None:
        """Restart: nothing is known any more, every stream ends."""
        self.registry.clear()
        for stream in list(self.streams):
            stream.end()

    async def _call(self, service: str) -> None:
        if service in self.busy:
            self.wrong.append(f"two calls about {service} at once")
        self.busy.add(service)
        try:
            await asyncio.sleep(0.01)
            self.gate.write()
            await self.reply()
        finally:
            self.busy.discard(service)

    async def reply(self) -> None:
        if self.down:
            raise Unreachable("connection refused")
        if self.mute:
            await asyncio.sleep(5.0)
            raise TimedOut("no answer in time")


class Stream:
    """A heartbeat stream to such a node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._ended = False
        self.deadline = TTL
        self.on_end: Callable[[], None] = lambda: None
        node.streams.add(self)

    async def beat(self, beats: Sequence[Beat]) -> list[bool]:
        if not beats:
            self._node.wrong.append("an empty round is no round")
        await asyncio.sleep(0.01)
        self._node.gate.write()
        await self._node.reply()
        if self._ended:
            raise Unreachable("connection lost")
        for beat in beats:
            self._node.heard[beat.service] = beat.health
        return [beat.service in self._node.registry for beat in beats]

    def end(self) -> None:
        self._ended = True
        self._node.streams.discard(self)
        self.on_end()

    def close(self) -> None:
        self._node.streams.discard(self)


class Nodes:
    """Where the keeper gets its nodes from."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.by_address = {address: Node(self.gate) for address in ADDRESSES}

    def node(self, address: str) -> Node:
        return self.by_address[address]

    def may_write(self) -> bool:
        return self.gate.left != 0


def registration(service: str, port: int) -> Registration:
    return Registration(service, type=1, name=service.partition("/")[2], host="h", port=port)


class KeeperMachine(RuleBasedStateMachine):
    """Wishes and faults in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.nodes = Nodes()
        self.wanted: dict[str, tuple[Registration, tuple[str, ...]]] = {}
        self.health: dict[str, Health | None] = {}
        self.shown: dict[str, Mapping[str, RegistrationState]] = {}
        self.excused: set[tuple[str, str]] = set()
        self.keeper = RegistryKeeper(self.nodes, rng=random.Random(7))
        self.keeper.on_change = self.look
        self.task: asyncio.Task[None] | None = None
        self.dropping: set[asyncio.Task[Any]] = set()
        self.resume()

    def look(self, service: str) -> None:
        """What the controller does when told: read the state, and believe it until told again."""
        self.shown[service] = dict(self.keeper.state(service))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    # -- wishes -------------------------------------------------------------------------------------

    @initialize(first=st.fixed_dictionaries({one: st.sets(st.sampled_from(ADDRESSES)) for one in SERVICES}))
    def begin(self, first: Mapping[str, set[str]]) -> None:
        """Whatever rules an example is made of, there is something to lose."""
        for service, where in first.items():
            self.want(service, 1, where)

    @rule(
        service=st.sampled_from(SERVICES),
        port=st.integers(1, 2),
        where=st.sets(st.sampled_from(ADDRESSES)),
        healthy=st.none() | st.booleans(),
    )
    def want(self, service: str, port: int, where: set[str], healthy: bool | None = None) -> None:
        health = None if healthy is None else Health(healthy, "as it is")

        async def work() -> None:
            self.keeper.want(registration(service, port), sorted(where), health)
            self.look(service)

        self.run(work())
        self.health[service] = health
        if where:
            self.wanted[service] = (registration(service, port), tuple(sorted(where)))
        else:
            self.wanted.pop(service, None)

    @rule(service=st.sampled_from(SERVICES))
    def drop(self, service: str) -> None:
        async def dropped() -> None:
            with suppress(Fenced):
                await self.keeper.drop(service)

        async def work() -> None:
            self.dropping.add(asyncio.ensure_future(dropped()))
            await asyncio.sleep(0)

        self.run(work())
        self.wanted.pop(service, None)
        self.shown.pop(service, None)

    @rule(service=st.sampled_from(SERVICES))
    def dismiss(self, service: str) -> None:
        async def work() -> None:
            self.keeper.dismiss(service)

        self.run(work())
        self.wanted.pop(service, None)
        self.shown.pop(service, None)

    @rule(service=st.sampled_from(SERVICES))
    def leave(self, service: str) -> None:
        """The keeper is to know nothing of it; nodes may keep it until its lease is over."""

        async def work() -> None:
            self.keeper.forget(service)

        self.run(work())
        self.wanted.pop(service, None)
        self.shown.pop(service, None)
        self.excused |= {(address, service) for address in ADDRESSES}

    # -- faults -------------------------------------------------------------------------------------

    @rule(address=st.sampled_from(ADDRESSES), down=st.booleans(), mute=st.booleans())
    def fail(self, address: str, down: bool, mute: bool) -> None:
        node = self.nodes.node(address)
        node.down, node.mute = down, mute
        if down or mute:
            # It may miss being told to forget, and keeps such entries until their lease is over.
            self.excused |= {(address, service) for service in SERVICES}

    @rule(left=st.none() | st.integers(0, 3))
    def fence(self, left: int | None) -> None:
        """Leadership is in doubt, or soon will be, or is not any more."""
        self.nodes.gate.left = left

    @rule(address=st.sampled_from(ADDRESSES))
    def restart(self, address: str) -> None:
        async def work() -> None:
            self.nodes.node(address).forget()

        self.run(work())

    @rule(address=st.sampled_from(ADDRESSES), service=st.sampled_from(SERVICES))
    def forget_one(self, address: str, service: str) -> None:
        self.nodes.node(address).registry.pop(service, None)

    @rule(address=st.sampled_from(ADDRESSES), services=st.sets(st.sampled_from(SERVICES)))
    def refuse(self, address: str, services: set[str]) -> None:
        self.nodes.node(address).refusing = services

    # -- time ---------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0, 0.005, 0.015, 0.3, 4.0, 11.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @precondition(lambda self: self.task is not None)
    @rule()
    def interrupt(self) -> None:
        async def work() -> None:
            assert self.task is not None
            self.task.cancel()
            await asyncio.wait({self.task})

        self.run(work())
        self.task = None

    @precondition(lambda self: self.task is None)
    @rule()
    def resume(self) -> None:
        async def work() -> None:
            self.task = asyncio.ensure_future(self.keeper.run())
            await asyncio.sleep(0)

        self.run(work())

    # -- what must hold -----------------------------------------------------------------------------

    @rule(service=st.sampled_from(SERVICES))
    def look_unasked(self, service: str) -> None:
        """Something else makes the controller look."""
        where = self.wanted[service][1] if service in self.wanted else ()
        assert tuple(self.keeper.state(service)) == where
        self.look(service)

    @rule()
    def heal(self) -> None:
        """The faults end; soon everything is as wanted, and everybody has been told."""
        if self.task is None:
            self.resume()
        for node in self.nodes.by_address.values():
            node.down = node.mute = False
            node.refusing = set()
        self.nodes.gate.left = None
        self.run(asyncio.sleep(LONG))
        for task in self.dropping:
            assert task.done()
            task.result()
        for address, node in self.nodes.by_address.items():
            here = {s: r for s, (r, where) in self.wanted.items() if address in where}
            assert node.wrong == []
            assert {s: r for s, r in node.registry.items() if s in here} == here
            assert all((address, service) in self.excused for service in node.registry.keys() - here.keys())
        for service, (_, where) in self.wanted.items():
            assert self.keeper.state(service) == dict.fromkeys(where, RegistrationState(True))
            assert self.shown[service] == self.keeper.state(service)
            heard = [self.nodes.node(address).heard[service] for address in where]
            assert heard == [self.health[service]] * len(where)

    def teardown(self) -> None:
        try:
            self.heal()
            self.run(self.keeper.close())
        finally:
            self.runner.close()


KeeperMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestKeeper = KeeperMachine.TestCase


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
