"""The objects the stub serves: pipelines of 2 KB, half of it managedFields, and StatefulSets of 4 KB.

They are kept as templates of bytes, so that serving one costs a single substitution.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

NAMESPACES = 10
"""Objects are spread over so many namespaces, ``bench-0`` and up."""
UID = "5f0c6a3e-9b1d-4c52-8e07"
"""What all uids begin with."""
FIRST_VERSION = 10_000_000
"""Versions have eight digits from the start, so that every object has the same size."""
SENT = "bench.etl.router/sent"
"""Annotation with the moment of sending: nanoseconds of CLOCK_MONOTONIC, which processes share."""
SEQUENCE = "bench.etl.router/seq"
"""Annotation with the number of the event, from 1; 0 in the first state."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource of the stub.

    :param root: path of the group version.
    :param typed: whether items of a list carry ``apiVersion`` and ``kind``; built-in kinds do not.
    """

    root: str
    plural: str
    kind: str
    api_version: str
    template: bytes
    typed: bool

    def render(self, index: int, version: int, *, sequence: int = 0, sent: int = 0) -> bytes:
        """The JSON of one object.

        :param index: which object; name, uid and some values follow from it.
        :param sequence: raises ``generation``, so that no predicate drops the change.
        """
        return self.template % {
            b"index": b"%06d" % index,
            b"namespace": b"%d" % (index % NAMESPACES),
            b"uid": b"%012x" % (index * 2_654_435_761 % 2**48),
            b"number": b"%d" % (index % 97),
            b"version": b"%d" % version,
            b"generation": b"%d" % (1 + sequence),
            b"sequence": b"%d" % sequence,
            b"sent": b"%019d" % sent,
        }

    def item(self, rendered: bytes) -> bytes:
        """The object as a list has it."""
        return rendered if self.typed else b"{" + rendered[len(self._head()) :]

    def _head(self) -> bytes:
        return f'{{"apiVersion":"{self.api_version}","kind":"{self.kind}",'.encode()


def name_of(index: int) -> tuple[str, str]:
    """Namespace and name of an object; those of both kinds with one index share them."""
    return f"bench-{index % NAMESPACES}", f"bench-{index:06d}"


@cache
def kinds() -> dict[str, Kind]:
    """What the stub serves, by plural."""
    pipeline = _template(_pipeline())
    stateful_set = _template(_stateful_set())
    source = _template(_source())
    return {
        "etlsources": Kind("/apis/etl.router/v1", "etlsources", "EtlSource", "etl.router/v1", source, True),
        "etlpipelines": Kind(
            "/apis/etl.router/v1", "etlpipelines", "EtlPipeline", "etl.router/v1", pipeline, True
        ),
        "statefulsets": Kind("/apis/apps/v1", "statefulsets", "StatefulSet", "apps/v1", stateful_set, False),
    }


def _template(obj: dict[str, Any]) -> bytes:
    text = json.dumps(obj, separators=(",", ":"))
    assert "%" not in text.replace("%(", ""), "a percent sign would be taken for a substitution"
    for name in ("version", "generation", "sequence", "sent", "index", "uid", "number", "namespace"):
        text = text.replace(f"%({name})", f"%({name})s")
    # Numbers are written as strings first: they stand unquoted in the object.
    return text.replace('"#%(generation)s"', "%(generation)s").replace('"#%(number)s"', "%(number)s").encode()


def _metadata(plural: str, managers: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "annotations": {SENT: "%(sent)", SEQUENCE: "%(sequence)"},
        "creationTimestamp": "2026-11-24T08:00:00Z",
        "generation": "#%(generation)",
        "labels": {
            "app.kubernetes.io/managed-by": "bench",
            "app.kubernetes.io/name": plural,
            "team": "team-%(number)",
        },
        **more,
        "managedFields": managers,
        "name": "bench-%(index)",
        "namespace": "bench-%(namespace)",
        "resourceVersion": "%(version)",
        "uid": f"{UID}-%(uid)",
    }


def _pipeline() -> dict[str, Any]:
    spec = {
        "source": "source-%(number)",
        "steps": ["filter-active", "enrich-geo"],
        "sink": "sink-%(number)",
        "dlq": {
            "enabled": True,
            "maxRetries": 3,
            "sink": "dead-letters",
            "retryBackoffMs": 100,
            "maxRetryBackoffMs": 30_000,
        },
        "enabled": True,
        "drainTimeoutSeconds": 30,
        "deletionPolicy": "Delete",
    }
    condition = {
        "lastTransitionTime": "2026-11-24T08:00:05Z",
        "message": "the router has accepted the pipeline",
        "observedGeneration": 1,
        "reason": "Accepted",
        "status": "True",
        "type": "Ready",
    }
    status = {
        "conditions": [condition],
        "observedGeneration": 1,
        "phase": "Running",
        "pipelineId": "bench-%(namespace)/bench-%(index)",
        "specHash": "%(uid)",
        "version": 1,
    }
    meta = _metadata("etlpipelines", [], finalizers=["etl.router/pipeline"])
    users = {"metadata": {"annotations": meta["annotations"], "labels": meta["labels"]}, "spec": spec}
    finalizer: dict[str, Any] = {"metadata": {"finalizers": {"v:etl.router/pipeline": {}}}}
    meta["managedFields"] = [
        _manager("kubectl", "Apply", users, api_version="etl.router/v1"),
        _manager("etl-operator/finalizer", "Update", finalizer, api_version="etl.router/v1"),
        _manager("etl-operator/pipeline", "Apply", {"status": status}, "status", "etl.router/v1"),
    ]
    return {
        "apiVersion": "etl.router/v1",
        "kind": "EtlPipeline",
        "metadata": meta,
        "spec": spec,
        "status": status,
    }


def _source() -> dict[str, Any]:
    spec = {"grpc": {"endpoint": "bench-%(index):50051"}, "weight": 1, "labels": {"tier": "bench"}}
    managers = [_manager("kubectl", "Apply", {"spec": spec}, api_version="etl.router/v1")]
    meta = _metadata("etlsources", managers)
    return {"apiVersion": "etl.router/v1", "kind": "EtlSource", "metadata": meta, "spec": spec}


def _manager(
    name: str, operation: str, fields: dict[str, Any], subresource: str = "", api_version: str = "apps/v1"
) -> dict[str, Any]:
    entry = {
        "apiVersion": api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": _fields(fields),
        "manager": name,
        "operation": operation,
        "time": "2026-11-24T08:00:05Z",
    }
    return {**entry, "subresource": subresource} if subresource else entry


def _fields(value: Any) -> Any:
    """The field set of a value, as the server records it."""
    if isinstance(value, dict):
        return {name if name.startswith("v:") else f"f:{name}": _fields(one) for name, one in value.items()}
    for key in ("name", "type"):
        if isinstance(value, list) and value and isinstance(value[0], dict) and key in value[0]:
            return {f'k:{{"{key}":"{one[key]}"}}': {".": {}, **_fields(one)} for one in value}
    return {}


def desired_stateful_set(name: str, namespace: str, owner_uid: str, replicas: int) -> dict[str, Any]:
    """The StatefulSet every program builds in the reconcile benchmark, before the server's defaults."""
    labels = {"app.kubernetes.io/name": "etl-router", "app.kubernetes.io/instance": name}
    ports = [
        {"name": "grpc", "containerPort": 50051, "protocol": "TCP"},
        {"name": "metrics", "containerPort": 9090, "protocol": "TCP"},
    ]
    # The thresholds are the defaults; Go's comparison does not tell an unset number from zero.
    probe = {
        "grpc": {"port": 50051},
        "periodSeconds": 10,
        "timeoutSeconds": 2,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    container = {
        "name": "router",
        "image": "etl-router:1.0.0",
        "args": ["--config", "/etc/etl-router/config.yaml"],
        "ports": ports,
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "CLUSTER", "value": name},
        ],
        "resources": {
            "requests": {"cpu": "500m", "memory": "512Mi"},
            "limits": {"cpu": "2", "memory": "2Gi"},
        },
        "readinessProbe": probe,
        "livenessProbe": probe,
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "config", "mountPath": "/etc/etl-router"},
        ],
    }
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
    }
    owner = {
        "apiVersion": "etl.router/v1",
        "kind": "EtlPipeline",
        "name": name,
        "uid": owner_uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    pod = {
        "metadata": {"labels": labels},
        "spec": {
            "serviceAccountName": "etl-router",
            "terminationGracePeriodSeconds": 30,
            "containers": [container],
            "volumes": [{"name": "config", "configMap": {"name": f"{name}-config"}}],
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "ownerReferences": [owner]},
        "spec": {
            "replicas": replicas,
            "serviceName": f"{name}-headless",
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "template": pod,
            "volumeClaimTemplates": [claim],
        },
    }


def _stateful_set() -> dict[str, Any]:
    desired = desired_stateful_set("bench-%(index)", "bench-%(namespace)", f"{UID}-%(uid)", 3)
    managers = [
        _manager("bench", "Apply", {"spec": desired["spec"]}),
        _manager("kube-controller-manager", "Update", {"status": {"replicas": 3}}, "status"),
    ]
    meta = _metadata("statefulsets", managers)
    meta |= {"ownerReferences": desired["metadata"]["ownerReferences"]}
    meta["labels"] = {**meta["labels"], **desired["metadata"]["labels"]}
    spec = desired["spec"]
    pod = spec["template"]["spec"]
    pod |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    pod |= {"securityContext": {}, "serviceAccount": "etl-router"}
    for container in pod["containers"]:
        container |= {"imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log"}
        container |= {"terminationMessagePolicy": "File"}
        container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] = "v1"
    pod["volumes"][0]["configMap"]["defaultMode"] = 420
    claims = spec["volumeClaimTemplates"]
    claims[0] = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **claims[0]}
    claims[0]["spec"] |= {"volumeMode": "Filesystem"}
    spec |= {"revisionHistoryLimit": 10, "updateStrategy": {"type": "RollingUpdate"}}
    revision = "bench-%(index)-6d8f7c9b5"
    status = {"observedGeneration": 1, "replicas": 3, "readyReplicas": 3, "availableReplicas": 3}
    status |= {"currentReplicas": 3, "updatedReplicas": 3, "collisionCount": 0}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": meta,
        "spec": spec,
        "status": {**status, "currentRevision": revision, "updateRevision": revision},
    }
