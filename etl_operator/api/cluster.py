"""EtlRouterCluster: a Raft cluster of router nodes."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from etl_operator.api.base import ListType, Model, Rule, TransitionRule, section
from etl_operator.api.fields import (
    MOST,
    Annotations,
    Arguments,
    Counter,
    Image,
    Labels,
    LongText,
    Namespaces,
    NatsUrl,
    ObjectName,
    Port,
    Quantity,
    ShortText,
    Text,
    Timestamp,
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
    """Raft configures the consensus among the members."""

    rules = (
        Rule(
            "self.electionTimeoutMs >= 2 * self.heartbeatIntervalMs",
            "electionTimeoutMs must be at least twice heartbeatIntervalMs",
            _timings_fit,
        ),
    )

    election_timeout_ms: Annotated[int, Field(ge=20, le=120_000)] = 1000
    """electionTimeoutMs is the shortest time in milliseconds that a follower waits for a heartbeat before it
    starts an election. The router chooses a random time between this value and twice this value. Must be at
    least twice heartbeatIntervalMs; below five times, the operator emits a Warning event. Defaults to
    1000."""
    heartbeat_interval_ms: Annotated[int, Field(ge=10, le=60_000)] = 100
    """heartbeatIntervalMs is the time in milliseconds between two heartbeats of the leader. Defaults to
    100."""
    snapshot_interval: Annotated[int, Field(ge=1, le=100_000_000)] = 10_000
    """snapshotInterval is the number of log entries between two snapshots. Defaults to 10000."""


class RetentionPolicy(Model):
    """RetentionPolicy describes what happens to PersistentVolumeClaims that no pod uses any more."""

    when_deleted: Literal["Retain", "Delete"] = "Retain"
    """whenDeleted specifies what happens to the claims when the cluster is deleted. Defaults to Retain."""
    when_scaled: Literal["Retain", "Delete"] = "Retain"
    """whenScaled specifies what happens to the claim of a member that is removed. Defaults to Retain."""


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
    """Storage describes the volume of each member."""

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
    """size is the size of each member's volume. It can be increased if the storage class allows volume
    expansion, and cannot be decreased. Defaults to 10Gi."""
    storage_class_name: ObjectName | None = None
    """storageClassName is the name of the StorageClass of the volumes. Cannot be changed. If not set, the
    default StorageClass of the Kubernetes cluster is used."""
    retention_policy: RetentionPolicy = section(RetentionPolicy)
    """retentionPolicy describes what happens to PersistentVolumeClaims that no pod uses any more."""


def _ports_differ(service: RouterService) -> bool:
    return len({service.grpc_port, service.raft_port, service.http_port}) == 3


def _raft_port_is_kept(new: RouterService, old: RouterService) -> bool:
    return new.raft_port == old.raft_port


class RouterService(Model):
    """RouterService describes the Services and ports of the members."""

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
    """type determines how the Service for clients is exposed. Defaults to ClusterIP."""
    annotations: Annotations | None = None
    """annotations are added to the Service for clients, for example to configure a load balancer. If not set,
    none are added."""
    grpc_port: Port = 50051
    """grpcPort is the TCP port of the gRPC API. Defaults to 50051."""
    raft_port: Port = 50052
    """raftPort is the TCP port for traffic between the members. Cannot be changed. Defaults to 50052."""
    http_port: Port = 8080
    """httpPort is the TCP port of health checks and GraphQL. Defaults to 8080."""


class Metrics(Model):
    """Metrics describes the Prometheus metrics of the members."""

    enabled: bool = True
    """enabled specifies whether the members serve Prometheus metrics. Defaults to true."""
    port: Port = 9090
    """port is the TCP port of the metrics. Defaults to 9090."""


class Tls(Model):
    """Tls names the Secrets with the router's certificates, and says who must use them."""

    secret_name: ObjectName | None = None
    """secretName is the name of a Secret of the same namespace with tls.crt and tls.key, as cert-manager
    creates it. All members use it, as servers and as clients of each other, and the operator uses it as a
    client of the members. Required."""
    ca_secret_name: ObjectName | None = None
    """caSecretName is the name of a Secret with the ca.crt that signs the certificates of the members and of
    clients. If not set, the ca.crt of the Secret in secretName is used."""
    client_auth: Literal["None", "Require"] = "None"
    """clientAuth specifies whether clients of the gRPC API need a certificate that ca.crt signs. The members
    always require one of each other. Defaults to None."""
    plaintext: Literal["Deny", "Allow"] = "Deny"
    """plaintext specifies whether the gRPC port and the Raft port also accept connections without TLS. Allow
    is for the time in which clients are changed: data can then be read and changed by others on the way.
    Defaults to Deny."""


def _survives_power_failures(nats: NatsBuffer) -> bool:
    return nats.replicas >= 3 or nats.sync_always


class NatsBuffer(Model):
    """NatsBuffer describes the NATS JetStream servers of a durable buffer."""

    rules = (
        Rule(
            "self.replicas >= 3 || self.syncAlways",
            "replicas must be at least 3, or syncAlways true: by default a NATS server flushes its files "
            "every two minutes, so that acknowledged records in fewer than 3 servers could be lost",
            _survives_power_failures,
        ),
    )

    urls: Annotated[list[NatsUrl], ListType(), Field(min_length=1, max_length=16)]
    """urls is the list of the servers of one NATS cluster, such as nats://nats.my-namespace:4222; with tls://
    connections are encrypted."""
    credentials_secret_name: ObjectName | None = None
    """credentialsSecretName is the name of a Secret with any of the keys nats.creds, token, username and
    password, ca.crt, tls.crt and tls.key. It is mounted at /etc/etl-router-nats. If not set, the members
    connect without credentials."""
    replicas: Annotated[int, Field(ge=1, le=5)] = 3
    """replicas is the number of NATS servers that store each record. Below 3, syncAlways is required.
    Defaults to 3."""
    sync_always: bool = False
    """syncAlways states that every NATS server is configured with sync_interval: always, so that it flushes a
    record to disk before it acknowledges it. The router cannot verify it. Defaults to false."""
    max_bytes: Annotated[int, Field(ge=1_048_576, le=MOST, json_schema_extra={"format": "int64"})] = (
        1_073_741_824
    )
    """maxBytes is the size limit of each pipeline's stream, and of the stream of dead letters, in bytes.
    While a stream is full, its sources wait. Defaults to 1073741824."""


def _nats_is_described(buffer: Buffer) -> bool:
    return (buffer.type == "Nats") == (buffer.nats is not None)


class Buffer(Model):
    """Buffer describes where records are between their source and the stages of a pipeline."""

    rules = (
        Rule(
            "(self.type == 'Nats') == has(self.nats)",
            "nats is required with type Nats, and not allowed with type Memory",
            _nats_is_described,
        ),
    )

    type: Literal["Memory", "Nats"] = "Memory"
    """type is Memory or Nats. Memory: a source is answered when its records are delivered. Nats: a source is
    answered when a stream of NATS JetStream has its records; they are delivered from there, also after
    failures of members. Records that are stored stay in NATS when the type is changed to Memory. Defaults to
    Memory."""
    nats: NatsBuffer | None = None
    """nats describes the NATS servers. Required with type Nats."""


class DisruptionBudget(Model):
    """DisruptionBudget describes the PodDisruptionBudget of the members."""

    enabled: bool = True
    """enabled specifies whether the operator creates a PodDisruptionBudget that keeps the quorum during node
    drains. A cluster of one member never has one. Defaults to true."""


def _metrics_port_is_free(spec: ClusterSpec) -> bool:
    taken = (spec.service.grpc_port, spec.service.raft_port, spec.service.http_port)
    return not spec.metrics.enabled or spec.metrics.port not in taken


class ClusterSpec(Model):
    """ClusterSpec defines the desired state of a cluster."""

    rules = (
        Rule(
            "!self.metrics.enabled || "
            "!(self.metrics.port in [self.service.grpcPort, self.service.raftPort, self.service.httpPort])",
            "metrics.port must differ from the ports of service",
            _metrics_port_is_free,
        ),
    )

    replicas: Annotated[int, Field(ge=1, le=15)] = 3
    """replicas is the desired number of members, 1 to 15. It can be increased, but not decreased. Use an odd
    number: an even number tolerates no more failures than one less. Defaults to 3."""
    image: Image | None = None
    """image is the container image of the router. If not set, the operator's --router-image is used."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """imagePullPolicy specifies when the image is pulled. Unlike in a Pod, the default is the same for the
    tag latest, so that an image that was loaded into the nodes is used. Use Always for a tag that moves.
    Defaults to IfNotPresent."""
    image_pull_secrets: PullSecrets | None = None
    """imagePullSecrets is a list of Secrets in the same namespace to use for pulling the image. If not set,
    none is used."""
    raft: Raft = section(Raft)
    """raft configures the consensus among the members."""
    resources: Resources | None = None
    """resources are the compute resources of the router container. If not set, it has no requests and
    limits."""
    storage: Storage = section(Storage)
    """storage describes the volume of each member."""
    service: RouterService = section(RouterService)
    """service describes the Services and ports of the members."""
    metrics: Metrics = section(Metrics)
    """metrics describes the Prometheus metrics of the members."""
    buffer: Buffer = section(Buffer)
    """buffer describes where records are between their source and the stages of a pipeline."""
    tls: Tls | None = None
    """tls encrypts the gRPC API and the traffic among the members. The operator needs the permission to get
    the Secrets. While they are missing or cannot be used, the cluster is not Ready, for the reason
    TLSNotReady, and the operator neither creates nor changes its child objects. If not set, connections are
    not encrypted."""
    env: Environment | None = None
    """env is a list of environment variables to set in the router container, after those the operator sets.
    If not set, none are added."""
    command: Arguments | None = None
    """command is the program to run, followed by the operator's flags and args. If not set, etl-router is
    run."""
    args: Arguments | None = None
    """args are appended to the flags that the operator sets. If not set, none are added."""
    node_selector: Labels | None = None
    """nodeSelector is a set of labels that a node must have to run a member. If not set, any node can."""
    tolerations: Tolerations | None = None
    """tolerations are the taints that the pods tolerate. If not set, the pods have only those that Kubernetes
    adds."""
    affinity: Affinity | None = None
    """affinity describes the scheduling constraints of the pods. If not set, the scheduler prefers a
    different node for each member."""
    topology_spread_constraints: SpreadConstraints | None = None
    """topologySpreadConstraints describe how the pods are spread across topology domains. If not set, they
    are spread evenly across zones if possible."""
    priority_class_name: ObjectName | None = None
    """priorityClassName is the name of the pods' PriorityClass. If not set, the default of the Kubernetes
    cluster is used."""
    service_account_name: ObjectName | None = None
    """serviceAccountName is the name of the ServiceAccount of the pods. If not set, the operator creates one
    without permissions, and mounts no token."""
    pod_annotations: Annotations | None = None
    """podAnnotations are added to the pods. If not set, the pods have only those the operator sets."""
    pod_labels: Labels | None = None
    """podLabels are added to the pods; they cannot replace those the operator sets. If not set, none are
    added."""
    pod_disruption_budget: DisruptionBudget = section(DisruptionBudget)
    """podDisruptionBudget describes the PodDisruptionBudget of the members."""
    update_strategy: Literal["QuorumAware", "OnDelete"] = "QuorumAware"
    """updateStrategy specifies how pods are replaced after a change. QuorumAware: the operator restarts
    outdated members one at a time, the leader last, and only while the others keep the quorum. OnDelete: the
    operator waits until a user deletes the pods. Defaults to QuorumAware."""
    allowed_namespaces: Namespaces | None = None
    """allowedNamespaces is a list of other namespaces whose pipelines and services can refer to this cluster;
    * allows all. If not set, only those of its own namespace can."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """deletionPolicy specifies what happens to the PersistentVolumeClaims when the cluster is deleted. Delete
    overrides storage.retentionPolicy. Defaults to Retain."""


class NodeStatus(Model):
    """NodeStatus is the observed state of one member."""

    node_id: Counter
    """nodeId is the Raft id of the member: the ordinal of its pod plus one."""
    pod_name: ShortText
    """podName is the name of the member's pod."""
    address: Text
    """address is the host:port at which the operator calls the member."""
    role: Literal["Leader", "Follower", "Candidate", "Learner", "Unknown"]
    """role is the Raft role that the member reports."""
    healthy: bool
    """healthy is true if the member answers and follows the leader."""
    match_index: Counter | None = None
    """matchIndex is the index of the last log entry that the member is known to have."""


class CertificateStatus(Model):
    """CertificateStatus is one certificate that the members use."""

    name: ShortText
    """name is the name of the Secret."""
    key: ShortText
    """key is the key of the Secret."""
    not_after: Timestamp
    """notAfter is the time at which the certificate expires."""


class BufferStatus(Model):
    """BufferStatus is the observed state of the buffer."""

    type: Literal["Memory", "Nats"]
    """type is the type in the spec."""
    healthy: bool | None = None
    """healthy is false if a member cannot use its durable buffer. Not set for Memory, and while no member
    answers."""
    message: LongText | None = None
    """message says which members cannot use the buffer, and why. Not set if all can."""


class ClusterStatus(Status):
    """ClusterStatus is the observed state of a cluster."""

    replicas: Counter | None = None
    """replicas is the number of pods that exist."""
    ready_replicas: Counter | None = None
    """readyReplicas is the number of members that are ready."""
    updated_replicas: Counter | None = None
    """updatedReplicas is the number of pods that run the current template."""
    selector: Text | None = None
    """selector is the label selector of the pods, in string form, for the scale subresource."""
    leader_id: Counter | None = None
    """leaderId is the Raft id of the leader. Not set while there is no leader."""
    leader_pod: ShortText | None = None
    """leaderPod is the name of the leader's pod. Not set while there is no leader."""
    term: Counter | None = None
    """term is the current Raft term."""
    commit_index: Counter | None = None
    """commitIndex is the index of the last log entry that a majority has stored."""
    cluster_health: Literal["Healthy", "Degraded", "Unhealthy", "Unknown"] | None = None
    """clusterHealth summarizes the members. Healthy: all follow one leader. Degraded: a majority does.
    Unhealthy: fewer do. Unknown: no member could be called."""
    nodes: Annotated[list[NodeStatus], Field(max_length=64)] | None = None
    """nodes is the list of members, ordered by ordinal."""
    certificates: Annotated[list[CertificateStatus], Field(max_length=8)] | None = None
    """certificates is the list of the certificates in the Secrets of spec.tls. Not set without TLS."""
    endpoint: Text | None = None
    """endpoint is the host:port of the Service for clients."""
    current_revision: ShortText | None = None
    """currentRevision is the revision of the pods that a rollout has not replaced yet."""
    update_revision: ShortText | None = None
    """updateRevision is the revision of the current pod template."""
    buffer: BufferStatus | None = None
    """buffer is the state of the buffer."""
    protocol: ShortText | None = None
    """protocol is the protobuf package that the members serve, such as etl. Not set until a member has
    answered."""


def _name_is_short(cluster: EtlRouterCluster) -> bool:
    return len(cluster.metadata.name) <= 45


def _name_fits_services(cluster: EtlRouterCluster) -> bool:
    return _NAME.fullmatch(cluster.metadata.name) is not None


class EtlRouterCluster(Model):
    """EtlRouterCluster is a Raft cluster of ETL router nodes. The operator runs it as a StatefulSet with its
    Services, configuration and PodDisruptionBudget."""

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
    """apiVersion is etl.router/v1."""
    kind: Literal["EtlRouterCluster"]
    """kind is EtlRouterCluster."""
    metadata: ObjectMeta
    """metadata is the standard object metadata."""
    spec: ClusterSpec
    """spec defines the desired state of the cluster."""
    status: ClusterStatus | None = None
    """status is the state of the cluster as the operator last observed it. Read-only."""
