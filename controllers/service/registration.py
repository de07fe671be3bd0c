"""What a service's spec means to the router's registry, and whose name it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controllers import reasons as r
from controllers.references import (
    BY_NAME,
    SERVICES,
    choose_cluster,
    registered_with,
    service_references,
    spec_in,
    spec_of,
)
from etl_operator.api import CLUSTER, SINK, SOURCE, TRANSFORM
from etl_operator.router.registry import Registration
from informers.cache.informer import Delta, Informer
from informers.cache.typed import read_status
from informers.cache.view import View
from informers.controller import predicates
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
    rivals = [
        (resource, view)
        for resource in SERVICES
        for view in informers[resource].by_index(BY_NAME, str(ObjectKey(cluster.namespace, name)))
        if _lives_in(view, cluster, informers)
    ]
    if len(rivals) < 2:
        # As nearly always: its age need not be read.
        return rivals[0] if rivals else None
    return min(rivals, key=lambda rival: (rival[1].creation_timestamp, rival[1].uid))


def _lives_in(service: View, cluster: ObjectKey, informers: Mapping[Resource, Informer]) -> bool:
    home = home_of(service, informers[CLUSTER])
    return home is not None and home.key == cluster


def home_of(service: View, clusters: Informer) -> View | None:
    """The cluster a service is, or is to be, registered with.

    A second cluster in the namespace makes the choice ambiguous; that must not end what works with the first.
    """
    choice = choose_cluster(service.key.namespace, spec_in(service), clusters)
    if choice.reason != r.AMBIGUOUS_CLUSTER:
        return choice.cluster
    namespace, _, name = registered_with(service).partition("/")
    former = clusters.get(ObjectKey(namespace, name)) if name else None
    return None if former is None or former.deleting else former


def astray(
    namespace: str, spec: Mapping[str, Any], cluster: ObjectKey, informers: Mapping[Resource, Informer]
) -> list[str]:
    """Services of a pipeline that its cluster does not know by their name, and why; each once."""
    found: list[str] = []
    for resource, name in service_references(spec):
        view = informers[resource].get(ObjectKey(namespace, name))
        if view is None:
            continue
        winner = winner_of(name, cluster, informers)
        if winner is not None and winner[1].uid == view.uid:
            continue
        chosen = home_of(view, informers[CLUSTER])
        if chosen is None or chosen.key != cluster:
            where = f"belongs to cluster {chosen.key}" if chosen else "has no cluster"
        else:
            where = "has lost its name to an older service of the cluster"
        found.append(f"{resource.kind} {name} {where}")
    return list(dict.fromkeys(found))


def readiness_or_reach_changed(delta: Delta) -> bool:
    """Predicate: what pipelines wait for in a service. A further member that knows it may be the leader."""
    old, new = delta.old, delta.new
    return predicates.ready_changed(delta) or (
        old is not None and new is not None and _registered_nodes(old) < _registered_nodes(new)
    )


def _registered_nodes(service: View) -> int:
    return int((read_status(service, dict[str, Any]) or {}).get("registeredNodes") or 0)


def probe_settings(spec: Mapping[str, Any]) -> tuple[bool, float]:
    """Whether the endpoint is to be probed, and every how many seconds."""
    probe = spec.get("healthCheck") or {}
    return bool(probe.get("enabled")), float(probe.get("intervalSeconds") or 10)
