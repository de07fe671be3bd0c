"""What a service's spec means to the router's registry, and whose name it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controllers.references import BY_NAME, SERVICES, choose_cluster, spec_of
from etl_operator.api import CLUSTER, SINK, SOURCE, TRANSFORM
from etl_operator.router.registry import Registration
from informers.cache.informer import Informer
from informers.cache.view import View
from informers.objects import Object, ObjectKey, Resource

SERVICE_TYPES: Mapping[Resource, int] = {SOURCE: 1, TRANSFORM: 2, SINK: 3}
"""``etl.common.ServiceType`` on the wire."""


def service_id(key: ObjectKey) -> str:
    """``namespace/name``. Kinds share these ids, as they share the names below them."""
    return f"{key.namespace}/{key.name}"


def key_of(service: str) -> ObjectKey:
    """The inverse of :func:`service_id`."""
    namespace, _, name = service.partition("/")
    return ObjectKey(namespace, name)


def registration(resource: Resource, obj: Object) -> Registration:
    """The registration a spec asks for. The endpoint's form was checked by the schema."""
    meta, spec = obj["metadata"], spec_of(obj)
    grpc = spec["grpc"]
    host, port = split_endpoint(grpc["endpoint"])
    return Registration(
        service_id=service_id(ObjectKey.of(obj)),
        type=SERVICE_TYPES[resource],
        # Pipeline stages select by the bare name.
        name=meta["name"],
        host=host,
        port=port,
        use_tls=bool((grpc.get("tls") or {}).get("enabled")),
        labels={**(meta.get("labels") or {}), **(spec.get("labels") or {})},
        weight=int(spec.get("weight") or 100),
        max_concurrent_requests=int(spec.get("maxConcurrentRequests") or 0),
    )


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """``host:port``; an IPv6 host keeps its brackets off.

    :raises ValueError: when there is no port.
    """
    host, _, port = endpoint.rpartition(":")
    if not host:
        raise ValueError(f"endpoint {endpoint!r} has no port")
    return host.strip("[]"), int(port)


def winner_of(
    name: str, cluster: ObjectKey, informers: Mapping[Resource, Informer]
) -> tuple[Resource, View] | None:
    """The oldest service of this name that goes to this cluster; age ties are broken by uid.

    One that is being deleted still holds the name: its registration may not be gone yet.
    """
    rivals: list[tuple[str, str, Resource, View]] = []
    for resource in SERVICES:
        for view in informers[resource].by_index(BY_NAME, name):
            chosen = choose_cluster(view.key.namespace, spec_of(view.object()), informers[CLUSTER]).cluster
            if chosen is not None and chosen.key == cluster:
                rivals.append((view.creation_timestamp, view.uid, resource, view))
    if not rivals:
        return None
    _, _, resource, view = min(rivals, key=lambda rival: rival[:2])
    return resource, view


def probe_settings(spec: Mapping[str, Any]) -> tuple[bool, float]:
    """Whether the endpoint is to be probed, and every how many seconds."""
    probe = spec.get("healthCheck") or {}
    return bool(probe.get("enabled")), float(probe.get("intervalSeconds") or 10)
