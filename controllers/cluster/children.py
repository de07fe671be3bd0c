"""Desired children of a router cluster, except the StatefulSet. Pure: values in, objects out."""

from __future__ import annotations

from typing import Any

from controllers.cluster.config import config_data
from controllers.members import naming
from controllers.members.facts import quorum
from controllers.objects.kinds import CONFIG_MAP, DISRUPTION_BUDGET, SERVICE, SERVICE_ACCOUNT
from etl_operator.api import EtlRouterCluster
from informers.objects import Object, ObjectKey, Resource


def tolerable(members: int) -> int:
    """Members that may be away at once: what quorum leaves over, but one for a pair.

    A pair tolerates none by the formula; a budget of zero would block every node drain forever.
    """
    return max(1, members - quorum(members))


def key_of(cluster: EtlRouterCluster) -> ObjectKey:
    """Namespace and name."""
    return ObjectKey(cluster.metadata.namespace or "", cluster.metadata.name)


def metadata(cluster: EtlRouterCluster, name: str, **extra: Any) -> dict[str, Any]:
    """Metadata of a child; the owner reference is added when it is applied."""
    return {
        "name": name,
        "namespace": cluster.metadata.namespace,
        "labels": naming.child_labels(cluster.metadata.name),
        **extra,
    }


def ports(cluster: EtlRouterCluster) -> dict[str, int]:
    """Named ports of the router, in a fixed order."""
    service = cluster.spec.service
    named = {"grpc": service.grpc_port, "raft": service.raft_port, "http": service.http_port}
    if cluster.spec.metrics.enabled:
        named["metrics"] = cluster.spec.metrics.port
    return named


def config_map(cluster: EtlRouterCluster) -> Object:
    """``<name>-config`` with ``router.yaml`` and ``start.sh``."""
    return {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.kind,
        "metadata": metadata(cluster, naming.config_name(cluster.metadata.name)),
        "data": config_data(cluster),
    }


def headless_service(cluster: EtlRouterCluster) -> Object:
    """``<name>-headless``: members must find each other before any of them is ready."""
    return {
        "apiVersion": SERVICE.api_version,
        "kind": SERVICE.kind,
        "metadata": metadata(cluster, naming.headless_name(cluster.metadata.name)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": naming.selector_labels(cluster.metadata.name),
            "ports": [
                _service_port(name, port, tls=cluster.spec.tls is not None)
                for name, port in ports(cluster).items()
            ],
        },
    }


def client_service(cluster: EtlRouterCluster) -> Object:
    """``<name>``: where sources, sidecars and people connect. Only ready pods are behind it."""
    service = cluster.spec.service
    extra = {"annotations": dict(service.annotations)} if service.annotations else {}
    return {
        "apiVersion": SERVICE.api_version,
        "kind": SERVICE.kind,
        "metadata": metadata(cluster, cluster.metadata.name, **extra),
        "spec": {
            "type": service.type,
            "selector": naming.selector_labels(cluster.metadata.name),
            "ports": [
                _service_port(n, p, tls=cluster.spec.tls is not None)
                for n, p in ports(cluster).items()
                if n != "raft"
            ],
        },
    }


def service_account(cluster: EtlRouterCluster) -> Object | None:
    """``<name>``, or nothing where the user brings one. It needs no rights and no token."""
    if cluster.spec.service_account_name:
        return None
    return {
        "apiVersion": SERVICE_ACCOUNT.api_version,
        "kind": SERVICE_ACCOUNT.kind,
        "metadata": metadata(cluster, cluster.metadata.name),
        "automountServiceAccountToken": False,
    }


def disruption_budget(cluster: EtlRouterCluster, members: int) -> Object | None:
    """``<name>``: evictions keep the quorum. None for a lone node, which no budget can protect."""
    if members < 2 or not cluster.spec.pod_disruption_budget.enabled:
        return None
    return {
        "apiVersion": DISRUPTION_BUDGET.api_version,
        "kind": DISRUPTION_BUDGET.kind,
        "metadata": metadata(cluster, cluster.metadata.name),
        "spec": {
            "maxUnavailable": tolerable(members),
            "selector": {"matchLabels": naming.selector_labels(cluster.metadata.name)},
            # A broken pod must not stop the drain that would cure it.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def obsolete(cluster: EtlRouterCluster, members: int) -> list[tuple[Resource, ObjectKey]]:
    """Children an earlier spec may have left behind."""
    key = key_of(cluster)
    gone: list[tuple[Resource, ObjectKey]] = []
    if service_account(cluster) is None:
        gone.append((SERVICE_ACCOUNT, key))
    if disruption_budget(cluster, members) is None:
        gone.append((DISRUPTION_BUDGET, key))
    return gone


def desired(cluster: EtlRouterCluster, members: int) -> list[tuple[Resource, Object]]:
    """Everything but the StatefulSet, in the order in which its pods need it."""
    maybe: list[tuple[Resource, Object | None]] = [
        (SERVICE_ACCOUNT, service_account(cluster)),
        (CONFIG_MAP, config_map(cluster)),
        (SERVICE, headless_service(cluster)),
        (SERVICE, client_service(cluster)),
        (DISRUPTION_BUDGET, disruption_budget(cluster, members)),
    ]
    return [(resource, obj) for resource, obj in maybe if obj is not None]


def _service_port(name: str, port: int, *, tls: bool) -> dict[str, Any]:
    # By number: a name means the first container of the pod with a port of that name, and others may have put
    # theirs before the router. Two containers of a pod cannot listen on one number.
    entry: dict[str, Any] = {"name": name, "port": port, "targetPort": port, "protocol": "TCP"}
    if name == "grpc" and not tls:
        entry["appProtocol"] = "kubernetes.io/h2c"
    return entry
