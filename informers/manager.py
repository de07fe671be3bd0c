"""The manager: one life cycle for everything that runs in an operator.

Up:   servers → events → informers → (synced) → election → (elected) → controllers and runnables.
Down: controllers drain → runnables → events are flushed → informers → the lease → servers.

A standby stops at the election, with warm caches. The lease goes back only after all work has ended; when
it is lost, all work is cancelled at once and :meth:`Manager.run` ends: starting over with a fresh process is
simpler than proving that nothing of the old reign survived.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from informers.access import Access, Preflight
from informers.cache.informer import Informer
from informers.cache.packing import PackingOptions
from informers.caches import Caches, kept
from informers.certificates import ServingCertificate
from informers.client import Client
from informers.clock import Clock
from informers.controller import Controller
from informers.controller.loops import LoopDetector
from informers.debug import debug_routes
from informers.events import EVENT, EventRecorder
from informers.garbage import freeze as freeze_objects
from informers.guard import Guard
from informers.health import Checks, LoopMonitor
from informers.leader import LEASE, LeaderElector
from informers.metrics import Metrics
from informers.objects import Resource
from informers.pages import Pages, servers
from informers.parts import Kind, Parts
from informers.server import BindAddress, HttpServer, health_routes, metrics_routes, parse_bind_address
from informers.tracing import Tracing
from informers.views.view import View

log = logging.getLogger(__name__)

GRACE = 20.0
"""Seconds running reconciles get to finish after a request to stop."""

_FLUSH = 2.0
"""Seconds the last events get to leave."""


class Manager:
    """Owns informers, controllers, servers, events and the election.

    :param client: for everything but the election; with the elector's fence, so that nothing writes
        unless this process leads.
    :param leader: the election to win before controllers run; none runs them at once.
    :param metrics_address: where ``/metrics`` is; ``0`` is off.
    :param health_address: where ``/healthz`` and ``/readyz`` are. The same address shares one socket.
    :param name: the operator's, as events name it.
    :param instance: this process, as events name it; the elector's identity or the host name by default.
    :param grace: seconds running reconciles get to finish on a request to stop; 20 by default.
    :param preflight: ask at the start for every right that informers, controllers, election and events need;
        what is missing shows in readiness. Off by default.
    :param detect_loops: find objects that are written over and over, while this process leads. Takes field
        managers that are ``name``, or begin with it and a slash, for our own. On by default.
    :param metrics_certificate: serve the metrics over TLS, to callers whose bearer token may ``get`` the
        path; see :mod:`informers.guard`. Plain and for everybody by default.
    :param debug: add ``/debug/queues``; :func:`informers.pages.servers` says where and for whom. Off by
        default.
    :param tracing: makes a span of every reconcile; none by default.
    :param watch_loop: measure every second how late the event loop is; of no use in virtual time. On by
        default.
    :param cache_limit: bytes all caches together should take; beyond it they compress all they have, and
        readiness says so if that is not enough. Nothing is refused. No limit by default.
    :param remedy: a command that installs the definitions of the resources that are watched. The log and the
        readiness check ``definitions`` name it with those that the server does not serve. None by default.
    :param missing_patience: seconds after which :meth:`run` ends because of them; 0, the default, waits for
        ever.
    :param freeze: hide what lives at the start, and again once caches are synced, from the garbage
        collector; see :mod:`informers.garbage`. Off for a manager that is not alone in its process.
    :param rng: for jitter and names.
    """

    def __init__(
        self,
        client: Client,
        *,
        clock: Clock,
        metrics: Metrics,
        leader: LeaderElector | None = None,
        metrics_address: str = ":8080",
        health_address: str = ":8081",
        name: str = "controller-manager",
        instance: str = "",
        grace: float = GRACE,
        preflight: bool = False,
        detect_loops: bool = True,
        metrics_certificate: ServingCertificate | None = None,
        debug: bool = False,
        tracing: Tracing | None = None,
        watch_loop: bool = True,
        cache_limit: int = 0,
        remedy: str = "",
        missing_patience: float = 0.0,
        freeze: bool = True,
        rng: random.Random | None = None,
    ) -> None:
        self._loops = LoopDetector(client, own=name, clock=clock, metrics=metrics) if detect_loops else None
        if self._loops is not None:
            client.transport = self._loops.observed(client.transport)
        self.client = client
        self.clock = clock
        self.metrics = metrics
        # Jitter and names need no secrecy.
        self._rng = rng or random.Random()  # noqa: S311
        self._leader = leader
        self._grace = grace
        self.events = EventRecorder(
            client,
            controller=name,
            instance=instance or (leader.identity if leader else platform.node()) or name,
            clock=clock,
            rng=self._rng,
            metrics=metrics,
        )
        self._preflight = preflight
        self._certificate = metrics_certificate
        self._debug = debug
        self._tracing = tracing
        self._watch_loop = watch_loop
        self._freeze = freeze
        if self._loops is not None:
            self._loops.events = self.events
        self.live = Checks()
        self.ready = Checks()
        self._addresses = (parse_bind_address(metrics_address), parse_bind_address(health_address))
        self._servers: list[HttpServer] = []
        self._caches = Caches(
            client,
            clock=clock,
            metrics=metrics,
            rng=self._rng,
            limit=cache_limit,
            live=self.live,
            ready=self.ready,
            remedy=remedy,
            patience=missing_patience,
        )
        self._controllers: dict[str, Controller] = {}
        self._runnables: dict[str, Callable[[], Awaitable[None]]] = {}
        self._parts = Parts()
        self._started = self._serving = False
        self.ready.add("shutdown", lambda: "the process is stopping" if self._parts.stopping else None)
        if leader is not None:
            self._show_leader(leader)

    # -- wiring -----------------------------------------------------------------------------------

    def informer(
        self,
        resource: Resource,
        *,
        namespaces: Sequence[str] = (),
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        indexes: Mapping[str, Callable[[View], Iterable[str]]] | None = None,
        packing: PackingOptions | None = None,
    ) -> Informer:
        """The informer of a resource; the same for everybody who asks for the same.

        In a manager that runs, a new one starts at once; await its ``wait_synced`` before it is read.

        :param namespaces: watch only these; all by default. Ignored for cluster-scoped resources.
        :param label_selector: watch only what it selects; everything by default.
        :param field_selector: the same of fields, such as ``spec.nodeName=worker``.
        :param metadata_only: keep metadata only.
        :param indexes: by name, functions from an object to the values it is found under. The first to ask
            for an informer names them.
        :param packing: what is compressed, and when; the first to ask says so as well.
        :raises ValueError: when the informer exists already, and indexes or packing are given.
        """
        wanted = kept(
            resource,
            namespaces=namespaces,
            label_selector=label_selector,
            field_selector=field_selector,
            metadata_only=metadata_only,
        )
        known = self._caches.find(wanted)
        if known is not None:
            if indexes or packing:
                raise ValueError(
                    f"the informer of {resource} exists; only its first user can set indexes and packing"
                )
            return known
        informer = self._caches.add(wanted, indexes or {}, packing)
        if self._loops is not None:
            self._loops.watch(informer)
        if self._serving:
            self._watch(informer)
        return informer

    def detach(self, informer: Informer) -> None:
        """End an informer, for everybody: its watch, the sources on it, its checks and its series.

        Nobody is told that its objects are gone, for they are not. What still reads it is told, by
        :class:`informers.errors.Detached`. Who asks for the same again gets another informer.

        :raises ValueError: when it does not belong to this manager, or was detached.
        """
        self._caches.detach(informer)
        for controller in self._controllers.values():
            controller.unwatch(informer)
        if self._loops is not None:
            self._loops.forget(informer)

    def add(self, controller: Controller) -> None:
        """Add a controller. It runs while this process leads.

        :raises ValueError: when its name is taken.
        """
        self._check_not_started()
        if controller.name in self._controllers:
            raise ValueError(f"a controller named {controller.name} exists already")
        self._controllers[controller.name] = controller
        controller.seed(self._rng)
        controller.measure(self.metrics)
        if self._tracing is not None:
            controller.trace(self._tracing)
        self.live.add(f"controller/{controller.name}", controller.health)

    def add_runnable(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Add something that runs while this process leads. It may return; raising ends the manager.

        :raises ValueError: when the name is taken.
        """
        self._check_not_started()
        if name in self._runnables:
            raise ValueError(f"a runnable named {name} exists already")
        self._runnables[name] = run

    def accesses(self) -> list[Access]:
        """What this process does with the API server, as far as it is known beforehand: what ``preflight``
        asks for."""
        found = self._caches.accesses()
        for controller in self._controllers.values():
            found += controller.access
        where = self._caches.namespaces()
        if self._leader is not None:
            lease = self._leader.key
            found.append(Access(LEASE, ("create",), (lease.namespace,)))
            found.append(Access(LEASE, ("get", "update"), (lease.namespace,), name=lease.name))
            if where:
                # The holder of the lease is reported there.
                where.add(lease.namespace)
        return [*found, Access(EVENT, ("create", "patch"), sorted(where))]

    @property
    def addresses(self) -> Sequence[BindAddress]:
        """Where the servers listen, with the real ports once :meth:`run` has started them."""
        return [server.address for server in self._servers]

    def _check_not_started(self) -> None:
        if self._started:
            raise RuntimeError("the manager is running already; add everything before")

    def _name_strangers(self) -> None:
        for controller in self._controllers.values():
            for informer in controller.informers:
                if informer not in self._caches:
                    log.warning(
                        "an informer does not belong to this manager",
                        extra={"controller": controller.name, "resource": str(informer.resource)},
                    )

    def _show_leader(self, leader: LeaderElector) -> None:
        self.ready.add("leader-election", leader.health)
        label = (leader.key.name,)
        self.metrics.sampled(
            "leader_election_master_status",
            "1 if this process holds the lease.",
            ("name",),
            lambda: ((label, float(leader.leading)),),
        )

    # -- life -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until cancelled, or until a part fails. For one call.

        Cancelling stops gracefully; cancelling again ends the grace.

        :raises informers.errors.RuntimeFault: when the lease is lost, a part ends on its own, or an address
            cannot be listened on.
        :raises Exception: what ended an informer, a controller or a runnable.
        """
        self._check_not_started()
        self._started = True
        self._name_strangers()
        if self._freeze:
            freeze_objects(collect=False)
        try:
            await self._start_servers()
            await self._serve()
        finally:
            for server in self._servers:
                await server.stop()

    async def _serve(self) -> None:
        self._parts.spawn("events", self.events.run())
        monitor = LoopMonitor(self.clock, self.metrics)
        if self._watch_loop:
            self._parts.spawn("loop-monitor", monitor.run())
        if self._preflight:
            preflight = Preflight(self.client, self.accesses(), clock=self.clock)
            self.ready.add("access", preflight.health)
            self._parts.spawn("preflight", preflight.run(), Kind.RUNNABLE)
        self._serving = True
        for informer in self._caches:
            self._watch(informer)
        clean = False
        try:
            await self._parts.until(self._synced())
            await self._lead()
            await self._parts.until(None)
        except asyncio.CancelledError:
            await self._drain()
            raise
        finally:
            self._serving = False
            clean = await self._end()
            if self._leader is not None and clean:
                await self._leader.release()
            elif self._leader is not None:
                log.warning(
                    "the lease is not released and will expire: some work did not end and can still write"
                )

    def _watch(self, informer: Informer) -> None:
        self._parts.spawn(f"informer of {informer.resource}", informer.run(), Kind.WATCH)

    async def _synced(self) -> None:
        await self._caches.wait_synced()
        if self._freeze:
            freeze_objects(collect=True)

    async def _lead(self) -> None:
        if self._leader is not None:
            await self._parts.until(self._leader.acquire())
            self._parts.spawn("leader election", self._leader.hold())
            self._tell_election(f"{self._leader.identity} became leader")
        for controller in self._controllers.values():
            self._parts.spawn(f"controller {controller.name}", controller.run())
        for name, run in self._runnables.items():
            self._parts.spawn(name, _call(run), Kind.RUNNABLE)
        if self._loops is not None:
            self._parts.spawn("loop detector", self._loops.run(), Kind.RUNNABLE)

    def _tell_election(self, note: str) -> None:
        if self._leader is not None:
            lease = self._leader.reference()
            self.events.event(lease, type="Normal", reason="LeaderElection", action="Elect", note=note)

    async def _drain(self) -> None:
        """Let running reconciles finish, while the lease is still renewed and caches still follow."""
        self._parts.stopping = True
        log.info("stopping; waiting for running reconciles", extra={"grace": self._grace})
        await self._parts.until(self._stop_controllers())
        await self._parts.cancel(Kind.RUNNABLE)
        if self._leader is not None and self._leader.leading:
            self._tell_election(f"{self._leader.identity} stopped leading")
        await self._parts.until(self.events.flush(_FLUSH))

    async def _stop_controllers(self) -> None:
        stops = [controller.stop(self._grace) for controller in self._controllers.values()]
        for controller, late in zip(self._controllers, await asyncio.gather(*stops), strict=True):
            for key in late:
                log.warning(
                    "reconcile cancelled: it did not finish in time",
                    extra={"controller": controller, "key": key, "grace": self._grace},
                )

    async def _end(self) -> bool:
        """Cancel whatever is left, work first; True when all of it has ended."""
        ended = await self._parts.end()
        return ended and all(controller.idle for controller in self._controllers.values())

    # -- servers ----------------------------------------------------------------------------------

    async def _start_servers(self) -> None:
        debug = debug_routes(self._controllers.values(), self._caches) if self._debug else {}
        wanted = servers(
            Pages(metrics_routes(self.metrics), health_routes(self.live, self.ready), debug),
            *self._addresses,
            certificate=self._certificate,
            guard=Guard(self.client, clock=self.clock),
        )
        for server in wanted:
            await server.start()
            self._servers.append(server)
            log.info("listening for %s", server.what, extra={"address": server.address})


async def _call(run: Callable[[], Awaitable[None]]) -> None:
    await run()
