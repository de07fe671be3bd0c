"""A node's life: bind, take part, serve, leave."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
import uuid
from collections import Counter
from typing import Any

import grpc.aio

from etl_operator.node.bridge.side import DataSide
from etl_operator.node.bridge.workers import port_is_free
from etl_operator.node.consensus.address import Address
from etl_operator.node.consensus.engine import ConsensusError, StorageError
from etl_operator.node.control import services, state
from etl_operator.node.control.backup import BackupService
from etl_operator.node.control.backups import Backups
from etl_operator.node.control.checkpointing import CheckpointService
from etl_operator.node.control.registry import Registry
from etl_operator.node.data.graph import refusal
from etl_operator.node.engines import Identity, StartError, choose
from etl_operator.node.http import health_routes
from etl_operator.node.limits import GRACE, server_options
from etl_operator.node.settings import Settings
from etl_operator.node.worker.port import Port
from etl_operator.probes import HttpServer
from etl_operator.router.pb import backup_pb2, checkpoint_pb2, registry_pb2, router_pb2
from etl_operator.tls.relay import OwnSocket

log = logging.getLogger(__name__)


class NodeProcess:
    """One node in this process."""

    def __init__(self, identity: Identity, settings: Settings) -> None:
        self._identity = identity
        self._settings = settings
        self._state = state.RouterState()
        self._registry = Registry(time.monotonic, settings.node.lease_seconds)
        self._calls: Counter[str] = Counter()
        self._engine = choose(identity, settings, self._state)
        # Who can connect to it, in the same network namespace, can connect to the public port as well, which
        # serves the same.
        self._control = OwnSocket("control").target
        self._data = DataSide(
            self._engine,
            self._state,
            self._registry,
            settings,
            listen=identity.listen,
            control=self._control,
            on_serving=self._changed,
        )
        self._leaving = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._health: Any = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. SIGUSR1 asks another node to lead.

        :raises StartError: something cannot be bound or opened.
        :raises ConsensusError: the engine stopped itself, as on a broken disk.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGUSR1, lambda: self._spawn(self._engine.hand_over()))
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            await self._until(stop)
            log.info("leaving")
            self._leaving = True
            self._changed()
            await self._data.leave()

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        identity = self._identity
        self._data.prepare()
        stack.push_async_callback(self._data.stop)
        self._engine.on_change(self._changed)
        with _explained("Raft", identity.raft):
            await self._engine.start()
        stack.push_async_callback(self._engine.stop)
        for name, bind, routes in self._pages():
            server = HttpServer(bind, routes, what=name)
            with _explained(name, bind):
                await server.start()
            stack.push_async_callback(server.stop)
        rpc = self._rpc_server()
        port = Port(str(identity.listen), self._settings)
        port.check()
        with _explained("gRPC", identity.listen):
            if self._settings.node.data_workers:
                await port_is_free(identity.listen)
                rpc.add_insecure_port(self._control)
            else:
                await port.open(rpc)
                stack.push_async_callback(port.close)
        await rpc.start()
        # Left in reverse order: gRPC first would cut calls off while leadership is handed over.
        stack.push_async_callback(rpc.stop, GRACE)
        self._data.start()
        if self._settings.node.data_workers:
            # They end before the server to which they forward.
            stack.push_async_callback(self._data.stop)
        stack.push_async_callback(self._engine.hand_over)
        log.info(
            "node %d serves gRPC on %s, Raft on %s, HTTP on %s; peers: %s",
            identity.node_id,
            identity.listen,
            identity.raft,
            identity.http,
            ", ".join(f"{peer} at {address}" for peer, address in identity.peers.items()) or "none",
        )

    async def _until(self, stop: asyncio.Event) -> None:
        ending = asyncio.create_task(stop.wait())
        failing = asyncio.create_task(self._engine.failed())
        await asyncio.wait([ending, failing], return_when=asyncio.FIRST_COMPLETED)
        failed = failing.result() if failing.done() else None
        for task in (ending, failing):
            task.cancel()
        if failed is not None:
            raise failed

    def _pages(self) -> list[tuple[str, Address, Any]]:
        health = health_routes(self._engine, lambda: self._leaving, lambda: self._data.is_serving)
        pages: list[tuple[str, Address, Any]] = [
            ("HTTP", self._identity.http, health),
        ]
        if self._identity.metrics is not None:
            from etl_operator.node.metrics import NodeCollector, metrics_routes

            collector = NodeCollector(
                self._engine,
                self._state,
                self._registry,
                self._calls,
                lambda: self._engine.flushes,
                self._data.report,
                self._data.calls,
                self._data.figures,
            )
            pages.append(("metrics", self._identity.metrics, metrics_routes(collector)))
        return pages

    def _rpc_server(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=server_options(self._settings.grpc, reuse_port=False))
        node = self._settings.node
        offered: list[tuple[Any, object]] = [
            (
                registry_pb2.DESCRIPTOR.services_by_name["ServiceRegistry"],
                services.ServiceRegistry(self._registry, node, self._data.records),
            )
        ]
        checkpoints = CheckpointService(self._engine, self._state, self._data.peers)
        offered.append((checkpoint_pb2.DESCRIPTOR.services_by_name["CheckpointService"], checkpoints))
        if node.router_admin:
            admin = services.RouterAdmin(self._engine, self._state, node, refusal, self._data.records)
            offered.append((router_pb2.DESCRIPTOR.services_by_name["RouterAdmin"], admin))
            # Published routers do not serve it either.
            offered.append((backup_pb2.DESCRIPTOR.services_by_name["BackupService"], self._backup_service()))
        server.add_generic_rpc_handlers(
            [services.handlers(descriptor, servicer, node, self._count) for descriptor, servicer in offered]
        )
        server.add_generic_rpc_handlers(self._data.handlers(self._count))
        if node.health_service:
            from grpc_health.v1 import health, health_pb2_grpc

            self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
            self._changed()
        if node.reflection:
            from etl_operator.node.reflection import add_reflection

            names = [descriptor.full_name for descriptor, _ in offered]
            add_reflection(server, names, node)
        return server

    def _backup_service(self) -> BackupService:
        backups = Backups(self._identity.data_dir / f"backups-{self._identity.node_id}")
        with contextlib.suppress(OSError):
            backups.clean()
        services = self._registry.__len__
        return BackupService(self._engine, self._state, self._data.peers, backups, services)

    def _count(self, method: str) -> None:
        self._calls[method] += 1

    def _changed(self) -> None:
        status = self._engine.status()
        leads = status.leader_id == status.node_id
        if leads and status.caught_up and not self._state.cluster_id:
            self._spawn(self._name_cluster())
        if self._health is not None:
            from grpc_health.v1 import health_pb2

            ready = status.leader_id is not None and status.caught_up and not self._leaving
            ready = ready and self._data.is_serving
            kinds = health_pb2.HealthCheckResponse
            self._spawn(self._health.set("", kinds.SERVING if ready else kinds.NOT_SERVING))

    async def _name_cluster(self) -> None:
        # A later leader tries again.
        with contextlib.suppress(ConsensusError):
            await self._engine.propose(state.encode(state.NameCluster(uuid.uuid4().hex)))

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@contextlib.contextmanager
def _explained(what: str, bind: Address) -> Any:
    try:
        yield
    except StorageError as error:
        raise StartError(str(error)) from error
    except (OSError, RuntimeError) as error:
        raise StartError(f"cannot listen on {bind} for {what}: {error}") from error


async def run(identity: Identity, settings: Settings) -> None:
    """Run a node until it is stopped; see `NodeProcess.run`."""
    await NodeProcess(identity, settings).run()
