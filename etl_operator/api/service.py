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
    """How the router secures its connection to the service."""

    enabled: bool = False
    """Use TLS. Default false."""
    ca_secret_name: ObjectName | None = None
    """Secret with ca.crt to verify the service with; a note for people: the router's API has no field for it.
    Default: the router's own trust store."""
    client_secret_name: ObjectName | None = None
    """Secret with tls.crt and tls.key the router shows to the service; a note for people, as caSecretName is.
    Default: none."""
    insecure_skip_verify: bool = False
    """Do not verify the service's certificate; a note for people, as caSecretName is. Default false."""


class Grpc(Model):
    """Where the service listens."""

    endpoint: Endpoint
    """host:port of the service's gRPC server, a name as a pod of this namespace knows it; an IPv6 address
    stands in brackets."""
    tls: GrpcTls | None = None
    """How the connection is secured. Default: not at all."""
    proto: ShortText | None = None
    """Full name of the protobuf service, for people; the operator does not look at it. Default: none."""


class HealthCheck(Model):
    """The operator's own probe of the endpoint."""

    enabled: bool = False
    """Probe the endpoint, and be Ready only while it is healthy. Default false."""
    interval_seconds: Annotated[int, Field(ge=1, le=3600)] = 10
    """Seconds between two probes: grpc.health.v1, or a plain connection where it has none. Default 10."""


class ServiceSpec(Model):
    """The service that is wanted."""

    grpc: Grpc
    """Where the service listens."""
    config: FreeForm | None = None
    """Settings of the service, any object; the operator does not look at it. Default: none."""
    labels: Annotations | None = None
    """Labels the router may select services by, besides those of this object. Default: none."""
    weight: Annotated[int, Field(ge=1, le=1000)] = 100
    """Share of the load among services of one name, 1 to 1000. Default 100."""
    max_concurrent_requests: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Requests the service takes at once; 0 means no limit. Default 0."""
    cluster_ref: ClusterRef | None = None
    """Router cluster to register with. Default: the only one of the namespace, or else the one named
    default."""
    health_check: HealthCheck = section(HealthCheck)
    """The operator's own probe of the endpoint."""
    deletion_policy: Literal["Delete", "Orphan"] = "Delete"
    """What becomes of the registration when this object is deleted: Orphan leaves it until its lease runs
    out. Default Delete."""


class ServiceStatus(Status):
    """The service as it is."""

    service_id: Text | None = None
    """Its id in the router: namespace/name."""
    cluster: Text | None = None
    """namespace/name of the cluster it is registered with."""
    registered_nodes: Counter | None = None
    """Members of the cluster that know the service."""
    total_nodes: Counter | None = None
    """Members the cluster is to have."""
    health: Literal["Healthy", "Unhealthy", "Unknown"] | None = None
    """Outcome of the last probe; Unknown while none is made."""


class EtlSource(Model):
    """A gRPC service that records come from, registered with the members of a router cluster."""

    api_version: Literal["etl.router/v1"]
    """etl.router/v1."""
    kind: Literal["EtlSource"]
    """EtlSource."""
    metadata: ObjectMeta
    """Standard metadata."""
    spec: ServiceSpec
    """The service that is wanted."""
    status: ServiceStatus | None = None
    """The service as it is; written by the operator."""


class EtlTransform(Model):
    """A gRPC service that changes records, registered with the members of a router cluster."""

    api_version: Literal["etl.router/v1"]
    """etl.router/v1."""
    kind: Literal["EtlTransform"]
    """EtlTransform."""
    metadata: ObjectMeta
    """Standard metadata."""
    spec: ServiceSpec
    """The service that is wanted."""
    status: ServiceStatus | None = None
    """The service as it is; written by the operator."""


class EtlSink(Model):
    """A gRPC service that records go to, registered with the members of a router cluster."""

    api_version: Literal["etl.router/v1"]
    """etl.router/v1."""
    kind: Literal["EtlSink"]
    """EtlSink."""
    metadata: ObjectMeta
    """Standard metadata."""
    spec: ServiceSpec
    """The service that is wanted."""
    status: ServiceStatus | None = None
    """The service as it is; written by the operator."""
