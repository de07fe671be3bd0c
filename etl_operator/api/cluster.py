"""EtlRouterCluster: a Raft cluster of router nodes."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from etl_operator.api.base import Model, Rule, TransitionRule, section
from etl_operator.api.fields import (
    Annotations,
    Arguments,
    Counter,
    Image,
    Labels,
    Namespaces,
    ObjectName,
    Port,
    Quantity,
    ShortText,
    Text,
)
from etl_operator.api.metadata import ObjectMeta, Status
from etl_operator.api.pods import (
    Affinity,
    Environment,
    PullSecrets,
    Resources,
    SpreadConstraints,
    Tolerations,
)

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_POSITIVE = re.compile(r"[0-9.]*[1-9]")
_BINARY_UNITS = ("Mi", "Gi", "Ti")


def _timings_fit(raft: Raft) -> bool:
    return raft.election_timeout_ms >= 2 * raft.heartbeat_interval_ms


class Raft(Model):
    """Timings of the Raft consensus."""

    rules = (
        Rule(
            "self.electionTimeoutMs >= 2 * self.heartbeatIntervalMs",
            "electionTimeoutMs must be at least twice heartbeatIntervalMs",
            _timings_fit,
        ),
    )

    election_timeout_ms: Annotated[int, Field(ge=20, le=120_000)] = 1000
    """Milliseconds without a heartbeat after which a follower stands for election; the router draws from this
    to twice this. Default 1000. Below five heartbeats the operator warns."""
    heartbeat_interval_ms: Annotated[int, Field(ge=10, le=60_000)] = 100
    """Milliseconds between two heartbeats of the leader. Default 100."""
    snapshot_interval: Annotated[int, Field(ge=1, le=100_000_000)] = 10_000
    """Log entries between two snapshots. Default 10000."""


class RetentionPolicy(Model):
    """What becomes of volumes that are no longer in use."""

    when_deleted: Literal["Retain", "Delete"] = "Retain"
    """When the cluster is deleted. Default Retain."""
    when_scaled: Literal["Retain", "Delete"] = "Retain"
    """When a member is removed. Default Retain."""


def _size_is_positive(storage: Storage) -> bool:
    size = storage.size
    return size > 0 if isinstance(size, int) else _POSITIVE.match(size) is not None


def _kept_in(unit: str) -> str:
    """CEL for "not smaller, if both are in this unit".

    Spelt out unit by unit: the server bounds the cost of a rule before it runs, and knows the length of a
    literal, but not that of an element of a list.
    """
    number = "double({0}.size.substring(0, size({0}.size) - " + str(len(unit)) + "))"
    both = f"self.size.endsWith('{unit}') && oldSelf.size.endsWith('{unit}')"
    return f"(!({both}) || {number.format('self')} >= {number.format('oldSelf')})"


def _class_is_kept(new: Storage, old: Storage) -> bool:
    return new.storage_class_name == old.storage_class_name


def _size_is_kept(new: Storage, old: Storage) -> bool:
    now, before = new.size, old.size
    if not (isinstance(now, str) and isinstance(before, str)):
        return True
    for unit in _BINARY_UNITS:
        if now.endswith(unit) and before.endswith(unit):
            return float(now.removesuffix(unit)) >= float(before.removesuffix(unit))
    return True


class Storage(Model):
    """The volume of every member."""

    rules = (
        Rule(
            "type(self.size) == int ? self.size > 0 : self.size.matches('^[0-9.]*[1-9]')",
            "size must be greater than zero",
            _size_is_positive,
        ),
    )
    transitions = (
        TransitionRule(
            "has(self.storageClassName) == has(oldSelf.storageClassName) && "
            "(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
            "storageClassName cannot be changed: a volume stays in the class it was made in",
            _class_is_kept,
        ),
        # Plain CEL has no quantities: sizes in one unit are compared here, the operator explains the rest.
        TransitionRule(
            "type(self.size) != string || type(oldSelf.size) != string || "
            f"({' && '.join(map(_kept_in, _BINARY_UNITS))})",
            "size cannot be reduced: volumes do not shrink",
            _size_is_kept,
        ),
    )

    size: Quantity = "10Gi"
    """Size of each member's volume. Default 10Gi. It may grow where the storage class allows it, never
    shrink."""
    storage_class_name: ObjectName | None = None
    """Storage class of the volumes; cannot be changed. Default: the default class of the Kubernetes
    cluster."""
    retention_policy: RetentionPolicy = section(RetentionPolicy)
    """What becomes of the volumes when they are no longer in use."""


def _ports_differ(service: RouterService) -> bool:
    return len({service.grpc_port, service.raft_port, service.http_port}) == 3


def _raft_port_is_kept(new: RouterService, old: RouterService) -> bool:
    return new.raft_port == old.raft_port


class RouterService(Model):
    """How the members are reached."""

    rules = (
        Rule(
            "self.grpcPort != self.raftPort && self.grpcPort != self.httpPort && "
            "self.raftPort != self.httpPort",
            "grpcPort, raftPort and httpPort must differ",
            _ports_differ,
        ),
    )
    transitions = (
        TransitionRule(
            "self.raftPort == oldSelf.raftPort",
            "raftPort cannot be changed: members restart one by one and could not reach each other",
            _raft_port_is_kept,
        ),
    )

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """Type of the Service clients connect to. Default ClusterIP."""
    annotations: Annotations | None = None
    """Annotations of that Service, for load balancers. Default: none."""
    grpc_port: Port = 50051
    """TCP port of the gRPC API. Default 50051."""
    raft_port: Port = 50052
    """TCP port of the traffic between members; cannot be changed. Default 50052."""
    http_port: Port = 8080
    """TCP port of health checks and GraphQL. Default 8080."""


class Metrics(Model):
    """The members' own metrics."""

    enabled: bool = True
    """Serve Prometheus metrics. Default true."""
    port: Port = 9090
    """TCP port of the metrics. Default 9090."""


class Tls(Model):
    """Certificates for the router, mounted into its pods."""

    secret_name: ObjectName | None = None
    """Secret with tls.crt and tls.key, mounted at /etc/etl-router-tls. Default: none."""
    ca_secret_name: ObjectName | None = None
    """Secret with ca.crt, mounted at /etc/etl-router-ca. Default: none."""


class DisruptionBudget(Model):
    """Protection of the quorum against node drains."""

    enabled: bool = True
    """Keep a PodDisruptionBudget. Default true. A single member never gets one."""


def _metrics_port_is_free(spec: ClusterSpec) -> bool:
    taken = (spec.service.grpc_port, spec.service.raft_port, spec.service.http_port)
    return not spec.metrics.enabled or spec.metrics.port not in taken


class ClusterSpec(Model):
    """The cluster that is wanted."""

    rules = (
        Rule(
            "!self.metrics.enabled || "
            "!(self.metrics.port in [self.service.grpcPort, self.service.raftPort, self.service.httpPort])",
            "metrics.port must differ from the ports of service",
            _metrics_port_is_free,
        ),
    )

    replicas: Annotated[int, Field(ge=1, le=15)] = 3
    """Number of members, 1 to 15. Default 3. An odd number: an even one tolerates no more failures."""
    image: Image | None = None
    """Image of the router. Default: the operator's setting --router-image."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the image is pulled. Default IfNotPresent. The default also holds for the tag latest: an image
    that was loaded into the nodes is used, and no registry is asked. Use Always for a tag that moves."""
    image_pull_secrets: PullSecrets | None = None
    """Secrets for pulling the image. Default: none."""
    raft: Raft = section(Raft)
    """Timings of the Raft consensus."""
    resources: Resources | None = None
    """Compute resources of each member. Default: none."""
    storage: Storage = section(Storage)
    """The volume of every member."""
    service: RouterService = section(RouterService)
    """How the members are reached."""
    metrics: Metrics = section(Metrics)
    """The members' own metrics."""
    tls: Tls | None = None
    """Certificates for the router. Not supported yet: a cluster with it is Stalled (TLSNotSupported), and
    nothing of it is created or changed. Default: none, plain connections."""
    env: Environment | None = None
    """Environment variables of the router, after those the operator sets. Default: none."""
    command: Arguments | None = None
    """Program to run in place of etl-router; it gets the operator's flags, then args. Default: etl-router."""
    args: Arguments | None = None
    """Flags after those the operator sets. Default: none."""
    node_selector: Labels | None = None
    """Labels of the nodes the members may run on. Default: any node."""
    tolerations: Tolerations | None = None
    """Taints the members put up with. Default: none."""
    affinity: Affinity | None = None
    """Where members may run. Default: preferably on different nodes."""
    topology_spread_constraints: SpreadConstraints | None = None
    """How members are spread. Default: evenly over zones, as far as possible."""
    priority_class_name: ObjectName | None = None
    """Priority class of the pods. Default: that of the Kubernetes cluster."""
    service_account_name: ObjectName | None = None
    """Service account of the pods. Default: one the operator makes, without rights and without token."""
    pod_annotations: Annotations | None = None
    """Annotations of the pods. Default: only those the operator sets."""
    pod_labels: Labels | None = None
    """Labels of the pods; those the operator sets win. Default: only those."""
    pod_disruption_budget: DisruptionBudget = section(DisruptionBudget)
    """Protection of the quorum against node drains."""
    update_strategy: Literal["QuorumAware", "OnDelete"] = "QuorumAware"
    """QuorumAware: the operator restarts outdated members one at a time, the leader last, and only while the
    others keep the quorum. OnDelete: it waits for somebody to delete the pods. Default QuorumAware."""
    allowed_namespaces: Namespaces | None = None
    """Other namespaces whose pipelines and services may refer to this cluster; * means all. Default: none."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What becomes of the volumes when the cluster is deleted; Delete overrides storage.retentionPolicy.
    Default Retain."""


class NodeStatus(Model):
    """One member as the operator sees it."""

    node_id: Counter
    """Raft id: the pod's ordinal plus one."""
    pod_name: ShortText
    """Name of its pod."""
    address: Text
    """host:port at which the operator asks it."""
    role: Literal["Leader", "Follower", "Candidate", "Learner", "Unknown"]
    """Its role by its own word."""
    healthy: bool
    """Whether it answers and follows the leader."""
    match_index: Counter | None = None
    """Last log entry it is known to have."""


class ClusterStatus(Status):
    """The cluster as it is."""

    replicas: Counter | None = None
    """Pods that exist."""
    ready_replicas: Counter | None = None
    """Pods that are ready."""
    updated_replicas: Counter | None = None
    """Pods that run the current template."""
    selector: Text | None = None
    """Label selector of the pods, for the scale subresource."""
    leader_id: Counter | None = None
    """Raft id of the leader; absent while nobody leads."""
    leader_pod: ShortText | None = None
    """Pod of the leader; absent while nobody leads."""
    term: Counter | None = None
    """Raft term."""
    commit_index: Counter | None = None
    """Last log entry a majority has."""
    cluster_health: Literal["Healthy", "Degraded", "Unhealthy", "Unknown"] | None = None
    """Healthy: every member follows one leader. Degraded: a majority does. Unhealthy: too few do. Unknown:
    nobody could be asked."""
    nodes: Annotated[list[NodeStatus], Field(max_length=64)] | None = None
    """Every member, in order of its ordinal."""
    endpoint: Text | None = None
    """host:port of the Service for clients."""
    current_revision: ShortText | None = None
    """Revision of the pods before the rollout that is under way."""
    update_revision: ShortText | None = None
    """Revision of the current template."""
    protocol: ShortText | None = None
    """Protobuf package the members speak, such as etl; absent until one was asked."""


def _name_is_short(cluster: EtlRouterCluster) -> bool:
    return len(cluster.metadata.name) <= 45


def _name_fits_services(cluster: EtlRouterCluster) -> bool:
    return _NAME.fullmatch(cluster.metadata.name) is not None


class EtlRouterCluster(Model):
    """A Raft cluster of ETL router nodes: StatefulSet, Services, configuration and disruption budget."""

    rules = (
        Rule(
            "size(self.metadata.name) <= 45",
            "metadata.name must have at most 45 characters: the names and labels of pods are made of it",
            _name_is_short,
        ),
        Rule(
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "metadata.name must start with a letter and have no dots: Services are named after it",
            _name_fits_services,
        ),
    )

    api_version: Literal["etl.router/v1"]
    """etl.router/v1."""
    kind: Literal["EtlRouterCluster"]
    """EtlRouterCluster."""
    metadata: ObjectMeta
    """Standard metadata."""
    spec: ClusterSpec
    """The cluster that is wanted."""
    status: ClusterStatus | None = None
    """The cluster as it is; written by the operator."""
