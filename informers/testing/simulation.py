"""Testing your own controllers: an API server in virtual time, and managers on it.

::

    def test_it_copies() -> None:
        async def play(world: Simulation) -> None:
            setup(manager := world.manager())
            async with world.running(manager):
                world.server.create(config_map("a"))
                await world.until(lambda: world.server.find(SECRET, key("a")))

        simulate(play, seed=7)

Nothing here sleeps: hours of resyncs and back-off pass in milliseconds. Everything random, in the server, the
faults and the managers, is drawn from the seed, so a failing seed fails again.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from informers.apiserver.core import ApiServer
from informers.apiserver.faults import Cut, FaultRule
from informers.apiserver.kinds.table import DEFINITION
from informers.client import Client
from informers.leader import LeaderElector
from informers.manager import Manager
from informers.metrics import MeasuredTransport, Metrics
from informers.objects import Object, ObjectKey
from informers.testing.clock import VirtualClock, run_virtual
from informers.testing.transport import ApiServerTransport

NAMESPACE = "default"
"""The namespace that is there from the start."""

_LOOK = 0.05
"""Virtual seconds between two looks at a condition."""


class Simulation:
    """One world: a server, what is done to it, and who works on it. Made by :func:`simulate`.

    :param seed: of everything that is random.
    """

    def __init__(self, seed: int) -> None:
        self.clock = VirtualClock()
        self.rng = random.Random(seed)  # noqa: S311 (repeatable on purpose)
        self.server = ApiServer(self.clock, rng=random.Random(self.rng.random()))  # noqa: S311
        """Create, edit, delete and find objects as someone else would, past every fault."""
        self._managers = 0

    def fault(
        self,
        *,
        verb: str = "",
        resource: str = "",
        namespace: str = "",
        name: str = "",
        subresource: str | None = None,
        user: str = "",
        skip: int = 0,
        times: int | None = None,
        probability: float = 1.0,
        status: int = 0,
        reason: str = "",
        retry_after: int = 0,
        delay: float = 0.0,
        spread: float = 0.0,
        cut: Cut = "",
        duplicate: bool = False,
        stale: int = 0,
    ) -> FaultRule:
        """Make the server misbehave from now on, as :class:`informers.apiserver.faults.FaultRule`
        says.

        :raises ValueError: for a verb or a cut there is not.
        """
        rule = FaultRule(
            verb=verb,
            resource=resource,
            namespace=namespace,
            name=name,
            subresource=subresource,
            user=user,
            skip=skip,
            times=times,
            probability=probability,
            status=status,
            reason=reason,
            retry_after=retry_after,
            delay=delay,
            spread=spread,
            cut=cut,
            duplicate=duplicate,
            stale=stale,
        )
        return self.server.faults.add(rule)

    def compact(self) -> None:
        """Forget the past: watches that begin before now get 410, pages under way expire."""
        self.server.store.compact()

    def cut_watches(self) -> None:
        """End every watch, as a restarting server does."""
        self.server.flow.cut()

    def silence(self, group: str, plural: str) -> Callable[[], None]:
        """Deliver nothing on watches of a resource, until the result is called."""
        storage = (group, plural)
        self.server.flow.hold(storage)
        return lambda: self.server.flow.release(storage)

    def client(self, user: str = "test") -> Client:
        """A client without a fence."""
        return Client(ApiServerTransport(self.server, user=user), clock=self.clock)

    def manager(self, identity: str = "", *, elect: bool = False, **options: Any) -> Manager:
        """A manager, as a main function would make it, without servers.

        :param identity: tells it from others; drawn up when not given. The user that fault rules see.
        :param elect: campaign for the lease ``default/lock`` first.
        :param options: of :class:`informers.manager.Manager`.
        """
        self._managers += 1
        identity = identity or f"manager-{self._managers}"
        metrics = Metrics(process=False)
        transport = MeasuredTransport(ApiServerTransport(self.server, user=identity), metrics, self.clock)
        rng = random.Random(self.rng.random())  # noqa: S311
        leader = None
        if elect:
            leader = LeaderElector(
                Client(transport, clock=self.clock), NAMESPACE, "lock", identity, clock=self.clock, rng=rng
            )
        client = Client(transport, clock=self.clock, fence=leader.fence if leader else None)
        settings: dict[str, Any] = {
            "metrics_address": "0",
            "health_address": "0",
            "watch_loop": False,
            "freeze": False,
            **options,
        }
        return Manager(
            client, clock=self.clock, metrics=metrics, leader=leader, instance=identity, rng=rng, **settings
        )

    @asynccontextmanager
    async def running(self, *managers: Manager) -> AsyncIterator[None]:
        """Run managers for the time of the context, then stop them as SIGTERM would.

        :raises Exception: what ended a manager before; what the body raises itself goes first, with a note
            of every manager that had ended.
        """
        tasks = [asyncio.ensure_future(manager.run()) for manager in managers]
        try:
            yield
        except Exception as error:
            for task in tasks:
                if task.done() and not task.cancelled():
                    error.add_note(f"a manager had ended: {task.exception()!r}")
            raise
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(seconds)

    async def create(self, obj: Object) -> Object:
        """Create an object as someone else would, past every fault, and wait until it can be used: of a
        definition, until its resource is served.

        :raises informers.apiserver.errors.StatusError: what a client would see.
        :raises ValueError: when a definition's names are taken.
        """
        created = self.server.create(obj)
        if (obj["apiVersion"], obj["kind"]) == (DEFINITION.api_version, DEFINITION.kind):
            await self.until(lambda: self._serves(ObjectKey.of(created)))
        return created

    def _serves(self, definition: ObjectKey) -> bool:
        obj = self.server.find(DEFINITION, definition) or {}
        for condition in obj.get("status", {}).get("conditions") or ():
            if condition["type"] == "NamesAccepted" and condition["status"] == "False":
                raise ValueError(f"{definition} is not served: {condition['message']}")
        plural, _, group = definition.name.partition(".")
        return any(type_.storage == (group, plural) for type_ in self.server.registry.storages())

    async def until(self, condition: Callable[[], object], within: float = 300.0) -> None:
        """Wait, in virtual time, until something holds.

        :param condition: says so; a coroutine function is awaited.
        :raises TimeoutError: when it does not within so many virtual seconds.
        """
        end = self.clock.monotonic() + within
        while True:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return
            if self.clock.monotonic() >= end:
                raise TimeoutError(f"the condition has not come true in {within:g} virtual seconds")
            await asyncio.sleep(_LOOK)

    async def _play(self, play: Callable[[Simulation], Awaitable[None]], objects: tuple[Object, ...]) -> None:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        background = asyncio.ensure_future(self.server.run())
        try:
            for obj in (namespace, *objects):
                await self.create(obj)
            await play(self)
        finally:
            background.cancel()
            await asyncio.wait([background])


def simulate(
    play: Callable[[Simulation], Awaitable[None]],
    *objects: Object,
    seed: int = 0,
    limit: float = 7 * 86_400.0,
) -> None:
    """Play in a new world, to the end, in virtual time.

    :param objects: there from the start, beside the namespace ``default``, in this order; definitions are
        served before what follows them is created.
    :param seed: of everything that is random.
    :param limit: virtual seconds the play may take; a week by default.
    :raises informers.testing.clock.VirtualStandstill: when nothing can happen any more, or the limit is over.
    """
    world = Simulation(seed)
    run_virtual(world._play(play, objects), limit=limit)
