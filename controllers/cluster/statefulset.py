"""The desired StatefulSet of a router cluster. Pure: values in, object out."""

from __future__ import annotations

from typing import Any

from controllers.applying.comparing import contains
from controllers.cluster.children import key_of, metadata, ports
from controllers.cluster.config import NATS_DIR, ROUTER_FILE, SCRIPT_FILE, config_data, config_hash
from controllers.cluster.encryption import Encryption, annotations_of, flags_of, mounts_of, volumes_of
from controllers.members import naming
from controllers.objects.kinds import STATEFUL_SET
from controllers.wiring.settings import ControllerSettings
from etl_operator.api import EtlRouterCluster
from informers.objects import Object

CONFIG_DIR = "/etc/etl-router"
DATA_DIR = "/data"
RESTART_ANNOTATION = "etl.router/restart-requested-at"
_USER = 65532
_HEALTH_TIMEOUT = 6
"""Seconds; a router answers ``/health`` only after a write that waits up to 5 s for its commit."""


def stateful_set(
    cluster: EtlRouterCluster,
    settings: ControllerSettings,
    members: int,
    encryption: Encryption | None = None,
) -> Object:
    """``<name>``, with ``members`` Raft members.

    :param members: the member count this pass works towards; never more than one above the live count.
    :param encryption: what the pods are to know of TLS; none by default.
    """
    encryption = encryption or Encryption()
    name = cluster.metadata.name
    annotations = {naming.MEMBERS_ANNOTATION: str(members)}
    return {
        "apiVersion": STATEFUL_SET.api_version,
        "kind": STATEFUL_SET.kind,
        "metadata": metadata(cluster, name, annotations=annotations),
        "spec": {
            "replicas": members,
            "serviceName": naming.headless_name(name),
            "podManagementPolicy": "Parallel",
            # The operator deletes the pods itself: only it knows the quorum and the leader.
            "updateStrategy": {"type": "OnDelete"},
            "revisionHistoryLimit": 10,
            "selector": {"matchLabels": naming.selector_labels(name)},
            "persistentVolumeClaimRetentionPolicy": _retention(cluster),
            "template": {
                "metadata": _template_metadata(cluster, members, encryption),
                "spec": _pod_spec(cluster, settings, members, encryption),
            },
            "volumeClaimTemplates": [_claim_template(cluster)],
        },
    }


def with_claims_of(desired: Object, live: Object) -> Object:
    """The desired StatefulSet with the live one's volume claim templates, where they differ.

    They are immutable: volumes grow through their own claims, and a wrong size here must not wedge the rest.
    """
    claims = live["spec"].get("volumeClaimTemplates")
    if not claims or contains(claims, desired["spec"]["volumeClaimTemplates"]):
        return desired
    return {**desired, "spec": {**desired["spec"], "volumeClaimTemplates": claims}}


def _retention(cluster: EtlRouterCluster) -> dict[str, str]:
    policy = cluster.spec.storage.retention_policy
    deleted = "Delete" if cluster.spec.deletion_policy == "Delete" else policy.when_deleted
    return {"whenDeleted": deleted, "whenScaled": policy.when_scaled}


def _template_metadata(cluster: EtlRouterCluster, members: int, encryption: Encryption) -> dict[str, Any]:
    annotations = dict(cluster.spec.pod_annotations or {})
    annotations[naming.CONFIG_HASH_ANNOTATION] = config_hash(config_data(cluster))
    annotations[naming.MEMBERS_ANNOTATION] = str(members)
    annotations |= annotations_of(encryption)
    restart = (cluster.metadata.annotations or {}).get(RESTART_ANNOTATION)
    if restart:
        annotations[RESTART_ANNOTATION] = restart
    # The operator's own labels win: the selector depends on them.
    labels = {**(cluster.spec.pod_labels or {}), **naming.child_labels(cluster.metadata.name)}
    return {"labels": labels, "annotations": annotations}


def _pod_spec(
    cluster: EtlRouterCluster, settings: ControllerSettings, members: int, encryption: Encryption
) -> dict[str, Any]:
    spec = cluster.spec
    pod: dict[str, Any] = {
        "serviceAccountName": spec.service_account_name or cluster.metadata.name,
        "automountServiceAccountToken": False,
        # Router names such as ETL_ROUTER_* must not be filled in by a Service called "etl-router".
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(cluster, settings, members, encryption)],
        "volumes": _volumes(cluster) + volumes_of(encryption),
        "affinity": dump(spec.affinity) or _spread_over_hosts(cluster.metadata.name),
        "topologySpreadConstraints": dump(spec.topology_spread_constraints)
        or _spread_over_zones(cluster.metadata.name),
    }
    optional = {
        "imagePullSecrets": dump(spec.image_pull_secrets),
        "nodeSelector": dump(spec.node_selector),
        "tolerations": dump(spec.tolerations),
        "priorityClassName": spec.priority_class_name,
    }
    return pod | {key: value for key, value in optional.items() if value}


def _container(
    cluster: EtlRouterCluster, settings: ControllerSettings, members: int, encryption: Encryption
) -> dict[str, Any]:
    spec = cluster.spec
    container: dict[str, Any] = {
        "name": naming.CONTAINER,
        "image": spec.image or settings.router_image,
        "imagePullPolicy": spec.image_pull_policy,
        "command": ["/bin/sh", f"{CONFIG_DIR}/{SCRIPT_FILE}"],
        "env": _environment(cluster, settings, members),
        "ports": [
            {"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports(cluster).items()
        ],
        # Health, not quorum: a member without a leader must not be killed for it.
        "startupProbe": _probe("/health", period=2, failures=60),
        "livenessProbe": _probe("/health", period=10, failures=3),
        "readinessProbe": _probe("/ready", period=2, failures=3),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": _mounts(cluster) + mounts_of(encryption),
    }
    optional = {
        "args": [*flags_of(encryption, _domain(cluster, settings)), *(spec.args or ())],
        "resources": dump(spec.resources),
    }
    return container | {key: value for key, value in optional.items() if value}


def _domain(cluster: EtlRouterCluster, settings: ControllerSettings) -> str:
    return naming.headless_domain(key_of(cluster), settings.cluster_domain)


def _environment(
    cluster: EtlRouterCluster, settings: ControllerSettings, members: int
) -> list[dict[str, Any]]:
    key = key_of(cluster)
    named = ports(cluster)
    values = {
        "RAFT_PEERS": naming.raft_peers(key, members, settings.cluster_domain, named["raft"]),
        "GRPC_PORT": str(named["grpc"]),
        "RAFT_PORT": str(named["raft"]),
        "HTTP_PORT": str(named["http"]),
        "METRICS_PORT": str(named["metrics"]) if "metrics" in named else "",
        "DATA_DIR": DATA_DIR,
        "ROUTER_CONFIG": f"{CONFIG_DIR}/{ROUTER_FILE}",
    }
    fields = {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace", "POD_IP": "status.podIP"}
    own: list[dict[str, Any]] = [
        {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
        for name, path in fields.items()
    ]
    own += [{"name": name, "value": value} for name, value in values.items()]
    # The identity of a member is not for the user to override; everything else is.
    reserved = fields.keys() | values.keys()
    return own + [entry for entry in dump(cluster.spec.env) or [] if entry["name"] not in reserved]


def _mounts(cluster: EtlRouterCluster) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [
        {"name": "config", "mountPath": CONFIG_DIR, "readOnly": True},
        {"name": naming.VOLUME, "mountPath": DATA_DIR},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
    ]
    if _nats_credentials(cluster):
        mounts.append({"name": "nats", "mountPath": NATS_DIR, "readOnly": True})
    return mounts


def _volumes(cluster: EtlRouterCluster) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        {"name": "config", "configMap": {"name": naming.config_name(cluster.metadata.name)}},
        {"name": "tmp", "emptyDir": {}},
    ]
    credentials = _nats_credentials(cluster)
    if credentials:
        volumes.append({"name": "nats", "secret": {"secretName": credentials}})
    return volumes


def _nats_credentials(cluster: EtlRouterCluster) -> str | None:
    nats = cluster.spec.buffer.nats
    return nats.credentials_secret_name if nats else None


def _claim_template(cluster: EtlRouterCluster) -> dict[str, Any]:
    storage = cluster.spec.storage
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": str(storage.size)}},
    }
    if storage.storage_class_name is not None:
        spec["storageClassName"] = storage.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": naming.VOLUME, "labels": naming.child_labels(cluster.metadata.name)},
        "spec": spec,
    }


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": _HEALTH_TIMEOUT,
        "failureThreshold": failures,
    }


def _spread_over_hosts(cluster: str) -> dict[str, Any]:
    term = {
        "labelSelector": {"matchLabels": naming.selector_labels(cluster)},
        "topologyKey": "kubernetes.io/hostname",
    }
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def _spread_over_zones(cluster: str) -> list[dict[str, Any]]:
    return [
        {
            "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": naming.selector_labels(cluster)},
        }
    ]


def dump(value: Any) -> Any:
    """A value of the spec as plain data, whether the model keeps it typed or free-form."""
    if isinstance(value, list | tuple):
        return [dump(item) for item in value]
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return value
