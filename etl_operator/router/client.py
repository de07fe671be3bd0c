"""Calls to one router node: a deadline on each, bounded retries of what may be repeated, one error model."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import grpc
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random

from etl_operator.router import methods as m
from etl_operator.router.channels import Channels, Connection, Fence
from etl_operator.router.endpoints import Answer, Endpoints
from etl_operator.router.errors import (
    Missing,
    RouterError,
    TimedOut,
    Unimplemented,
    Unreachable,
    from_refusal,
    from_status,
)
from etl_operator.router.heartbeat import HeartbeatStream
from etl_operator.router.leaders import Leaders
from etl_operator.router.metadata import buffer_trouble
from etl_operator.router.methods import PREFIXES, A, Method, Q
from etl_operator.router.pb import registry_pb2, router_pb2
from etl_operator.router.registration import DEFAULT_TTL, Lease, Registration
from etl_operator.router.sharing import UnderWay
from etl_operator.tls.credentials import ChannelTls

Observer = Callable[[str, str, str, float], None]
"""Called after each RPC with cluster, method, gRPC code by name, seconds."""

ATTEMPTS = 3
"""Tries of an idempotent call whose connection broke; all of them share one deadline."""

REPROBE = 60.0
"""Seconds a known package prefix is trusted although the router answers UNIMPLEMENTED."""

PAUSE = (0.02, 0.1)
"""Seconds between these tries, at least and at most."""


def _worth_another_try(error: BaseException) -> bool:
    """A lost connection is; a deadline that has passed is not."""
    return isinstance(error, Unreachable) and not isinstance(error, TimedOut)


_RETRYING = AsyncRetrying(
    # The first try comes before.
    stop=stop_after_attempt(ATTEMPTS - 1),
    wait=wait_random(*PAUSE),
    retry=retry_if_exception(_worth_another_try),
    reraise=True,
)

_POD = re.compile(r"(?P<cluster>.+)-\d+\.[^.]+\.(?P<namespace>[^.]+)\.svc\b.*")


def cluster_of(address: str) -> str:
    """The cluster behind a pod's address, for metrics: ``namespace/name``; any other host as it is."""
    host = address.rpartition(":")[0]
    found = _POD.fullmatch(host)
    return f"{found['namespace']}/{found['cluster']}" if found else host


class RouterClients:
    """Every router node this process talks to, and what it has learned about them.

    :param observe: called after every RPC, see :data:`Observer`.
    :param fence: asked before every write, at each of its tries; what it raises goes to the caller as it is,
        and nothing is sent. None by default: every write passes.
    :param prefix: package prefix of the routers' API, one of :data:`PREFIXES` as a rule; found out per
        address when not given.
    :param deadline: seconds a call may take, retries included.
    :param status_deadline: the same for GetClusterStatus, which is asked of every pod every few seconds.
    :param limit: channels kept open at most, beside those in use.
    :param idle: seconds after which an unused channel is closed.
    :param endpoints_age: seconds an answer about a service's endpoints is shared by all who ask for it.
    """

    def __init__(
        self,
        observe: Observer | None = None,
        *,
        fence: Fence | None = None,
        prefix: str = "",
        deadline: float = 5.0,
        status_deadline: float = 3.0,
        limit: int = 1_000,
        idle: float = 300.0,
        endpoints_age: float = 2.0,
    ) -> None:
        self.observe: Observer = observe or _ignore
        self.fence: Fence = fence or _pass
        self.deadline = deadline
        self.status_deadline = status_deadline
        self.channels = Channels(limit=limit, idle=idle)
        self.prefixes = Prefixes(prefix)
        self.leaders = Leaders()
        self.endpoints = Endpoints(endpoints_age)

    def node(self, address: str) -> RouterNode:
        """The node at ``host:port``. Costs nothing until it is called."""
        return RouterNode(self, address)

    def secure(self, address: str, tls: ChannelTls | None) -> None:
        """How the node at an address is called from now on: with these certificates, or without TLS.

        The node's certificate must be valid for the host of the address.
        """
        self.channels.secure(address, tls)

    def await_certificates(self, needed: Callable[[str], bool]) -> None:
        """Let calls of addresses for which this is true wait, within their deadline, for :meth:`secure`."""
        self.channels.awaits = needed

    def may_write(self) -> bool:
        """Whether the fence would let a write pass now."""
        try:
            self.fence()
        except Exception:
            return False
        return True

    async def close(self) -> None:
        """Close every channel. Calls in flight fail as :class:`Unreachable`."""
        await self.channels.close()


class Prefixes:
    """The package prefix that each address serves."""

    def __init__(self, pinned: str) -> None:
        self.pinned = pinned
        self._known: dict[str, tuple[str, float]] = {}
        self._probing: UnderWay[str, str] = UnderWay()

    def of(self, address: str) -> str:
        """The prefix to try first."""
        return self.pinned or self._known.get(address, (PREFIXES[0], 0.0))[0]

    def confirm(self, address: str, prefix: str) -> None:
        """An answer came under this prefix."""
        if address not in self._known or self._known[address][0] != prefix:
            self._note(address, prefix)

    def doubtful(self, address: str) -> bool:
        """Whether UNIMPLEMENTED may mean the wrong prefix rather than a missing method."""
        if self.pinned:
            return False
        _, since = self._known.get(address, ("", -REPROBE))
        return asyncio.get_running_loop().time() - since >= REPROBE

    async def probe(self, node: RouterNode) -> str:
        """Find the prefix by asking; callers of one address share the question."""
        return await self._probing.ask(node.address, lambda: self._ask(node))

    async def _ask(self, node: RouterNode) -> str:
        first = self.of(node.address)
        for prefix in (first, *(one for one in PREFIXES if one != first)):
            try:
                await node.answers_to(prefix)
            except Unimplemented:
                continue
            self._note(node.address, prefix)
            return prefix
        self._note(node.address, first)
        return first

    def _note(self, address: str, prefix: str) -> None:
        if len(self._known) >= 10_000:
            # Addresses of clusters long gone; the living are asked once more.
            self._known.clear()
        self._known[address] = (prefix, asyncio.get_running_loop().time())


class RouterNode:
    """One router node.

    Every method raises a :class:`RouterError` when the node does not answer, or answers no; those that write
    also raise what the fence raises.
    """

    def __init__(self, clients: RouterClients, address: str) -> None:
        self._clients = clients
        self.address = address
        self.buffer_trouble = ""
        """Why the durable buffer cannot be used, as GetPipeline or GetClusterStatus said last; or empty."""

    # -- pipelines ----------------------------------------------------------------------------------

    async def get_cluster_status(self) -> router_pb2.GetClusterStatusResponse:
        """What this node knows of the Raft cluster."""
        request = router_pb2.GetClusterStatusRequest()
        return await self._call(m.GET_CLUSTER_STATUS, request, self._clients.status_deadline)

    async def get_pipeline(self, name: str) -> router_pb2.GetPipelineResponse | None:
        """A pipeline by id, or ``None``. Any node answers; one that does not lead may be behind."""
        try:
            answer = await self._call(m.GET_PIPELINE, router_pb2.GetPipelineRequest(pipeline_id=name))
        except Missing:
            return None
        return answer if answer.found else None

    async def list_pipelines(self, include_disabled: bool = False) -> Sequence[router_pb2.PipelineConfig]:
        """Every pipeline the node knows."""
        request = router_pb2.ListPipelinesRequest(include_disabled=include_disabled)
        return (await self._call(m.LIST_PIPELINES, request)).pipelines

    async def create_pipeline(self, config: router_pb2.PipelineConfig) -> str:
        """Create a pipeline, disabled. Overwrites one of the same id: look first. Returns its id."""
        answer = await self._call(m.CREATE_PIPELINE, router_pb2.CreatePipelineRequest(config=config))
        self._accepted(answer.success, answer.error, m.CREATE_PIPELINE.name)
        return answer.pipeline_id

    async def update_pipeline(self, name: str, config: router_pb2.PipelineConfig) -> int:
        """Replace a pipeline's config, not its enabled flag. Returns the new version."""
        request = router_pb2.UpdatePipelineRequest(pipeline_id=name, config=config)
        answer = await self._call(m.UPDATE_PIPELINE, request)
        self._accepted(answer.success, answer.error, m.UPDATE_PIPELINE.name)
        return answer.version

    async def enable_pipeline(self, name: str) -> None:
        """Let records flow."""
        answer = await self._call(m.ENABLE_PIPELINE, router_pb2.EnablePipelineRequest(pipeline_id=name))
        self._accepted(answer.success, answer.error, m.ENABLE_PIPELINE.name)

    async def disable_pipeline(self, name: str, drain: bool = True) -> int:
        """Let no further records in. Returns how many are still inside."""
        request = router_pb2.DisablePipelineRequest(pipeline_id=name, drain=drain)
        answer = await self._call(m.DISABLE_PIPELINE, request)
        self._accepted(answer.success, answer.error, m.DISABLE_PIPELINE.name)
        return answer.pending_records

    async def delete_pipeline(self, name: str, force: bool = False) -> None:
        """Delete a pipeline; one that is not there is a success."""
        request = router_pb2.DeletePipelineRequest(pipeline_id=name, force=force)
        try:
            answer = await self._call(m.DELETE_PIPELINE, request)
            self._accepted(answer.success, answer.error, m.DELETE_PIPELINE.name)
        except Missing:
            return

    # -- services -----------------------------------------------------------------------------------

    async def register(self, registration: Registration) -> Lease:
        """Enter a service into this node's registry, or replace its entry."""
        with self._registry_changes():
            answer = await self._call(m.REGISTER, registration.request())
        self._accepted(answer.success, "", m.REGISTER.name)
        ttl = answer.lease_ttl.seconds + answer.lease_ttl.nanos / 1e9
        return Lease(answer.registration_id or registration.service_id, ttl if ttl > 0 else DEFAULT_TTL)

    async def deregister(self, service: str) -> None:
        """Take a service out of this node's registry; one that is not there is a success."""
        request = registry_pb2.DeregisterRequest(service_id=service, graceful=True)
        try:
            with self._registry_changes():
                answer = await self._call(m.DEREGISTER, request)
            self._accepted(answer.success, "", m.DEREGISTER.name)
        except Missing:
            return

    async def list_services(self) -> Sequence[registry_pb2.RegisteredService]:
        """Everything in this node's registry, also what has expired."""
        request = registry_pb2.ListServicesRequest(include_unhealthy=True)
        return (await self._call(m.LIST_SERVICES, request)).services

    async def get_service_endpoints(self, name: str) -> Answer:
        """Live endpoints behind a service name, as this node resolves it.

        The answer may be ``endpoints_age`` seconds old, but never older than what these clients have
        registered or deregistered with the node since.
        """

        async def ask() -> Answer:
            request = registry_pb2.GetServiceEndpointsRequest(service_name=name)
            return (await self._call(m.GET_SERVICE_ENDPOINTS, request)).endpoints

        return await self._clients.endpoints.of(self.address, name, ask)

    def heartbeats(self) -> HeartbeatStream:
        """A new stream of heartbeats, to be closed. Connects when first used."""
        clients = self._clients
        connection = clients.channels.acquire(self.address)
        return HeartbeatStream(
            connection,
            m.HEARTBEAT.path(clients.prefixes.of(self.address)),
            self.address,
            clients.deadline,
            lambda: clients.channels.release(connection),
            clients.fence,
        )

    # -- below --------------------------------------------------------------------------------------

    @contextmanager
    def _registry_changes(self) -> Iterator[None]:
        try:
            yield
        finally:
            # Also after an error: the call may have had its effect.
            self._clients.endpoints.forget(self.address)

    async def answers_to(self, prefix: str) -> None:
        """Ask for nothing, under a package prefix.

        The registry is asked because every build serves it, RouterAdmin none that was published.

        :raises Unimplemented: when the node does not serve that prefix.
        """
        request = registry_pb2.GetServiceEndpointsRequest()
        end = asyncio.get_running_loop().time() + self._clients.deadline
        await self._repeatedly(m.GET_SERVICE_ENDPOINTS, request, prefix, end)

    def _accepted(self, success: bool, error: str, method: str) -> None:
        if not success:
            raise from_refusal(error, address=self.address, method=method)

    async def _call(self, method: Method[Q, A], request: Q, deadline: float | None = None) -> A:
        clients = self._clients
        end = asyncio.get_running_loop().time() + (deadline or clients.deadline)
        prefix = clients.prefixes.of(self.address)
        try:
            answer = await self._repeatedly(method, request, prefix, end)
        except Unimplemented:
            if not clients.prefixes.doubtful(self.address):
                raise
            found = await clients.prefixes.probe(self)
            if found == prefix:
                raise
            return await self._repeatedly(method, request, found, end)
        clients.prefixes.confirm(self.address, prefix)
        return answer

    async def _repeatedly(self, method: Method[Q, A], request: Q, prefix: str, end: float) -> A:
        loop = asyncio.get_running_loop()

        async def once() -> A:
            return await self._once(method, request, prefix, end - loop.time())

        try:
            return await once()
        except Unreachable as error:
            if not method.idempotent or not _worth_another_try(error):
                raise
        # The machinery of retries costs as much as half a call, so it is for calls that need it.
        await asyncio.sleep(random.uniform(*PAUSE))  # noqa: S311 - jitter needs no secrecy
        return await _RETRYING.copy()(once)

    async def _once(self, method: Method[Q, A], request: Q, prefix: str, seconds: float) -> A:
        clients, loop = self._clients, asyncio.get_running_loop()
        began = loop.time()
        code = grpc.StatusCode.OK
        if clients.channels.undecided(self.address):
            await clients.channels.decided(self.address, seconds)
            if clients.channels.undecided(self.address):
                why = "its certificates have not been read yet"
                raise self._error(method, grpc.StatusCode.DEADLINE_EXCEEDED, why)
            seconds -= loop.time() - began
        with clients.channels.use(self.address) as connection:
            if method.writes:
                await connection.settle(seconds)
                if connection.closed:
                    raise self._error(method, grpc.StatusCode.CANCELLED, "the client was closed")
                seconds -= loop.time() - began
                # Nothing may be waited for between this and the call.
                clients.fence()
            try:
                stub = connection.unary(
                    method.path(prefix), method.request.SerializeToString, method.answer.FromString
                )
                call = stub(request, timeout=max(seconds, 0.001))
                answer: A = await call
                if method.tells_buffer:
                    self.buffer_trouble = buffer_trouble(await call.trailing_metadata())
            except grpc.aio.AioRpcError as error:
                code = error.code()
                raise self._error(method, code, error.details()) from error
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                if _cut_off(connection):
                    raise self._error(method, code, "the client was closed") from None
                raise
            finally:
                elapsed = loop.time() - began
                clients.observe(cluster_of(self.address), method.name, code.name, elapsed)
        return answer

    def _error(self, method: Method[Q, A], code: grpc.StatusCode, details: str | None) -> RouterError:
        return from_status(code, details, address=self.address, service=method.service, method=method.name)


def _cut_off(connection: Connection) -> bool:
    """Whether the channel was closed under the call: gRPC then cancels callers nobody has cancelled."""
    task = asyncio.current_task()
    return connection.closed and not (task and task.cancelling())


def _ignore(cluster: str, method: str, code: str, seconds: float) -> None:
    """Nobody is interested."""


def _pass() -> None:
    """There is no fence."""
