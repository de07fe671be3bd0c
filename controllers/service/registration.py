"""What a service's spec means to the router's registry, and whose name it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from controllers.objects.specs import number, problems, section, spec_in, spec_of, status_in, text
from controllers.references.clusters import choose_cluster
from controllers.references.services import (
    BY_NAME,
    SERVICES,
    registered_with,
    service_references,
    service_secrets,
)
from controllers.service.names import candidates, seen_from
from etl_operator.api import CLUSTER, SINK, SOURCE, TRANSFORM
from etl_operator.router.registry import Registration
from informers.cache.informer import Delta, Informer
from informers.controller import predicates
from informers.objects import Object, ObjectKey, Resource
from informers.views.view import View

TLS_LABELS = "etl.router/tls."
"""Prefix of the labels that tell the router how to call a service with TLS."""

SERVICE_TYPES: Mapping[Resource, int] = {SOURCE: 1, TRANSFORM: 2, SINK: 3}
"""``etl.common.ServiceType`` on the wire."""


def service_id(key: ObjectKey) -> str:
    """``namespace/name``. Kinds share these ids, as they share the names below them."""
    return f"{key.namespace}/{key.name}"


def registration(resource: Resource, obj: Object, cluster: ObjectKey, domain: str) -> Registration:
    """The registration a spec asks for.

    :param cluster: it is registered with; its members look the host up in their own namespace.
    :param domain: of the Kubernetes cluster.
    :raises ValueError: when the endpoint is not valid, which the schema does not let in.
    """
    meta, spec = obj["metadata"], spec_of(obj)
    grpc = section(spec, "grpc")
    host, port = split_endpoint(text(grpc, "endpoint"))
    return Registration(
        service_id=service_id(ObjectKey.of(obj)),
        type=SERVICE_TYPES[resource],
        # Pipeline stages select by the bare name.
        name=meta["name"],
        host=seen_from(host, meta["namespace"], cluster.namespace, domain),
        port=port,
        use_tls=section(grpc, "tls").get("enabled") is True,
        labels=_labels(meta, spec, cluster),
        weight=number(spec, "weight", 100, 1000) or 100,
        max_concurrent_requests=number(spec, "maxConcurrentRequests", 0, 2**31 - 1),
    )


def _labels(meta: Mapping[str, Any], spec: Mapping[str, Any], cluster: ObjectKey) -> dict[str, str]:
    """Labels of the object and of its spec, and those that say how the service is called: the API has no
    fields for that."""
    found = _texts(section(meta, "labels")) | _texts(section(spec, "labels"))
    found = {key: value for key, value in found.items() if not key.startswith(TLS_LABELS)}
    tls = section(section(spec, "grpc"), "tls")
    if tls.get("enabled") is not True:
        return found
    # The members mount Secrets of their own namespace.
    authority, client = service_secrets(spec) if meta["namespace"] == cluster.namespace else ("", "")
    how = {"ca-secret": authority, "client-secret": client}
    how["insecure-skip-verify"] = "true" if tls.get("insecureSkipVerify") is True else ""
    return found | {f"{TLS_LABELS}{name}": value for name, value in how.items() if value}


def foreign_secrets(obj: Object, cluster: ObjectKey) -> str:
    """Why the Secrets of ``spec.grpc.tls`` cannot be used, or ""."""
    named = [one for one in service_secrets(spec_of(obj)) if one]
    if not named or obj["metadata"]["namespace"] == cluster.namespace:
        return ""
    return (
        f"spec.grpc.tls names Secret {named[0]}: members mount only Secrets of their own namespace, which is "
        "not that of this object; register the service with a cluster of its namespace"
    )


def _texts(labels: Mapping[str, Any]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if isinstance(value, str)}


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """``host:port``; an IPv6 host keeps its brackets off.

    :raises ValueError: when there is no host, or no port of 1 to 65535.
    """
    host, _, port = endpoint.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"endpoint {endpoint!r} is not host:port")
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


def rival_of(
    resource: Resource, view: View, cluster: ObjectKey, informers: Mapping[Resource, Informer]
) -> str:
    """Who holds the name of a service in a cluster, or "" when the service does."""
    winner = winner_of(view.key.name, cluster, informers)
    if winner is None or (winner[0] is resource and winner[1].uid == view.uid):
        return ""
    # Another namespace's objects are not named to this one.
    where = "" if winner[1].key.namespace == view.key.namespace else " of another namespace"
    return (
        f"the older {winner[0].kind}{where} named {view.key.name} uses this name in the router; "
        "sources, transforms and sinks of a cluster must have different names"
    )


def shared(key: ObjectKey, resource: Resource, informers: Mapping[Resource, Informer]) -> bool:
    """Whether another kind has an object of this name: ids do not contain the kind."""
    others = (other for other in SERVICES if other != resource)
    return any(informers[other].get(key) is not None for other in others)


def endpoint_problem(obj: Object) -> str:
    """Why the endpoint cannot be registered, or ""; only a looser schema than ours lets that in."""
    try:
        split_endpoint(text(section(spec_of(obj), "grpc"), "endpoint"))
    except ValueError as error:
        return problems(obj) or str(error)
    return ""


def _lives_in(service: View, cluster: ObjectKey, informers: Mapping[Resource, Informer]) -> bool:
    home = home_of(service, informers[CLUSTER])
    return home is not None and home.key == cluster


def home_of(service: View, clusters: Informer) -> View | None:
    """The cluster a service is, or is to be, registered with."""
    namespace, former = service.key.namespace, registered_with(service)
    return choose_cluster(namespace, spec_in(service), clusters, former).cluster


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
            where = "has the same name as an older service of the cluster"
        found.append(f"{resource.kind} {name} {where}")
    return list(dict.fromkeys(found))


def readiness_or_reach_changed(delta: Delta) -> bool:
    """Predicate: what pipelines wait for in a service. A further member that knows it may be the leader."""
    old, new = delta.old, delta.new
    return predicates.ready_changed(delta) or (
        old is not None and new is not None and _registered_nodes(old) < _registered_nodes(new)
    )


def _registered_nodes(service: View) -> int:
    return number(status_in(service), "registeredNodes", 0, 2**53)


class Target(NamedTuple):
    """What is probed."""

    hosts: Sequence[str]
    """One address, or the absolute names that the endpoint may mean, in the order of trying."""
    port: int
    use_tls: bool


def probe_target(obj: Object, domain: str) -> Target | None:
    """What an object's endpoint means in its own namespace; ``None`` when it means nothing.

    :param domain: of the Kubernetes cluster.
    """
    if endpoint_problem(obj):
        return None
    grpc = section(spec_of(obj), "grpc")
    host, port = split_endpoint(text(grpc, "endpoint"))
    hosts = tuple(candidates(host, obj["metadata"]["namespace"], domain))
    return Target(hosts, port, section(grpc, "tls").get("enabled") is True)


def probe_settings(spec: Mapping[str, Any]) -> tuple[bool, float]:
    """Whether the endpoint is to be probed, and every how many seconds."""
    probe = section(spec, "healthCheck")
    return probe.get("enabled") is True, float(number(probe, "intervalSeconds", 10, 3600) or 10)
