"""Names, labels and addresses of what belongs to a router cluster."""

from __future__ import annotations

from collections.abc import Mapping

from controllers.objects.labels import CLUSTER_LABEL
from informers.objects import ObjectKey

MEMBERS_ANNOTATION = "etl.router/members"
"""How many Raft members a pod (template) or StatefulSet was configured for."""
CONFIG_HASH_ANNOTATION = "etl.router/config-hash"
TLS_ANNOTATION = "etl.router/tls"
"""On pods and their template: how their ports are secured."""
PLAIN, MIXED, ENCRYPTED = "", "Allowed", "Required"
"""Values of :data:`TLS_ANNOTATION`: not at all (no annotation), as each client likes, for everybody."""
SERVICE_SECRETS_ANNOTATION = "etl.router/service-secrets"
"""On pods and their template: Secrets for calls to services that they mount, separated by commas."""
VOLUME = "data"
CONTAINER = "router"


def config_name(cluster: str) -> str:
    """ConfigMap with ``router.yaml`` and ``start.sh``."""
    return f"{cluster}-config"


def headless_name(cluster: str) -> str:
    """Service that gives every pod its stable DNS name."""
    return f"{cluster}-headless"


def pod_name(cluster: str, ordinal: int) -> str:
    """Pod of an ordinal."""
    return f"{cluster}-{ordinal}"


def claim_name(cluster: str, ordinal: int) -> str:
    """PersistentVolumeClaim of an ordinal."""
    return f"{VOLUME}-{cluster}-{ordinal}"


def ordinal_of(pod: str, cluster: str) -> int | None:
    """The ordinal of a pod named after the cluster, or ``None`` for any other name."""
    prefix, _, digits = pod.rpartition("-")
    return int(digits) if prefix == cluster and digits.isascii() and digits.isdigit() else None


def node_id(ordinal: int) -> int:
    """Raft id of an ordinal. Zero means "none" on the router's wire, so ids start at one."""
    return ordinal + 1


def headless_domain(key: ObjectKey, domain: str) -> str:
    """What comes behind the name of a pod in its DNS name."""
    return f"{headless_name(key.name)}.{key.namespace}.svc.{domain}"


def host(key: ObjectKey, ordinal: int, domain: str) -> str:
    """Fully qualified DNS name of a pod, so that resolving it takes one query."""
    return f"{pod_name(key.name, ordinal)}.{headless_domain(key, domain)}"


def address(key: ObjectKey, ordinal: int, domain: str, port: int) -> str:
    """``host:port`` of a pod's gRPC server."""
    return f"{host(key, ordinal, domain)}:{port}"


def raft_peers(key: ObjectKey, members: int, domain: str, port: int) -> str:
    """All members as ``id:host:port``, comma separated; the start script leaves out its own."""
    return ",".join(f"{node_id(i)}:{host(key, i, domain)}:{port}" for i in range(members))


def service_secrets(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """The Secrets in :data:`SERVICE_SECRETS_ANNOTATION`."""
    return tuple(one for one in annotations.get(SERVICE_SECRETS_ANNOTATION, "").split(",") if one)


def selector_labels(cluster: str) -> dict[str, str]:
    """Labels that select the pods of a cluster. Never a version: selectors are immutable."""
    return {
        "app.kubernetes.io/name": "etl-router",
        "app.kubernetes.io/instance": cluster,
        "app.kubernetes.io/component": "router",
    }


def child_labels(cluster: str) -> dict[str, str]:
    """Labels of everything that belongs to a cluster."""
    return {
        **selector_labels(cluster),
        "app.kubernetes.io/part-of": "etl-router",
        "app.kubernetes.io/managed-by": "etl-operator",
        CLUSTER_LABEL: cluster,
    }


def selector_string(labels: Mapping[str, str]) -> str:
    """A label selector as text, for ``status.selector`` of the scale subresource."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
