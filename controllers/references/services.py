"""Which pipelines use which services, which services share a name, and the indexes behind both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from controllers.objects.specs import section, spec_in, status_in, text, texts
from controllers.references.clusters import BY_CLUSTER_REF, explicit_cluster, index_cluster_ref
from etl_operator.api import SINK, SOURCE, TRANSFORM
from informers.cache.informer import Informer
from informers.conditions import get_condition
from informers.controller import Mapper, reference_mapper
from informers.objects import ObjectKey, Resource
from informers.views.view import View

BY_SERVICE = "services"
"""Index of pipelines by each service they use: ``plural/namespace/name``."""
BY_NAME = "name"
"""Index of services by bare name, which is all a router knows them by, and the namespaces their cluster may
be in: ``namespace/name``. Tenants who use the same names must not cost each other anything."""

BY_SECRETS = "secrets"
"""Index of services that name Secrets for calls to them, by namespace."""

SERVICES: tuple[Resource, ...] = (SOURCE, TRANSFORM, SINK)


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
            found.append(f"{resource.kind} {name} (no status yet)")
        elif ready["status"] != "True":
            found.append(f"{resource.kind} {name} ({ready['reason']})")
    return list(dict.fromkeys(found))


def users_of(resource: Resource, key: ObjectKey, pipelines: Informer) -> list[str]:
    """Names of the pipelines that use a service and are there to stay."""
    views = pipelines.by_index(BY_SERVICE, service_value(resource, key))
    return sorted(view.key.name for view in views if not view.deleting)


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


def pipelines_using(resource: Resource, pipelines: Informer) -> Mapper:
    """Pipelines that refer to the service that changed."""
    return reference_mapper(pipelines, BY_SERVICE, lambda view: [service_value(resource, view.key)])


def services_used(resource: Resource) -> Mapper:
    """Services of one kind that the pipeline that changed refers to."""

    def mapper(view: View) -> list[ObjectKey]:
        namespace, references = view.key.namespace, service_references(spec_in(view))
        return [ObjectKey(namespace, name) for kind, name in references if kind is resource]

    return mapper


def namesakes(informer: Informer) -> Mapper:
    """Services of one kind that bear the name of the service that changed, as far as they may meet it."""
    return reference_mapper(informer, BY_NAME, index_name)


def service_secrets(spec: Mapping[str, Any]) -> tuple[str, str]:
    """Names of the Secrets with the authority and with the client certificate for calls; "" for none."""
    tls = section(section(spec, "grpc"), "tls")
    if tls.get("enabled") is not True:
        return "", ""
    return text(tls, "caSecretName"), text(tls, "clientSecretName")


def index_secrets(view: View) -> Iterable[str]:
    """For :data:`BY_SECRETS`."""
    return (view.key.namespace,) if any(service_secrets(spec_in(view))) else ()


PIPELINE_INDEXES = {BY_CLUSTER_REF: index_cluster_ref, BY_SERVICE: index_services}
SERVICE_INDEXES = {
    BY_CLUSTER_REF: index_cluster_ref,
    BY_NAME: index_name,
    BY_SECRETS: index_secrets,
}
