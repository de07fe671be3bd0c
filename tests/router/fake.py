"""Router nodes for tests: real gRPC on loopback, behaving as the contract says, with switches for faults."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from etl_operator.router import methods as m
from etl_operator.router.pb import registry_pb2, router_pb2

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass
class Pipeline:
    """A pipeline in the replicated state machine."""

    config: router_pb2.PipelineConfig
    enabled: bool = False
    version: int = 1


@dataclass
class FakeCluster:
    """What the nodes of one cluster share."""

    leader: int = 1
    term: int = 1
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    refuse: Callable[[Context], Any] | None = None
    """How a node that does not lead refuses; ``None`` is ``success=false``."""


class FakeRouter:
    """One node. Attributes are switches and may be changed while it runs."""

    def __init__(self, cluster: FakeCluster | None = None, node_id: int = 1, *, prefix: str = "etl") -> None:
        self.cluster = cluster or FakeCluster()
        self.node_id = node_id
        self.prefix = prefix
        self.admin = True
        """Serve RouterAdmin, as no published build does."""
        self.delay = 0.0
        """Seconds before any answer."""
        self.lease = 30.0
        """Seconds."""
        self.silent_heartbeats = False
        """Take heartbeats and answer none."""
        self.broken_calls = 0
        """So many calls from now fail as if the connection had broken."""
        self.register_error: tuple[grpc.StatusCode, str] | None = None
        self.registry: dict[str, registry_pb2.RegisterRequest] = {}
        self.beats: dict[str, int] = {}
        self.health: dict[str, registry_pb2.ServiceHealth] = {}
        self.registrations: list[str] = []
        self.calls: list[str] = []
        self.streams = 0
        self._server: grpc.aio.Server | None = None
        self._port = 0

    # -- life -----------------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """``host:port``; the same after a restart."""
        return f"127.0.0.1:{self._port}"

    async def start(self) -> FakeRouter:
        """Listen, with an empty registry."""
        self.registry.clear()
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers([_Handlers(self)])
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        await self._server.start()
        return self

    async def stop(self) -> None:
        """Die: connections break, the port refuses."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def restart(self) -> None:
        """Die and come back having forgotten every service."""
        await self.stop()
        await self.start()

    # -- RouterAdmin ----------------------------------------------------------------------------------

    async def GetClusterStatus(self, request: Any, context: Context) -> router_pb2.GetClusterStatusResponse:
        return router_pb2.GetClusterStatusResponse(
            node_id=self.node_id, leader_id=self.cluster.leader, term=self.cluster.term
        )

    async def GetPipeline(self, request: Any, context: Context) -> router_pb2.GetPipelineResponse:
        found = self.cluster.pipelines.get(request.pipeline_id)
        if found is None:
            return router_pb2.GetPipelineResponse(found=False)
        status = router_pb2.PipelineStatus(enabled=found.enabled, version=found.version)
        return router_pb2.GetPipelineResponse(found=True, config=found.config, status=status)

    async def ListPipelines(self, request: Any, context: Context) -> router_pb2.ListPipelinesResponse:
        wanted = [
            one.config for one in self.cluster.pipelines.values() if one.enabled or request.include_disabled
        ]
        return router_pb2.ListPipelinesResponse(pipelines=wanted)

    async def CreatePipeline(self, request: Any, context: Context) -> router_pb2.CreatePipelineResponse:
        if await self._follows(context):
            return router_pb2.CreatePipelineResponse(error="Not the leader")
        self.cluster.pipelines[request.config.id] = Pipeline(request.config)
        return router_pb2.CreatePipelineResponse(success=True, pipeline_id=request.config.id)

    async def UpdatePipeline(self, request: Any, context: Context) -> router_pb2.UpdatePipelineResponse:
        if await self._follows(context):
            return router_pb2.UpdatePipelineResponse(error="Not the leader")
        found = self.cluster.pipelines.get(request.pipeline_id)
        if found is None:
            error = f"pipeline not found: {request.pipeline_id}"
            return router_pb2.UpdatePipelineResponse(error=error)
        found.config, found.version = request.config, found.version + 1
        return router_pb2.UpdatePipelineResponse(success=True, version=found.version)

    async def EnablePipeline(self, request: Any, context: Context) -> router_pb2.EnablePipelineResponse:
        if await self._follows(context):
            return router_pb2.EnablePipelineResponse(error="Not the leader")
        self.cluster.pipelines[request.pipeline_id].enabled = True
        return router_pb2.EnablePipelineResponse(success=True)

    async def DisablePipeline(self, request: Any, context: Context) -> router_pb2.DisablePipelineResponse:
        if await self._follows(context):
            return router_pb2.DisablePipelineResponse(error="Not the leader")
        self.cluster.pipelines[request.pipeline_id].enabled = False
        return router_pb2.DisablePipelineResponse(success=True, pending_records=7 if request.drain else 0)

    async def DeletePipeline(self, request: Any, context: Context) -> router_pb2.DeletePipelineResponse:
        if await self._follows(context):
            return router_pb2.DeletePipelineResponse(error="Not the leader")
        if self.cluster.pipelines.pop(request.pipeline_id, None) is None:
            return router_pb2.DeletePipelineResponse(error=f"pipeline not found: {request.pipeline_id}")
        return router_pb2.DeletePipelineResponse(success=True)

    async def _follows(self, context: Context) -> bool:
        if self.cluster.leader == self.node_id:
            return False
        if self.cluster.refuse is not None:
            await self.cluster.refuse(context)
        return True

    # -- ServiceRegistry ------------------------------------------------------------------------------

    async def Register(self, request: Any, context: Context) -> registry_pb2.RegisterResponse:
        if self.register_error:
            await context.abort(*self.register_error)
        self.registry[request.identity.service_id] = request
        self.registrations.append(request.identity.service_id)
        answer = registry_pb2.RegisterResponse(success=True, registration_id=request.identity.service_id)
        answer.lease_ttl.CopyFrom(_duration(self.lease))
        return answer

    async def Deregister(self, request: Any, context: Context) -> registry_pb2.DeregisterResponse:
        self.registry.pop(request.service_id, None)
        return registry_pb2.DeregisterResponse(success=True)

    async def ListServices(self, request: Any, context: Context) -> registry_pb2.ListServicesResponse:
        services = [
            registry_pb2.RegisteredService(identity=one.identity, endpoint=one.endpoint)
            for one in self.registry.values()
        ]
        return registry_pb2.ListServicesResponse(services=services)

    async def GetServiceEndpoints(
        self, request: Any, context: Context
    ) -> registry_pb2.GetServiceEndpointsResponse:
        found = [
            registry_pb2.EndpointInfo(service_id=service, endpoint=one.endpoint)
            for service, one in self.registry.items()
            if one.identity.name == request.service_name
        ]
        return registry_pb2.GetServiceEndpointsResponse(endpoints=found)

    async def Heartbeat(
        self, requests: AsyncIterator[Any], context: Context
    ) -> AsyncIterator[registry_pb2.HeartbeatResponse]:
        self.streams += 1
        async for request in requests:
            if self.silent_heartbeats:
                continue
            service = request.service_id
            known = service in self.registry
            if request.HasField("health"):
                self.health[service] = request.health
            self.beats[service] = self.beats.get(service, 0) + 1
            answer = registry_pb2.HeartbeatResponse(acknowledged=known)
            if known:
                answer.next_heartbeat_deadline.CopyFrom(_duration(self.lease))
            yield answer


_SERVED: dict[str, m.Method[Any, Any]] = {
    f"{one.service}/{one.name}": one for one in vars(m).values() if isinstance(one, m.Method)
}


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """Every method of the method table, under the node's package prefix."""

    def __init__(self, router: FakeRouter) -> None:
        self._router = router

    def service(self, details: Any) -> Any:
        router = self._router
        prefix, _, rest = details.method.removeprefix("/").partition(".")
        method = _SERVED.get(rest)
        if method is None or prefix != router.prefix:
            return None
        router.calls.append(method.name)
        if not router.admin and method.service == "router.RouterAdmin":
            return None
        parse, serialise = method.request.FromString, method.answer.SerializeToString
        behaviour = getattr(router, method.name)
        if method is m.HEARTBEAT:
            return grpc.stream_stream_rpc_method_handler(behaviour, parse, serialise)

        async def answer(request: Any, context: Context) -> Any:
            if router.broken_calls:
                router.broken_calls -= 1
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            if router.delay:
                await asyncio.sleep(router.delay)
            return await behaviour(request, context)

        return grpc.unary_unary_rpc_method_handler(answer, parse, serialise)


def _duration(seconds: float) -> Duration:
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))


@contextmanager
def black_hole() -> Iterator[str]:
    """The address of a socket that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as once:
        once.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{once.getsockname()[1]}"
