"""The keeper against a model: whatever happens, in the end every node knows exactly what is wanted there.

Runs in virtual time against nodes in memory, with the faults of real ones.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from etl_operator.router.registration import Health, Registration, RegistrationState
from etl_operator.router.registry import RegistryKeeper
from informers.errors import Fenced
from informers.testing.clock import VirtualLoop
from tests.router.memory import ADDRESSES, LONG, SERVICES, Nodes, registration


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
