"""A tiny operator on the simulated API server: every ConfigMap ``x`` in a namespace gets a Secret ``x``."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from informers.apiserver.core import ApiServer
from informers.client import Client
from informers.controller import Controller, owner_mapper
from informers.controller.ownership import owner_reference
from informers.leader import LeaderElector
from informers.manager import Manager
from informers.metrics import MeasuredTransport, Metrics
from informers.objects import Object, ObjectKey, Resource, Result
from informers.testing.clock import VirtualClock
from informers.testing.transport import ApiServerTransport

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
SECRET = Resource("", "v1", "secrets", "Secret")
LEASE = Resource("coordination.k8s.io", "v1", "leases", "Lease")
EVENT = Resource("events.k8s.io", "v1", "events", "Event")
NAMESPACE = "default"


def config_map(name: str, **data: str) -> Object:
    metadata = {"namespace": NAMESPACE, "name": name}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def key(name: str) -> ObjectKey:
    return ObjectKey(NAMESPACE, name)


@dataclass
class Copier:
    """Copies a ConfigMap's data into its Secret, and says so."""

    manager: Manager
    maps: Any
    secrets: Any
    pause: float = 0.0
    """Seconds before the write."""
    calls: list[tuple[float, ObjectKey]] = field(default_factory=list)
    done: list[ObjectKey] = field(default_factory=list)

    async def reconcile(self, key: ObjectKey) -> Result:
        self.calls.append((asyncio.get_running_loop().time(), key))
        view = self.maps.get(key)
        if view is None or view.deleting:
            return Result.done()
        source = view.object()
        wanted = dict(source.get("data") or {})
        copied = str(sorted(wanted.items()))
        present = self.secrets.get(key)
        if present is not None and present.annotations.get("copied") == copied:
            return Result.done()
        await asyncio.sleep(self.pause)
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "namespace": key.namespace,
                "name": key.name,
                "annotations": {"copied": copied},
                "ownerReferences": [owner_reference(source, CONFIG_MAP)],
            },
            "stringData": wanted,
        }
        self.secrets.written(
            await self.manager.client.apply(SECRET, body, field_manager="copier", force=True)
        )
        self.manager.events.event(source, type="Normal", reason="Copied", action="Copy", note="copied")
        self.done.append(key)
        return Result.done()


@dataclass
class Operator:
    """One process, so to speak."""

    core: ApiServer
    manager: Manager
    copier: Copier
    metrics: Metrics
    leader: LeaderElector | None
    task: asyncio.Task[None] | None = None

    def problems(self) -> dict[str, str | None]:
        """What the readiness probe would say."""
        return {one.name: one.problem for one in self.manager.ready.findings()}

    def has_begun(self) -> bool:
        """Whether anything was reconciled, or is."""
        return bool(self.copier.calls)

    async def stop(self) -> None:
        """What SIGTERM does."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])


def operator(
    core: ApiServer, identity: str = "one", *, elect: bool = False, pause: float = 0.0, **options: Any
) -> Operator:
    """Wire one, as a main function would."""
    clock, metrics = VirtualClock(), Metrics(process=False)
    transport = MeasuredTransport(ApiServerTransport(core, user=identity), metrics, clock)
    leader = None
    if elect:
        leader = LeaderElector(
            Client(transport, clock=clock),
            NAMESPACE,
            "lock",
            identity,
            clock=clock,
            rng=random.Random(identity),
        )
    client = Client(transport, clock=clock, fence=leader.fence if leader else None)
    options = {"metrics_address": "0", "health_address": "0", "name": "copier", **options}
    manager = Manager(
        client,
        clock=clock,
        metrics=metrics,
        leader=leader,
        instance=identity,
        rng=random.Random(identity),
        **options,
    )
    maps, secrets = manager.informer(CONFIG_MAP), manager.informer(SECRET)
    copier = Copier(manager, maps, secrets, pause)
    controller = Controller("copier", copier, workers=2, clock=clock, rng=random.Random(identity))
    controller.watches(maps)
    controller.watches(secrets, mapper=owner_mapper(CONFIG_MAP))
    manager.add(controller)
    return Operator(core, manager, copier, metrics, leader)


@asynccontextmanager
async def server(*objects: Object) -> AsyncIterator[ApiServer]:
    """An API server with objects in it."""
    core = ApiServer(VirtualClock(), rng=random.Random(0))
    for obj in ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, *objects):
        core.create(obj)
    running = asyncio.ensure_future(core.run())
    try:
        yield core
    finally:
        running.cancel()
        await asyncio.wait([running])


@asynccontextmanager
async def started(*operators: Operator) -> AsyncIterator[None]:
    """Run them for the time of the context, then stop those that still run."""
    for one in operators:
        one.task = asyncio.ensure_future(one.manager.run())
    try:
        yield
    finally:
        for one in operators:
            assert one.task is not None
            one.task.cancel()
            await asyncio.wait([one.task])


async def until(condition: Callable[[], object], within: float = 300.0) -> None:
    """Wait, in virtual time, for a condition."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 (any condition, and virtual time)
            await asyncio.sleep(0.05)


def has_secret(core: ApiServer, name: str) -> bool:
    return core.find(SECRET, key(name)) is not None
