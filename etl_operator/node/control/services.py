"""The gRPC services of a node, under any of the published package names."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf import duration_pb2, timestamp_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from etl_operator.node.consensus.engine import (
    CommitTimeout,
    ConsensusEngine,
    ConsensusError,
    Member,
    NotLeader,
    NotReady,
    OutcomeUnknown,
    Role,
    Status,
    StorageError,
    StorageFull,
)
from etl_operator.node.control import state
from etl_operator.node.control.records import NoRecords, Records
from etl_operator.node.control.registry import Registry, Service
from etl_operator.node.settings import Node
from etl_operator.router.metadata import BUFFER_KEY
from etl_operator.router.pb import common_pb2, registry_pb2, router_pb2

Context = grpc.aio.ServicerContext[Any, Any]
Behaviour = Callable[[Any, Context], Any]

NOT_LEADER = "not the leader, retry on another node"
DETAILS_LIMIT = 2000
"""Bytes of an error's text that are sent, each up to three in the header: by default clients throw away
headers of more than 8 KiB, and the status with them."""
_INITIAL_CREDITS = 10_000
_WATCH_INTERVAL = 60.0
_LONGEST_DRAIN = 300.0
_DRAIN_POLL = 0.05
_ROLES = {
    Role.LEADER: router_pb2.NODE_ROLE_LEADER,
    Role.FOLLOWER: router_pb2.NODE_ROLE_FOLLOWER,
    Role.CANDIDATE: router_pb2.NODE_ROLE_CANDIDATE,
    Role.LEARNER: router_pb2.NODE_ROLE_LEARNER,
    Role.UNKNOWN: router_pb2.NODE_ROLE_UNSPECIFIED,
}
_CODES: tuple[tuple[type[ConsensusError], grpc.StatusCode], ...] = (
    (CommitTimeout, grpc.StatusCode.DEADLINE_EXCEEDED),
    (StorageFull, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (StorageError, grpc.StatusCode.INTERNAL),
    (OutcomeUnknown, grpc.StatusCode.UNAVAILABLE),
    (NotReady, grpc.StatusCode.UNAVAILABLE),
)


class RouterAdmin:
    """``RouterAdmin``: writes through the log, reads from this node's copy.

    Reads are not linearizable: a follower answers with what it has applied so far, and a leader that has just
    been cut off answers for one election timeout more. They never go back behind the node's own start.

    :param refusal: field and problem of a config that cannot run; empty if it can.
    :param records: what the data planes of all members hold.
    """

    def __init__(
        self,
        engine: ConsensusEngine,
        pipelines: state.RouterState,
        settings: Node,
        refusal: Callable[[router_pb2.PipelineConfig], str] = lambda config: "",
        records: Records | None = None,
    ) -> None:
        self._engine = engine
        self._pipelines = pipelines
        self._settings = settings
        self._refusal = refusal
        self._records = records or NoRecords()

    async def CreatePipeline(self, request: router_pb2.CreatePipelineRequest, context: Context) -> Any:
        """Store the pipeline, disabled, at version 1, whatever was there."""
        await _require(request.config.id, "config.id", context)
        await self._check(request.config, context)
        command = state.Create(request.config.id, request.config.SerializeToString(), time.time())
        answer = router_pb2.CreatePipelineResponse(pipeline_id=request.config.id)
        return await self._write(command, answer, context)

    async def UpdatePipeline(self, request: router_pb2.UpdatePipelineRequest, context: Context) -> Any:
        """Replace the config and count the version up."""
        await _require(request.pipeline_id, "pipeline_id", context)
        await self._check(request.config, context)
        command = state.Update(request.pipeline_id, request.config.SerializeToString(), time.time())
        return await self._write(command, router_pb2.UpdatePipelineResponse(), context)

    async def DeletePipeline(self, request: router_pb2.DeletePipelineRequest, context: Context) -> Any:
        """Remove the pipeline. Without ``force`` it stays while records are known to be pending."""
        if not request.force:
            pending = await self._records.known_pending(request.pipeline_id)
            if pending:
                text = f"{pending} records are pending; disable the pipeline with drain, or set force"
                return router_pb2.DeletePipelineResponse(error=text)
        command = state.Delete(request.pipeline_id)
        return await self._write(command, router_pb2.DeletePipelineResponse(), context)

    async def EnablePipeline(self, request: router_pb2.EnablePipelineRequest, context: Context) -> Any:
        """Set the flag, unless the stored config, of an earlier version of this program, cannot run."""
        await self._check_stored(request.pipeline_id, context)
        command = state.SetEnabled(request.pipeline_id, True, time.time())
        return await self._write(command, router_pb2.EnablePipelineResponse(), context)

    async def DisablePipeline(self, request: router_pb2.DisablePipelineRequest, context: Context) -> Any:
        """Clear the flag. With ``drain`` the answer says how many records are pending now, on all members;
        without, they are let go, and sources send them again once the pipeline is enabled."""
        command = state.SetEnabled(request.pipeline_id, False, time.time(), request.drain)
        answer = await self._write(command, router_pb2.DisablePipelineResponse(), context)
        if answer.success and request.drain and self._pipelines.get(request.pipeline_id) is not None:
            applied = self._engine.status().applied_index
            answer.pending_records = await self._records.pending(request.pipeline_id, applied)
        return answer

    async def GetPipeline(self, request: router_pb2.GetPipelineRequest, context: Context) -> Any:
        """The pipeline, or ``found=false``."""
        await self._before_read(context)
        found = self._pipelines.get(request.pipeline_id)
        if found is None:
            return router_pb2.GetPipelineResponse(found=False)
        config = _config(found)
        _tell_buffer(context, await self._records.buffer_trouble_of(found.pipeline_id))
        status = router_pb2.PipelineStatus(
            enabled=found.enabled,
            version=found.version,
            created_at=_timestamp(found.created_at),
            updated_at=_timestamp(found.updated_at),
            stage_statuses=await self._stage_statuses(config),
        )
        return router_pb2.GetPipelineResponse(found=True, config=config, status=status)

    async def ListPipelines(self, request: router_pb2.ListPipelinesRequest, context: Context) -> Any:
        """Pipelines by id; disabled ones on request."""
        await self._before_read(context)
        wanted = [_config(p) for p in self._pipelines if p.enabled or request.include_disabled]
        return router_pb2.ListPipelinesResponse(pipelines=wanted)

    async def GetClusterStatus(self, request: router_pb2.GetClusterStatusRequest, context: Context) -> Any:
        """The cluster as this node sees it; never waits."""
        status = self._engine.status()
        _tell_buffer(context, self._records.buffer_trouble)
        return router_pb2.GetClusterStatusResponse(
            node_id=status.node_id,
            leader_id=status.leader_id or 0,
            term=status.term,
            commit_index=status.commit_index,
            applied_index=status.applied_index,
            nodes=[_node_status(member) for member in status.members],
            health=_health(status),
        )

    async def GetMetrics(self, request: router_pb2.GetMetricsRequest, context: Context) -> Any:
        """A few figures; all of them if none is named."""
        status = self._engine.status()
        figures = {
            "raft_term": float(status.term),
            "raft_commit_index": float(status.commit_index),
            "raft_applied_index": float(status.applied_index),
            "pipelines": float(len(self._pipelines)),
        }
        wanted = set(request.metric_names) or figures.keys()
        return router_pb2.GetMetricsResponse(metrics={k: v for k, v in figures.items() if k in wanted})

    async def _stage_statuses(self, config: router_pb2.PipelineConfig) -> dict[str, router_pb2.StageStatus]:
        """Counters since the members started, added up. A member that does not answer is left out."""
        found = await self._records.stages(config.id)
        return {
            stage.id: router_pb2.StageStatus(
                records_processed=found[stage.id].processed,
                records_buffered=found[stage.id].buffered,
                errors=found[stage.id].errors,
                avg_latency_ms=found[stage.id].average_ms,
            )
            if stage.id in found
            else router_pb2.StageStatus()
            for stage in config.stages
        }

    async def _check(self, config: router_pb2.PipelineConfig, context: Context) -> None:
        """What the data plane cannot run is not stored: nobody would see why no record moves."""
        problem = self._refusal(config)
        if problem:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _details(f"config.{problem}"))

    async def _check_stored(self, pipeline_id: str, context: Context) -> None:
        """As `_check`. Only the leader knows what is stored; every other member refuses the write anyway."""
        status = self._engine.status()
        if status.leader_id != status.node_id:
            return
        await self._before_read(context)
        stored = self._pipelines.get(pipeline_id)
        problem = "" if stored is None else self._refusal(_config(stored))
        if problem:
            text = f"pipeline {pipeline_id} cannot run: config.{problem}; update it, then enable it"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _details(text))

    async def _write(self, command: state.Command, answer: Any, context: Context) -> Any:
        try:
            outcome = await self._engine.propose(state.encode(command))
        except NotLeader:
            return await self._refuse(answer, context)
        except ConsensusError as error:
            await abort(context, error)
        assert isinstance(outcome, state.Outcome)
        if self._settings.strict_ids and not outcome.found and not isinstance(command, state.Create):
            answer.error = f"pipeline not found: {command.pipeline_id}"  # type: ignore[union-attr]
            return answer
        answer.success = True
        if isinstance(command, state.Update):
            answer.version = outcome.version
        return answer

    async def _refuse(self, answer: Any, context: Context) -> Any:
        if self._settings.follower_answer == "unavailable":
            await context.abort(grpc.StatusCode.UNAVAILABLE, NOT_LEADER)
        if self._settings.follower_answer == "internal":
            await context.abort(grpc.StatusCode.INTERNAL, "Not the leader")
        answer.Clear()
        answer.error = "Not the leader"
        return answer

    async def _before_read(self, context: Context) -> None:
        try:
            await self._engine.read_barrier()
        except ConsensusError as error:
            await abort(context, error)


class ServiceRegistry:
    """``ServiceRegistry``: see `registry.Registry`."""

    def __init__(self, registry: Registry, settings: Node, records: Records | None = None) -> None:
        self._registry = registry
        self._settings = settings
        self._records = records or NoRecords()

    async def Register(self, request: registry_pb2.RegisterRequest, context: Context) -> Any:
        """Store the service and grant a lease."""
        for name in ("identity", "endpoint"):
            if not request.HasField(name):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{name}: required field is missing")
        identity, endpoint = request.identity, request.endpoint
        self._registry.register(
            identity.service_id,
            identity.service_type,
            identity.name,
            endpoint.host,
            endpoint.port,
            group_id=identity.group_id,
            labels=request.metadata.labels,
            use_tls=endpoint.use_tls,
            weight=request.metadata.weight,
            most_calls=request.metadata.max_concurrent_requests,
        )
        return registry_pb2.RegisterResponse(
            success=True,
            registration_id=identity.service_id,
            lease_id=str(uuid.uuid4()),
            lease_ttl=_duration(self._registry.lease),
            initial_credits=_INITIAL_CREDITS,
        )

    async def Deregister(self, request: registry_pb2.DeregisterRequest, context: Context) -> Any:
        """Forget the service; an unknown one is fine. No new call is made of it.

        ``graceful``: the answer waits, up to ``drain_timeout``, for calls that this node makes, and says how
        many records are in them then.
        """
        self._registry.deregister(request.service_id)
        pending = 0
        if request.graceful:
            end = time.monotonic() + min(request.drain_timeout.ToTimedelta().total_seconds(), _LONGEST_DRAIN)
            pending = await self._records.outstanding(request.service_id)
            while pending and time.monotonic() < end:
                await asyncio.sleep(_DRAIN_POLL)
                pending = await self._records.outstanding(request.service_id)
        return registry_pb2.DeregisterResponse(success=True, pending_records=pending)

    async def Heartbeat(
        self, requests: AsyncIterator[registry_pb2.HeartbeatRequest], context: Context
    ) -> AsyncIterator[registry_pb2.HeartbeatResponse]:
        """One answer per request, many services per stream."""
        async for request in requests:
            if self._settings.drop_heartbeats:
                continue
            healthy = request.health.status != common_pb2.HEALTH_STATUS_UNHEALTHY
            if self._registry.heartbeat(request.service_id, healthy=healthy):
                deadline = _duration(self._registry.lease)
                yield registry_pb2.HeartbeatResponse(acknowledged=True, next_heartbeat_deadline=deadline)
            else:
                yield registry_pb2.HeartbeatResponse(acknowledged=False)

    async def ListServices(self, request: registry_pb2.ListServicesRequest, context: Context) -> Any:
        """All services, expired ones too; filters are not looked at."""
        return registry_pb2.ListServicesResponse(services=[_registered(s) for s in self._registry])

    async def GetServiceEndpoints(
        self, request: registry_pb2.GetServiceEndpointsRequest, context: Context
    ) -> Any:
        """Endpoints under a name whose lease lasts."""
        return registry_pb2.GetServiceEndpointsResponse(
            endpoints=[
                registry_pb2.EndpointInfo(
                    service_id=service.service_id,
                    endpoint=common_pb2.Endpoint(host=service.host, port=service.port),
                    weight=100,
                    health=common_pb2.HEALTH_STATUS_HEALTHY,
                )
                for service in self._registry.endpoints(request.service_name)
            ]
        )

    async def WatchServices(
        self, request: registry_pb2.WatchServicesRequest, context: Context
    ) -> AsyncIterator[registry_pb2.ServiceEvent]:
        """A stub, as published: an event without a service once a minute."""
        while True:
            await asyncio.sleep(_WATCH_INTERVAL)
            yield registry_pb2.ServiceEvent(event_type=registry_pb2.EVENT_TYPE_ADDED)

    async def JoinGroup(self, request: registry_pb2.JoinGroupRequest, context: Context) -> Any:
        """A stub, as published."""
        return registry_pb2.JoinGroupResponse(success=True, generation=1, assigned_partitions=[0])

    async def LeaveGroup(self, request: registry_pb2.LeaveGroupRequest, context: Context) -> Any:
        """A stub, as published."""
        return registry_pb2.LeaveGroupResponse(success=True)


def handlers(
    descriptor: ServiceDescriptor, servicer: object, settings: Node, count: Callable[[str], None]
) -> grpc.GenericRpcHandler[Any, Any]:
    """A servicer's methods under the configured package prefix.

    :param count: called with ``Service/Method`` for every call.
    """
    _, _, rest = descriptor.full_name.partition(".")
    methods = {
        method.name: _handler(method, getattr(servicer, method.name), settings, count)
        for method in descriptor.methods
    }
    handler: grpc.GenericRpcHandler[Any, Any] = grpc.method_handlers_generic_handler(
        f"{settings.package_prefix}.{rest}", methods
    )
    return handler


def _handler(
    method: MethodDescriptor, behaviour: Behaviour, settings: Node, count: Callable[[str], None]
) -> Any:
    name = f"{method.containing_service.name}/{method.name}"
    delay = settings.answer_delay_ms / 1000

    async def unary(request: Any, context: Context) -> Any:
        count(name)
        await _late(delay)
        return await behaviour(request, context)

    async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
        count(name)
        async for answer in behaviour(request, context):
            await _late(delay)
            yield answer

    kind = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[method.client_streaming, method.server_streaming]
    return kind(
        stream if method.server_streaming else unary,
        request_deserializer=GetMessageClass(method.input_type).FromString,
        response_serializer=GetMessageClass(method.output_type).SerializeToString,
    )


def _tell_buffer(context: Context, trouble: str) -> None:
    """The messages have no field for it, so it is in the metadata at the end of the call."""
    if trouble:
        context.set_trailing_metadata(((BUFFER_KEY, trouble.encode()[:DETAILS_LIMIT]),))


async def _late(seconds: float) -> None:
    if seconds:
        await asyncio.sleep(seconds)


async def _require(value: str, field: str, context: Context) -> None:
    if not value:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{field}: required field is missing")


async def abort(context: Context, error: ConsensusError) -> NoReturn:
    """End a call with the status that stands for ``error``."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)
    await context.abort(code, _details(str(error)))
    raise AssertionError("abort returned")


def _details(text: str) -> str:
    return text.encode()[:DETAILS_LIMIT].decode(errors="ignore")


def _config(pipeline: state.Pipeline) -> router_pb2.PipelineConfig:
    config = router_pb2.PipelineConfig.FromString(pipeline.config)
    config.enabled = pipeline.enabled
    return config


def _registered(service: Service) -> registry_pb2.RegisteredService:
    return registry_pb2.RegisteredService(
        identity=common_pb2.ServiceIdentity(
            service_id=service.service_id,
            service_type=service.service_type,  # type: ignore[arg-type]
            name=service.name,
            group_id=service.group_id,
        ),
        endpoint=common_pb2.Endpoint(host=service.host, port=service.port),
        metadata=registry_pb2.ServiceMetadata(labels=service.labels, max_concurrent_requests=100, weight=100),
        health=registry_pb2.ServiceHealth(status=common_pb2.HEALTH_STATUS_HEALTHY),
    )


def _node_status(member: Member) -> router_pb2.NodeStatus:
    return router_pb2.NodeStatus(
        node_id=member.node_id,
        address=member.address,
        role=_ROLES[member.role],
        healthy=member.healthy,
        match_index=member.match_index,
        last_contact=None if member.last_contact is None else _timestamp(member.last_contact),
    )


def _health(status: Status) -> router_pb2.ClusterHealth:
    if status.leader_id is None or not status.has_quorum:
        return router_pb2.CLUSTER_HEALTH_UNHEALTHY
    if all(member.healthy for member in status.members):
        return router_pb2.CLUSTER_HEALTH_HEALTHY
    return router_pb2.CLUSTER_HEALTH_DEGRADED


def _timestamp(seconds: float) -> timestamp_pb2.Timestamp:
    return timestamp_pb2.Timestamp(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))


def _duration(seconds: float) -> duration_pb2.Duration:
    return duration_pb2.Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
