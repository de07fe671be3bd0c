"""What users rely on in the API, spelt out: a change of a default, a bound or a column must be meant."""

from __future__ import annotations

from typing import Any

import pytest

from etl_operator.api.crds import KINDS, Kind, definition, schema_of

BY_KIND = {kind.resource.kind: kind for kind in KINDS}
SERVICES = ("EtlSource", "EtlTransform", "EtlSink")

DEFAULTS: dict[str, dict[str, Any]] = {
    "EtlRouterCluster": {
        "replicas": 3,
        "imagePullPolicy": "IfNotPresent",
        "raft.electionTimeoutMs": 1000,
        "raft.heartbeatIntervalMs": 100,
        "raft.snapshotInterval": 10000,
        "storage.size": "10Gi",
        "storage.retentionPolicy.whenDeleted": "Retain",
        "storage.retentionPolicy.whenScaled": "Retain",
        "service.type": "ClusterIP",
        "service.grpcPort": 50051,
        "service.raftPort": 50052,
        "service.httpPort": 8080,
        "metrics.enabled": True,
        "metrics.port": 9090,
        "tls.clientAuth": "None",
        "tls.plaintext": "Deny",
        "buffer.type": "Memory",
        "buffer.nats.replicas": 3,
        "buffer.nats.syncAlways": False,
        "buffer.nats.maxBytes": 1073741824,
        "podDisruptionBudget.enabled": True,
        "updateStrategy": "QuorumAware",
        "deletionPolicy": "Retain",
    },
    "EtlPipeline": {
        "steps": [],
        "dlq.enabled": False,
        "dlq.maxRetries": 3,
        "dlq.retryBackoffMs": 100,
        "dlq.maxRetryBackoffMs": 30000,
        "enabled": True,
        "drainTimeoutSeconds": 30,
        "deletionPolicy": "Delete",
    },
    "EtlSource": {
        "grpc.tls.enabled": False,
        "grpc.tls.insecureSkipVerify": False,
        "weight": 100,
        "maxConcurrentRequests": 0,
        "healthCheck.enabled": False,
        "healthCheck.intervalSeconds": 10,
        "deletionPolicy": "Delete",
    },
}

FIELDS = {
    "EtlRouterCluster": {
        "replicas", "image", "imagePullPolicy", "imagePullSecrets", "raft", "resources", "storage", "service",
        "metrics", "buffer", "tls", "env", "command", "args", "nodeSelector", "tolerations", "affinity",
        "topologySpreadConstraints", "priorityClassName", "serviceAccountName", "podAnnotations", "podLabels",
        "podDisruptionBudget", "updateStrategy", "allowedNamespaces", "deletionPolicy",
    },
    "EtlPipeline": {
        "source", "steps", "sink", "dlq", "enabled", "clusterRef", "drainTimeoutSeconds", "deletionPolicy",
    },
    "EtlSource": {
        "grpc", "config", "labels", "weight", "maxConcurrentRequests", "clusterRef", "healthCheck",
        "deletionPolicy",
    },
}  # fmt: skip

STATUS = {
    "EtlRouterCluster": {
        "observedGeneration", "conditions", "replicas", "readyReplicas", "updatedReplicas", "selector",
        "leaderId", "leaderPod", "term", "commitIndex", "clusterHealth", "nodes", "certificates", "endpoint",
        "currentRevision", "updateRevision", "protocol", "buffer",
    },
    "EtlPipeline": {
        "observedGeneration", "conditions", "phase", "cluster", "pipelineId", "version", "enabled",
        "specHash", "stages", "recordsProcessed", "errors", "deadLetters", "pendingRecords",
    },
    "EtlSource": {
        "observedGeneration", "conditions", "serviceId", "cluster", "registeredNodes", "totalNodes", "health",
    },
}  # fmt: skip

COLUMNS = {
    "EtlRouterCluster": ["Ready", "Replicas", "ReadyReplicas", "Leader", "Health", "Age", "Message"],
    "EtlPipeline": ["Ready", "Source", "Sink", "Enabled", "Records", "DLQ", "Cluster", "Age", "Message"],
    "EtlSource": ["Ready", "Endpoint", "Health", "Cluster", "Age", "Message"],
}

BOUNDS = {
    ("EtlRouterCluster", "replicas"): {"minimum": 1, "maximum": 15},
    ("EtlPipeline", "steps"): {"maxItems": 64},
    ("EtlPipeline", "dlq.maxRetries"): {"minimum": 0, "maximum": 1000},
    ("EtlSource", "weight"): {"minimum": 1, "maximum": 1000},
}


def same_as(kind: Kind) -> str:
    """The kind whose tables hold for this one: the three services are alike."""
    return "EtlSource" if kind.resource.kind in SERVICES else kind.resource.kind


def field(kind: Kind, path: str) -> dict[str, Any]:
    """The schema of a field of the spec."""
    found: dict[str, Any] = schema_of(kind.resource)["properties"]["spec"]
    for name in path.split("."):
        found = found["properties"][name]
    return found


def defaults(schema: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Every default of a leaf."""
    found: dict[str, Any] = {}
    for name, below in schema.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        found |= defaults(below, where)
        if "default" in below and "properties" not in below:
            found[where] = below["default"]
    return found


EACH = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.kind)


@EACH
def test_fields(kind: Kind) -> None:
    properties = schema_of(kind.resource)["properties"]
    assert set(properties["spec"]["properties"]) == FIELDS[same_as(kind)]
    assert set(properties["status"]["properties"]) == STATUS[same_as(kind)]


@EACH
def test_defaults(kind: Kind) -> None:
    assert defaults(schema_of(kind.resource)["properties"]["spec"]) == DEFAULTS[same_as(kind)]


@EACH
def test_columns(kind: Kind) -> None:
    (version,) = definition(kind)["spec"]["versions"]
    columns = version["additionalPrinterColumns"]
    assert [column["name"] for column in columns] == COLUMNS[same_as(kind)]
    assert [column["name"] for column in columns if column.get("priority")] == ["Message"]


def test_bounds() -> None:
    for (kind, path), bounds in BOUNDS.items():
        assert field(BY_KIND[kind], path).items() >= bounds.items(), path


def test_short_names() -> None:
    names = {kind.resource.kind: kind.short_name for kind in KINDS}
    assert names == {
        "EtlRouterCluster": "erc",
        "EtlPipeline": "epl",
        "EtlSource": "esrc",
        "EtlTransform": "etf",
        "EtlSink": "esnk",
    }
