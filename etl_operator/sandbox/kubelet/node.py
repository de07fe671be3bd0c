"""The process node: takes on every pod that has no node, and runs its containers as local processes.

A plain API client: it runs unchanged against a real kube-apiserver, which has no node of its own either.
"""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
from collections.abc import AsyncGenerator, Callable, Collection
from pathlib import Path

from etl_operator.sandbox.kubelet.addresses import AddressBook
from etl_operator.sandbox.kubelet.backoff import CrashBackoff
from etl_operator.sandbox.kubelet.environment import Lookup
from etl_operator.sandbox.kubelet.images import ImageTable
from etl_operator.sandbox.kubelet.memory import MemoryWatch, platform_reader
from etl_operator.sandbox.kubelet.names import NameRewriter
from etl_operator.sandbox.kubelet.place import Place, pod_directory
from etl_operator.sandbox.kubelet.registration import Registration
from etl_operator.sandbox.kubelet.volumes import claim_directory, remove_orphans
from etl_operator.sandbox.kubelet.worker import PodWorker
from etl_operator.sandbox.loops.kinds import CONFIG_MAP, ENDPOINT_SLICE, POD, PVC, SECRET, SERVICE
from etl_operator.sandbox.naming import SLICE_INDEX, CachedNames, slices_by_service
from etl_operator.sandbox.reaper import Reaper
from etl_operator.sandbox.resolving import Unresolvable
from informers.cache.informer import Delta, Informer
from informers.client import Client
from informers.clock import Clock, SystemClock
from informers.events import EventRecorder
from informers.objects import Object, ObjectKey, Resource

log = logging.getLogger(__name__)

_FIRST_BACKOFF = 0.5
"""Seconds; the kubelet's 10 s spare a registry and a kernel that a local program does not burden."""

_TRIM_EVERY = 10.0


class ProcessNode:
    """The one node of a sandbox.

    :param client: may read pods, services, slices, ConfigMaps, Secrets and claims everywhere, write pods
        and their status, bind and delete them, and write nodes, leases and events.
    :param state_dir: addresses, volumes and logs are below it; used again, pods find them again.
    :param reaper: guards every process the node starts.
    :param name: of the Node object.
    :param domain: the cluster domain.
    :param proxy: URL of the name proxy, for the gRPC of containers; "" for none.
    """

    def __init__(
        self,
        client: Client,
        *,
        state_dir: Path,
        images: ImageTable,
        reaper: Reaper,
        name: str = "sandbox",
        domain: str = "cluster.local",
        proxy: str = "",
        clock: Clock | None = None,
        rng: random.Random | None = None,
        backoff: Callable[[], CrashBackoff] = lambda: CrashBackoff(base=_FIRST_BACKOFF),
    ) -> None:
        clock = clock or SystemClock()
        rng = rng or random.Random()  # noqa: S311 - spreads load, hides nothing
        self._caches = _Caches(client, clock, rng)
        self._client = client
        self._clock = clock
        self._name = name
        state_dir.mkdir(parents=True, exist_ok=True)
        self._events = EventRecorder(client, controller="kubelet", instance=name, clock=clock, rng=rng)
        self._memory = MemoryWatch(platform_reader())
        addresses = AddressBook(state_dir / "addresses.json")
        self._place = Place(
            node=name,
            client=client,
            clock=clock,
            directory=state_dir,
            images=images,
            reaper=reaper,
            addresses=addresses,
            names=_Names(self._caches, addresses, domain).rewriter,
            recorder=self._events,
            find=self._caches.lookup,
            memory=self._memory,
            backoff=backoff,
            proxy=proxy,
        )
        self._workers: dict[str, PodWorker] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled; then every container is stopped, and the pods stay in the API server."""
        registration = Registration(self._client, self._name, self._clock)
        await registration.register()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(registration.run())
                group.create_task(self._events.run())
                group.create_task(self._keep_logs_small())
                group.create_task(self._memory.run())
                for informer in self._caches.all:
                    group.create_task(informer.run())
                await asyncio.gather(*(informer.wait_synced() for informer in self._caches.all))
                self._sweep()
                self._listen()
        finally:
            for worker in self._workers.values():
                worker.shut_down()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        follow: bool,
        tail: int | None,
        previous: bool = False,
    ) -> AsyncGenerator[bytes, None]:
        """A container's output; see :class:`etl_operator.sandbox.http.special.Logs`."""
        key = ObjectKey(namespace, pod)
        worker = next((one for one in reversed(self._workers.values()) if one.key == key), None)
        found = worker.container(container) if worker is not None else None
        if found is None:
            return _nothing()
        return found.output(follow=follow, tail=tail, previous=previous)

    def file(self, pod: ObjectKey, container: str, path: str) -> Path | None:
        """Where a file in a volume of a container is on this machine; ``None`` for a pod that is not here.

        :raises VolumeMissing: while a volume of the pod is not there.
        """
        worker = next((one for one in reversed(self._workers.values()) if one.key == pod), None)
        found = worker.container(container) if worker is not None else None
        return found.file(path) if found is not None else None

    def _listen(self) -> None:
        caches = self._caches
        for informer in (caches.config_maps, caches.secrets, caches.claims):
            informer.add_handler(self._on_config)
        caches.claims.add_handler(self._on_claim)
        caches.pods.add_handler(self._on_pod)

    def _on_pod(self, delta: Delta) -> None:
        old, new = delta.old, delta.new
        # Deleted, or deleted and made again between two looks.
        if old is not None and (new is None or new.uid != old.uid) and old.uid in self._workers:
            self._workers.pop(old.uid).vanish()
        if new is None:
            return
        pod = new.object()
        if new.uid in self._workers:
            self._workers[new.uid].update(pod)
        elif self._takes(pod):
            self._start(PodWorker(self._place, pod))

    def _takes(self, pod: Object) -> bool:
        spec = pod["spec"]
        if spec.get("nodeName"):
            return bool(spec["nodeName"] == self._name)
        return (
            spec.get("schedulerName", "default-scheduler") == "default-scheduler"
            and not spec.get("schedulingGates")
            and not pod["metadata"].get("deletionTimestamp")
            and self._name in _meant_for(spec, self._name)
        )

    def _start(self, worker: PodWorker) -> None:
        self._workers[worker.uid] = worker
        task = asyncio.get_running_loop().create_task(worker.run(), name=f"pod {worker.key}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error(
                "%s: internal error, the node does not run it any more", task.get_name(), exc_info=error
            )

    def _on_config(self, delta: Delta) -> None:
        view = delta.new or delta.old
        for worker in self._workers.values():
            if view is not None and worker.key.namespace == view.key.namespace:
                worker.refresh()

    def _on_claim(self, delta: Delta) -> None:
        if delta.new is None or (delta.old is not None and delta.old.uid != delta.new.uid):
            self._sweep_claims()

    async def _keep_logs_small(self) -> None:
        while True:
            await asyncio.sleep(_TRIM_EVERY)
            for worker in self._workers.values():
                worker.trim_logs()

    def _sweep(self) -> None:
        """Remove what belongs to pods and claims that went away while no node was running."""
        pods = self._place.directory / "pods"
        kept = {pod_directory(view.object()) for view in self._caches.pods.list()}
        for directory in pods.iterdir() if pods.exists() else ():
            if directory.name not in kept:
                shutil.rmtree(directory, ignore_errors=True)
        self._sweep_claims()

    def _sweep_claims(self) -> None:
        remove_orphans(
            self._place.claims, (claim_directory(view.object()) for view in self._caches.claims.list())
        )


def _meant_for(spec: Object, unless_said: str) -> Collection[str]:
    """The names of the nodes a pod is for. Each pod of a DaemonSet is for one, which its affinity names."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    named = [
        name
        for term in required.get("nodeSelectorTerms") or ()
        for field in term.get("matchFields") or ()
        for name in field.get("values") or ()
    ]
    return named or (unless_said,)


async def _nothing() -> AsyncGenerator[bytes, None]:
    for _ in ():
        yield b""


class _Caches:
    """What the node knows of the cluster."""

    def __init__(self, client: Client, clock: Clock, rng: random.Random) -> None:
        def informer(resource: Resource) -> Informer:
            made = Informer(client, resource, clock=clock, rng=rng)
            self.all.append(made)
            return made

        self.all: list[Informer] = []
        self.pods = informer(POD)
        self.config_maps = informer(CONFIG_MAP)
        self.secrets = informer(SECRET)
        self.claims = informer(PVC)
        self.services = informer(SERVICE)
        self.slices = Informer(
            client, ENDPOINT_SLICE, clock=clock, rng=rng, indexes={SLICE_INDEX: slices_by_service}
        )
        self.all.append(self.slices)

    def lookup(self, namespace: str) -> Lookup:
        """Finds the namespace's objects that volumes and environments refer to."""
        by_kind = {
            "ConfigMap": self.config_maps,
            "Secret": self.secrets,
            "PersistentVolumeClaim": self.claims,
        }

        def find(kind: str, name: str) -> Object | None:
            view = by_kind[kind].get(ObjectKey(namespace, name))
            if view is None:
                return None
            # Lists leave the kind of their items out; the readers of data tell Secrets by it.
            return {**view.object(), "kind": kind}

        return find


class _Names:
    """Cluster names to addresses, for the arguments and environment of a container."""

    def __init__(self, caches: _Caches, addresses: AddressBook, domain: str) -> None:
        self._addresses = addresses
        self._known = CachedNames(caches.services, caches.pods, caches.slices, domain)
        self.rewriter = NameRewriter(domain, self._of_pod, self._of_service)

    def _of_pod(self, pod: str, service: str, namespace: str) -> str | None:
        found = self._known.service(ObjectKey(namespace, service))
        if found is not None and found["spec"].get("clusterIP") != "None":
            return None
        # Also before the Service is seen: peers that start together name each other at once.
        return self._addresses.address(ObjectKey(namespace, pod))

    def _of_service(self, service: str, namespace: str, port: int | None) -> tuple[str, int | None] | None:
        found = self._known.service(ObjectKey(namespace, service))
        ports = (found or {"spec": {}})["spec"].get("ports") or ()
        asked = port if port is not None else next((int(entry["port"]) for entry in ports), 0)
        try:
            target = self._known.names.resolve(f"{service}.{namespace}.svc", asked)[0]
        except Unresolvable:
            return None
        return target.address, target.port if port is not None else None
