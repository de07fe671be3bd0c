"""Who refers to whom: choosing the cluster, finding services by name, and the indexes behind both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controllers import reasons as r
from controllers.specs import section, spec_in, status_in, text, texts
from etl_operator.api import CLUSTER, SINK, SOURCE, TRANSFORM
from informers.cache.informer import Informer
from informers.cache.view import View
from informers.conditions import get_condition
from informers.controller import Mapper, reference_mapper
from informers.objects import ObjectKey, Resource

BY_CLUSTER_REF = "clusterRef"
"""Index of everything with an explicit ``spec.clusterRef``, by ``namespace/name`` of the cluster."""
BY_SERVICE = "services"
"""Index of pipelines by each service they use: ``plural/namespace/name``."""
BY_NAME = "name"
"""Index of services by bare name, which is all a router knows them by, and the namespaces their cluster may
be in: ``namespace/name``. Tenants who use the same names must not cost each other anything."""
BY_CLUSTER = "cluster"
"""Index of pods by ``namespace/name`` of their cluster."""

SERVICES: tuple[Resource, ...] = (SOURCE, TRANSFORM, SINK)
DEFAULT_CLUSTER = "default"


@dataclass(frozen=True, slots=True)
class ClusterChoice:
    """The chosen cluster, or the reason and a sentence why there is none."""

    cluster: View | None = None
    reason: str = ""
    message: str = ""


def choose_cluster(
    namespace: str, spec: Mapping[str, Any], clusters: Informer, former: str = ""
) -> ClusterChoice:
    """Explicit reference, else the cluster it has, the only one of the namespace, or the one named
    ``default``.

    :param former: ``namespace/name`` of the cluster the object's status names.
    """
    wanted = explicit_cluster(namespace, spec)
    if wanted is not None:
        return _explicit(namespace, wanted, clusters)
    had = clusters.get(key_of(former)) if former else None
    if had is not None and not had.deleting and _admits(had, namespace):
        # Another cluster in the namespace must not end what works with this one.
        return ClusterChoice(had)
    found = clusters.list(namespace)
    # A cluster on its way out is no choice while another one stands.
    standing = [view for view in found if not view.deleting] or found
    if len(standing) == 1:
        return ClusterChoice(standing[0])
    for view in standing:
        if view.key.name == DEFAULT_CLUSTER:
            return ClusterChoice(view)
    if not standing:
        return ClusterChoice(
            reason=r.CLUSTER_NOT_FOUND, message=f"namespace {namespace} has no {CLUSTER.kind}"
        )
    names = ", ".join(sorted(view.key.name for view in standing))
    return ClusterChoice(
        reason=r.AMBIGUOUS_CLUSTER,
        message=f"namespace {namespace} has several clusters ({names}) and none is named {DEFAULT_CLUSTER}: "
        "set spec.clusterRef.name",
    )


def key_of(name: str) -> ObjectKey:
    """The key of ``namespace/name``."""
    namespace, _, bare = name.partition("/")
    return ObjectKey(namespace, bare)


def _admits(cluster: View, namespace: str) -> bool:
    allowed = texts(spec_in(cluster), "allowedNamespaces")
    return cluster.key.namespace == namespace or namespace in allowed or "*" in allowed


def explicit_cluster(namespace: str, spec: Mapping[str, Any]) -> ObjectKey | None:
    """The cluster ``spec.clusterRef`` names, if there is such a reference."""
    reference = section(spec, "clusterRef")
    name = text(reference, "name")
    return ObjectKey(text(reference, "namespace") or namespace, name) if name else None


def _explicit(namespace: str, wanted: ObjectKey, clusters: Informer) -> ClusterChoice:
    view = clusters.get(wanted)
    if wanted.namespace == namespace:
        if view is None:
            return ClusterChoice(
                reason=r.CLUSTER_NOT_FOUND, message=f"{CLUSTER.kind} {wanted} does not exist"
            )
        return ClusterChoice(view)
    if view is None or not _admits(view, namespace):
        # One answer for both cases: whether a cluster exists is not for other namespaces to find out.
        return ClusterChoice(
            reason=r.NOT_ALLOWED,
            message=f"no {CLUSTER.kind} {wanted} admits namespace {namespace} (spec.allowedNamespaces)",
        )
    return ClusterChoice(view)


def service_references(spec: Mapping[str, Any]) -> list[tuple[Resource, str]]:
    """Every service a pipeline uses, in the order of its stages; the DLQ sink, if any, comes last."""
    found: list[tuple[Resource, str]] = [(SOURCE, text(spec, "source"))]
    found += [(TRANSFORM, step) for step in texts(spec, "steps")]
    found.append((SINK, text(spec, "sink")))
    dlq = section(spec, "dlq")
    if dlq.get("enabled") is True:
        found.append((SINK, text(dlq, "sink")))
    return [(resource, name) for resource, name in found if name]


def service_value(resource: Resource, key: ObjectKey) -> str:
    """What :data:`BY_SERVICE` files a service under."""
    return f"{resource.plural}/{key}"


def missing_references(
    namespace: str, spec: Mapping[str, Any], informers: Mapping[Resource, Informer]
) -> list[str]:
    """``Kind name`` of every service that does not exist, each once."""
    missing = [
        f"{resource.kind} {name}"
        for resource, name in service_references(spec)
        if informers[resource].get(ObjectKey(namespace, name)) is None
    ]
    return list(dict.fromkeys(missing))


def unready_services(
    namespace: str, spec: Mapping[str, Any], informers: Mapping[Resource, Informer]
) -> list[str]:
    """``Kind name (reason)`` of every service of a pipeline that is not Ready, each once."""
    found: list[str] = []
    for resource, name in service_references(spec):
        view = informers[resource].get(ObjectKey(namespace, name))
        ready = None if view is None else get_condition(status_in(view).get("conditions") or (), "Ready")
        if ready is None:
            found.append(f"{resource.kind} {name} (not looked at yet)")
        elif ready["status"] != "True":
            found.append(f"{resource.kind} {name} ({ready['reason']})")
    return list(dict.fromkeys(found))


def users_of(resource: Resource, key: ObjectKey, pipelines: Informer) -> list[str]:
    """Names of the pipelines that use a service and are there to stay."""
    views = pipelines.by_index(BY_SERVICE, service_value(resource, key))
    return sorted(view.key.name for view in views if not view.deleting)


# -- index functions ---------------------------------------------------------------------------------


def index_cluster_ref(view: View) -> Iterable[str]:
    """For :data:`BY_CLUSTER_REF`."""
    wanted = explicit_cluster(view.key.namespace, spec_in(view))
    return (str(wanted),) if wanted else ()


def index_services(view: View) -> Iterable[str]:
    """For :data:`BY_SERVICE`."""
    return {
        service_value(resource, ObjectKey(view.key.namespace, name))
        for resource, name in service_references(spec_in(view))
    }


def index_name(view: View) -> Iterable[str]:
    """For :data:`BY_NAME`."""
    return {str(ObjectKey(namespace, view.key.name)) for namespace in _homes(view)}


def _homes(service: View) -> Iterable[str]:
    """Namespaces of the clusters a service may be registered with."""
    wanted = explicit_cluster(service.key.namespace, spec_in(service))
    if wanted is not None:
        return (wanted.namespace,)
    # While the choice is ambiguous a service stays where it was, and that may be another namespace.
    former, _, _ = registered_with(service).partition("/")
    return (service.key.namespace, former) if former else (service.key.namespace,)


def registered_with(service: View) -> str:
    """``namespace/name`` of the cluster a service's status names, or ""."""
    return text(status_in(service), "cluster")


def index_pod_cluster(view: View) -> Iterable[str]:
    """For :data:`BY_CLUSTER`."""
    name = view.labels.get("etl.router/cluster")
    return (str(ObjectKey(view.key.namespace, name)),) if name else ()


# -- mappers: from an object that changed to the keys that depend on it --------------------------------


def dependents_of_cluster(informer: Informer) -> Mapper:
    """Everything that chose, or might now choose, the cluster that changed."""

    def mapper(view: View) -> list[ObjectKey]:
        return dependents(informer, view.key)

    return mapper


def dependents(informer: Informer, cluster: ObjectKey) -> list[ObjectKey]:
    """Objects in the cluster's namespace, and those elsewhere that name it."""
    views = [*informer.list(cluster.namespace), *informer.by_index(BY_CLUSTER_REF, str(cluster))]
    return list(dict.fromkeys(view.key for view in views))


def pipelines_using(resource: Resource, pipelines: Informer) -> Mapper:
    """Pipelines that refer to the service that changed."""
    return reference_mapper(pipelines, BY_SERVICE, lambda view: [service_value(resource, view.key)])


def services_used(resource: Resource) -> Mapper:
    """Services of one kind that the pipeline that changed refers to."""

    def mapper(view: View) -> list[ObjectKey]:
        namespace, references = view.key.namespace, service_references(spec_in(view))
        return [ObjectKey(namespace, name) for kind, name in references if kind is resource]

    return mapper


def dependents_of_pod(informer: Informer) -> Mapper:
    """Services registered with the cluster of the pod that changed."""

    def mapper(view: View) -> list[ObjectKey]:
        name = view.labels.get("etl.router/cluster")
        return dependents(informer, ObjectKey(view.key.namespace, name)) if name else []

    return mapper


def namesakes(informer: Informer) -> Mapper:
    """Services of one kind that bear the name of the service that changed, as far as they may meet it."""
    return reference_mapper(informer, BY_NAME, index_name)


PIPELINE_INDEXES = {BY_CLUSTER_REF: index_cluster_ref, BY_SERVICE: index_services}
SERVICE_INDEXES = {BY_CLUSTER_REF: index_cluster_ref, BY_NAME: index_name}
POD_INDEXES = {BY_CLUSTER: index_pod_cluster}
