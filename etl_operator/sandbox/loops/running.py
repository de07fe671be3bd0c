"""All loops together: their caches, what wakes which, and the writes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Collection, Mapping

from etl_operator.sandbox.loops import kinds
from etl_operator.sandbox.loops.deploying import DeploymentLoop, ReplicaSetLoop
from etl_operator.sandbox.loops.disruption import budget_status, scales_of
from etl_operator.sandbox.loops.endpoints import endpoint_slice
from etl_operator.sandbox.loops.keyed import KeyedLoop
from etl_operator.sandbox.loops.provisioner import CLAIM_INDEX, Provisioner, claim_of_volume, volumes_by_claim
from etl_operator.sandbox.loops.stateful import StatefulSetLoop
from etl_operator.sandbox.loops.unserved import KINDS, Unserved
from etl_operator.sandbox.loops.writing import write_status
from informers.cache.informer import Delta, IndexFunction, Informer
from informers.client import Client
from informers.clock import Clock, SystemClock, timestamp
from informers.errors import AlreadyExists, Invalid
from informers.events import EventRecorder
from informers.objects import Object, ObjectKey, Resource

log = logging.getLogger(__name__)

ALL = (
    "StatefulSet",
    "Deployment",
    "ReplicaSet",
    "EndpointSlice",
    "PodDisruptionBudget",
    "PersistentVolumeClaim",
    "Unserved",
)
"""Every loop, by the kind it looks after; ``Unserved`` says of other kinds that nothing does."""


async def run_loops(
    client: Client,
    *,
    only: Collection[str] = ALL,
    clock: Clock | None = None,
    rng: random.Random | None = None,
) -> None:
    """Run the loops until cancelled.

    They are clients like any other; their account may read and write pods, claims, services, endpoint
    slices, StatefulSets, their revisions, Deployments, ReplicaSets and budgets in every namespace, read and
    write volumes, write events, and read storage classes and what nothing runs, such as Jobs.

    :param only: the loops to run, of :data:`ALL`; where a controller manager runs, its own are enough.
    :param clock: the system's where not given.
    :param rng: spreads retries of the caches.
    """
    clock = clock or SystemClock()
    # Spreads load, hides nothing.
    caches = _Caches(client, clock, rng or random.Random(), unserved="Unserved" in only)  # noqa: S311
    events = {
        name: EventRecorder(client, controller=f"{name}-controller", instance="sandbox", clock=clock)
        for name in ("statefulset", "deployment", "replicaset")
    }
    loops = _Loops(client, caches, clock, events)
    async with asyncio.TaskGroup() as group:
        for recorder in events.values():
            group.create_task(recorder.run())
        for informer in caches.all:
            group.create_task(informer.run())
        # A loop that knew only half of the cluster would create what is already there.
        await asyncio.gather(*(informer.wait_synced() for informer in caches.all))
        for run in loops.start():
            if run.name in only:
                group.create_task(run.run())


class _Caches:
    def __init__(self, client: Client, clock: Clock, rng: random.Random, *, unserved: bool) -> None:
        def informer(resource: Resource, indexes: Mapping[str, IndexFunction] | None = None) -> Informer:
            made = Informer(client, resource, clock=clock, rng=rng, indexes=indexes or {})
            self.all.append(made)
            return made

        self.all: list[Informer] = []
        self.stateful_sets = informer(kinds.STATEFUL_SET)
        self.deployments = informer(kinds.DEPLOYMENT)
        self.replica_sets = informer(kinds.REPLICA_SET)
        self.pods = informer(kinds.POD)
        self.claims = informer(kinds.PVC)
        self.volumes = informer(kinds.VOLUME, {CLAIM_INDEX: volumes_by_claim})
        self.revisions = informer(kinds.CONTROLLER_REVISION)
        self.services = informer(kinds.SERVICE)
        self.slices = informer(kinds.ENDPOINT_SLICE)
        self.budgets = informer(kinds.DISRUPTION_BUDGET)
        self.classes = informer(kinds.STORAGE_CLASS)
        self.unserved = {one.kind: informer(one) for one in KINDS} if unserved else {}


class _Loops:
    def __init__(
        self, client: Client, caches: _Caches, clock: Clock, events: Mapping[str, EventRecorder]
    ) -> None:
        self._client = client
        self._caches = caches
        self._clock = clock
        self._stateful = KeyedLoop(
            "StatefulSet", StatefulSetLoop(client, caches, clock, events["statefulset"]).sync
        )
        self._deployments = KeyedLoop(
            "Deployment", DeploymentLoop(client, caches, clock, events["deployment"]).sync
        )
        self._replica_sets = KeyedLoop(
            "ReplicaSet", ReplicaSetLoop(client, caches, clock, events["replicaset"]).sync
        )
        self._endpoints = KeyedLoop("EndpointSlice", self._sync_endpoints)
        self._budgets = KeyedLoop("PodDisruptionBudget", self._sync_budget)
        self._claims = KeyedLoop("PersistentVolumeClaim", Provisioner(client, caches).sync)

    def start(self) -> list[KeyedLoop]:
        """Connect caches to loops; what the caches hold already is looked at as well."""
        caches = self._caches
        owned = _owned_by("StatefulSet", self._stateful)
        caches.stateful_sets.add_handler(_itself(self._stateful))
        caches.pods.add_handler(owned)
        caches.revisions.add_handler(owned)
        caches.claims.add_handler(_neighbours(caches.stateful_sets, self._stateful))
        caches.deployments.add_handler(_itself(self._deployments))
        caches.replica_sets.add_handler(_owned_by("Deployment", self._deployments))
        caches.replica_sets.add_handler(_orphan(caches.deployments, self._deployments))
        caches.replica_sets.add_handler(_itself(self._replica_sets))
        caches.pods.add_handler(_owned_by("ReplicaSet", self._replica_sets))
        caches.pods.add_handler(_orphan(caches.replica_sets, self._replica_sets))
        caches.pods.add_handler(_of_recreated(caches.replica_sets, self._deployments))
        caches.services.add_handler(_itself(self._endpoints))
        caches.slices.add_handler(_owned_by("Service", self._endpoints))
        caches.pods.add_handler(_neighbours(caches.services, self._endpoints))
        caches.budgets.add_handler(_itself(self._budgets))
        caches.pods.add_handler(_neighbours(caches.budgets, self._budgets))
        for workloads in (caches.stateful_sets, caches.deployments, caches.replica_sets):
            workloads.add_handler(_neighbours(caches.budgets, self._budgets))
        caches.claims.add_handler(_itself(self._claims))
        caches.pods.add_handler(_neighbours(caches.claims, self._claims))
        caches.classes.add_handler(_everything(caches.claims, self._claims))
        caches.volumes.add_handler(_claim_of(self._claims))
        return [
            self._stateful,
            self._deployments,
            self._replica_sets,
            self._endpoints,
            self._budgets,
            self._claims,
            self._say_what_is_unserved(),
        ]

    def _say_what_is_unserved(self) -> KeyedLoop:
        """One loop for all these kinds; the kind is a part of the key's name."""
        unserved = Unserved(self._client, self._caches.unserved, self._clock)

        async def sync(key: ObjectKey) -> None:
            kind, _, name = key.name.partition("/")
            await unserved.sync(kind, ObjectKey(key.namespace, name))

        loop = KeyedLoop("Unserved", sync)
        for kind, cache in self._caches.unserved.items():
            cache.add_handler(_new(kind, loop))
        return loop

    async def _sync_endpoints(self, key: ObjectKey) -> None:
        try:
            await self._write_endpoints(key)
        except Invalid as error:
            # A real server takes no loopback addresses; names are resolved without slices, so let it be.
            log.info("cannot write the EndpointSlices of Service %s: %s", key, error)

    async def _write_endpoints(self, key: ObjectKey) -> None:
        service = self._caches.services.get(key)
        if service is None or service.deleting:
            return
        wanted = endpoint_slice(service.object(), self._objects(self._caches.pods, key.namespace))
        if wanted is None:
            return
        live = self._caches.slices.get(key)
        if live is None:
            with contextlib.suppress(AlreadyExists):
                self._caches.slices.written(await self._client.create(kinds.ENDPOINT_SLICE, wanted))
            return
        found = live.object()
        patch: Object = {
            name: wanted[name]
            for name in ("endpoints", "ports")
            # Where there are none, a server shows null.
            if (found.get(name) or []) != wanted[name]
        }
        if live.labels != wanted["metadata"]["labels"]:
            patch["metadata"] = {"labels": wanted["metadata"]["labels"]}
        if patch:
            answer = await self._client.patch(kinds.ENDPOINT_SLICE, key, patch)
            self._caches.slices.written(answer)

    async def _sync_budget(self, key: ObjectKey) -> None:
        view = self._caches.budgets.get(key)
        if view is None:
            return
        budget = view.object()
        caches = self._caches
        scales = scales_of(
            self._objects(caches.stateful_sets, key.namespace),
            self._objects(caches.replica_sets, key.namespace),
            self._objects(caches.deployments, key.namespace),
        )
        now = timestamp(self._clock.time())
        status = budget_status(budget, self._objects(self._caches.pods, key.namespace), scales, now)
        await write_status(self._client, self._caches.budgets, budget, status)

    @staticmethod
    def _objects(cache: Informer, namespace: str) -> list[Object]:
        return [view.object() for view in cache.list(namespace)]


Handler = Callable[[Delta], None]


def _itself(loop: KeyedLoop) -> Handler:
    def handle(delta: Delta) -> None:
        view = delta.new or delta.old
        if view is not None:
            loop.add(view.key)

    return handle


def _owned_by(kind: str, loop: KeyedLoop) -> Handler:
    """Wakes the loop for the owner of what changed."""

    def handle(delta: Delta) -> None:
        for view in (delta.old, delta.new):
            for owner in view.owners if view is not None else ():
                if view is not None and owner.controller and owner.kind == kind:
                    loop.add(ObjectKey(view.key.namespace, owner.name))

    return handle


def _neighbours(cache: Informer, loop: KeyedLoop) -> Handler:
    """Wakes the loop for everything in the namespace of what changed; each finds out whether it matters."""

    def handle(delta: Delta) -> None:
        view = delta.new or delta.old
        for neighbour in cache.list(view.key.namespace) if view is not None else ():
            loop.add(neighbour.key)

    return handle


def _orphan(cache: Informer, loop: KeyedLoop) -> Handler:
    """Wakes the loop for all that could adopt what nobody controls."""

    def handle(delta: Delta) -> None:
        view = delta.new
        if view is not None and not any(owner.controller for owner in view.owners):
            for neighbour in cache.list(view.key.namespace):
                loop.add(neighbour.key)

    return handle


def _of_recreated(replica_sets: Informer, loop: KeyedLoop) -> Handler:
    """Wakes the loop for the Deployment of a pod that is gone: ``Recreate`` waits for it."""

    def handle(delta: Delta) -> None:
        if delta.new is not None or delta.old is None:
            return
        for owner in delta.old.owners:
            found = replica_sets.get(ObjectKey(delta.old.key.namespace, owner.name))
            for above in found.owners if found is not None else ():
                if above.kind == "Deployment":
                    loop.add(ObjectKey(delta.old.key.namespace, above.name))

    return handle


def _new(kind: str, loop: KeyedLoop) -> Handler:
    def handle(delta: Delta) -> None:
        if delta.new is not None and (delta.old is None or delta.old.uid != delta.new.uid):
            loop.add(ObjectKey(delta.new.key.namespace, f"{kind}/{delta.new.key.name}"))

    return handle


def _claim_of(loop: KeyedLoop) -> Handler:
    """Wakes the loop for the claim a volume was made for."""

    def handle(delta: Delta) -> None:
        view = delta.new or delta.old
        if view is not None and (key := claim_of_volume(view)) is not None:
            loop.add(key)

    return handle


def _everything(cache: Informer, loop: KeyedLoop) -> Handler:
    def handle(_: Delta) -> None:
        for view in cache.list():
            loop.add(view.key)

    return handle
