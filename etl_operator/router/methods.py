"""The calls the operator makes, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from etl_operator.router.pb import registry_pb2 as registry
from etl_operator.router.pb import router_pb2 as router

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)

PREFIXES = ("etl", "conveyor", "conveyor_etl")
"""Package prefixes of the router's eras, the README's first. Messages are the same in all of them."""


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, A]):
    """One RPC."""

    service: str
    """Without the package prefix: ``router.RouterAdmin``."""
    name: str
    request: type[Q]
    answer: type[A]
    idempotent: bool
    """Twice is as good as once, so a lost answer may be asked for again."""
    writes: bool = False
    """It changes what the router holds, so it passes the fence before it leaves."""
    tells_buffer: bool = False
    """The metadata at the end of its answer can have `metadata.BUFFER_KEY`."""

    def path(self, prefix: str) -> str:
        """The HTTP/2 path under a package prefix."""
        return f"/{prefix}.{self.service}/{self.name}"


_ADMIN = "router.RouterAdmin"
_REGISTRY = "registry.ServiceRegistry"

GET_CLUSTER_STATUS = Method(
    _ADMIN,
    "GetClusterStatus",
    router.GetClusterStatusRequest,
    router.GetClusterStatusResponse,
    True,
    tells_buffer=True,
)
GET_PIPELINE = Method(
    _ADMIN, "GetPipeline", router.GetPipelineRequest, router.GetPipelineResponse, True, tells_buffer=True
)
LIST_PIPELINES = Method(
    _ADMIN, "ListPipelines", router.ListPipelinesRequest, router.ListPipelinesResponse, True
)
# Create resets the version of what it overwrites, Update counts it up: once means once.
CREATE_PIPELINE = Method(
    _ADMIN, "CreatePipeline", router.CreatePipelineRequest, router.CreatePipelineResponse, False, writes=True
)
UPDATE_PIPELINE = Method(
    _ADMIN, "UpdatePipeline", router.UpdatePipelineRequest, router.UpdatePipelineResponse, False, writes=True
)
DELETE_PIPELINE = Method(
    _ADMIN, "DeletePipeline", router.DeletePipelineRequest, router.DeletePipelineResponse, True, writes=True
)
ENABLE_PIPELINE = Method(
    _ADMIN, "EnablePipeline", router.EnablePipelineRequest, router.EnablePipelineResponse, True, writes=True
)
DISABLE_PIPELINE = Method(
    _ADMIN,
    "DisablePipeline",
    router.DisablePipelineRequest,
    router.DisablePipelineResponse,
    True,
    writes=True,
)

# An upsert, but routers list an endpoint once per registration of its id.
REGISTER = Method(
    _REGISTRY, "Register", registry.RegisterRequest, registry.RegisterResponse, False, writes=True
)
DEREGISTER = Method(
    _REGISTRY, "Deregister", registry.DeregisterRequest, registry.DeregisterResponse, True, writes=True
)
LIST_SERVICES = Method(
    _REGISTRY, "ListServices", registry.ListServicesRequest, registry.ListServicesResponse, True
)
GET_SERVICE_ENDPOINTS = Method(
    _REGISTRY,
    "GetServiceEndpoints",
    registry.GetServiceEndpointsRequest,
    registry.GetServiceEndpointsResponse,
    True,
)
HEARTBEAT = Method(
    _REGISTRY, "Heartbeat", registry.HeartbeatRequest, registry.HeartbeatResponse, True, writes=True
)
"""Bidirectional."""
