"""EtlSource, EtlTransform and EtlSink: individual ETL services, alike but for their place in a pipeline."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from etl_operator.api.base import Model, section
from etl_operator.api.fields import (
    Annotations,
    Counter,
    Endpoint,
    FreeForm,
    ObjectName,
    ShortText,
    Text,
)
from etl_operator.api.metadata import ClusterRef, ObjectMeta, Status


class GrpcTls(Model):
    """GrpcTls describes how the router connects to the service."""

    enabled: bool = False
    """enabled specifies whether the router connects with TLS. Defaults to false."""
    ca_secret_name: ObjectName | None = None
    """caSecretName is the name of a Secret with the ca.crt that signs the service's certificate, in the
    namespace of the cluster, which must be that of this object. If not set, the router uses the authorities
    that gRPC trusts."""
    client_secret_name: ObjectName | None = None
    """clientSecretName is the name of a Secret with the tls.crt and tls.key that the router presents, in the
    same namespace as caSecretName. If not set, the router presents none."""
    insecure_skip_verify: bool = False
    """insecureSkipVerify specifies that the service's certificate is not verified: anyone on the way can read
    and change the records. Defaults to false."""


class Grpc(Model):
    """Grpc describes the gRPC server of the service."""

    endpoint: Endpoint
    """endpoint is the host:port of the service's gRPC server. A host name is resolved as in a pod of this
    object's namespace. Write an IPv6 address in brackets."""
    tls: GrpcTls | None = None
    """tls describes how the router connects to the service. If not set, the connection is not encrypted."""
    proto: ShortText | None = None
    """proto is the full name of the protobuf service. Informational: the operator does not use it. If not
    set, it is unknown."""


class HealthCheck(Model):
    """HealthCheck describes how the operator probes the endpoint."""

    enabled: bool = False
    """enabled specifies whether the operator probes the endpoint. If true, the service is Ready only while
    it is healthy. A healthy service is unhealthy after three failures in a row, and healthy again after one
    success. The router calls it only if it has no healthy one. Defaults to false."""
    interval_seconds: Annotated[int, Field(ge=1, le=3600)] = 10
    """intervalSeconds is the time in seconds between two probes, up to a tenth more or less. A probe calls
    grpc.health.v1, or only connects if the server does not implement it. Defaults to 10."""


class ServiceSpec(Model):
    """ServiceSpec defines the desired state of a service."""

    grpc: Grpc
    """grpc describes the gRPC server of the service."""
    config: FreeForm | None = None
    """config is an object with settings of the service. The operator does not interpret it. If not set, it is
    empty."""
    labels: Annotations | None = None
    """labels are added to the labels of this object when it is registered; the router can select services by
    them. If not set, none are added."""
    weight: Annotated[int, Field(ge=1, le=1000)] = 100
    """weight is the share of the load among services of the same name, 1 to 1000. Defaults to 100."""
    max_concurrent_requests: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """maxConcurrentRequests is the number of requests that the service handles at the same time. 0 means no
    limit. Defaults to 0."""
    cluster_ref: ClusterRef | None = None
    """clusterRef names the EtlRouterCluster to register with. If not set, the cluster in status.cluster is
    kept; if there is none, the only cluster of the namespace is used, or the one named default if there are
    several."""
    health_check: HealthCheck = section(HealthCheck)
    """healthCheck describes how the operator probes the endpoint."""
    deletion_policy: Literal["Delete", "Orphan"] = "Delete"
    """deletionPolicy specifies what happens to the registration when this object is deleted. Delete removes
    it; Orphan leaves it until its lease expires. Defaults to Delete."""


class ServiceStatus(Status):
    """ServiceStatus is the observed state of a service."""

    service_id: Text | None = None
    """serviceId is the id of the service in the router: namespace/name."""
    cluster: Text | None = None
    """cluster is the namespace/name of the EtlRouterCluster that the service is registered with."""
    registered_nodes: Counter | None = None
    """registeredNodes is the number of members that have the registration."""
    total_nodes: Counter | None = None
    """totalNodes is the desired number of members of the cluster."""
    health: Literal["Healthy", "Unhealthy", "Unknown"] | None = None
    """health is the result of the probes. Unknown if the service is not probed."""


class EtlSource(Model):
    """EtlSource is a gRPC service that produces records. The operator registers it with the members of a
    router cluster."""

    api_version: Literal["etl.router/v1"]
    """apiVersion is etl.router/v1."""
    kind: Literal["EtlSource"]
    """kind is EtlSource."""
    metadata: ObjectMeta
    """metadata is the standard object metadata."""
    spec: ServiceSpec
    """spec defines the desired state of the service."""
    status: ServiceStatus | None = None
    """status is the state of the service as the operator last observed it. Read-only."""


class EtlTransform(Model):
    """EtlTransform is a gRPC service that transforms records. The operator registers it with the members of a
    router cluster."""

    api_version: Literal["etl.router/v1"]
    """apiVersion is etl.router/v1."""
    kind: Literal["EtlTransform"]
    """kind is EtlTransform."""
    metadata: ObjectMeta
    """metadata is the standard object metadata."""
    spec: ServiceSpec
    """spec defines the desired state of the service."""
    status: ServiceStatus | None = None
    """status is the state of the service as the operator last observed it. Read-only."""


class EtlSink(Model):
    """EtlSink is a gRPC service that receives records. The operator registers it with the members of a router
    cluster."""

    api_version: Literal["etl.router/v1"]
    """apiVersion is etl.router/v1."""
    kind: Literal["EtlSink"]
    """kind is EtlSink."""
    metadata: ObjectMeta
    """metadata is the standard object metadata."""
    spec: ServiceSpec
    """spec defines the desired state of the service."""
    status: ServiceStatus | None = None
    """status is the state of the service as the operator last observed it. Read-only."""
