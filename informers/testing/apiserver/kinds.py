"""The built-in resources, one line each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from informers.objects import Resource
from informers.testing.apiserver.bundle import builtin_schemas
from informers.testing.apiserver.registry import VERBS, ResourceType, ScalePaths
from informers.testing.apiserver.schema import Schema, compile_schema
from informers.testing.apiserver.store import StorageKey

EVENTS = ("", "events")
"""The storage both Event resources share."""

NAMESPACE = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
POD = Resource("", "v1", "pods", "Pod")
DISRUPTION_BUDGET = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
DEFINITION = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)

_SUBRESOURCES: dict[StorageKey, frozenset[str]] = {
    ("", "namespaces"): frozenset({"finalize"}),
    ("", "nodes"): frozenset({"proxy"}),
    ("", "pods"): frozenset(
        {
            "attach",
            "binding",
            "ephemeralcontainers",
            "eviction",
            "exec",
            "log",
            "portforward",
            "proxy",
            "resize",
        }
    ),
    ("", "serviceaccounts"): frozenset({"token"}),
    ("", "services"): frozenset({"proxy"}),
}


class _Line(NamedTuple):
    """``flags``: cluster-scoped, status, scale, generation, ``all`` category, PUT creates, PUT needs a
    version, DELETE returns the object, DELETE of one at a time only."""

    group: str
    version: str
    plural: str
    kind: str
    short_names: str
    flags: str


_TABLE = """
|v1|configmaps|ConfigMap|cm|
|v1|endpoints|Endpoints|ep|creates
|v1|events|Event|ev|creates
|v1|limitranges|LimitRange|limits|creates
|v1|namespaces|Namespace|ns|cluster status single
|v1|nodes|Node|no|cluster status
|v1|persistentvolumeclaims|PersistentVolumeClaim|pvc|status returns
|v1|persistentvolumes|PersistentVolume|pv|cluster status returns
|v1|pods|Pod|po|status generation all returns
|v1|podtemplates|PodTemplate||generation returns
|v1|replicationcontrollers|ReplicationController|rc|status scale generation all returns
|v1|resourcequotas|ResourceQuota|quota|status returns
|v1|secrets|Secret||
|v1|serviceaccounts|ServiceAccount|sa|returns
|v1|services|Service|svc|status all creates returns
apiextensions.k8s.io|v1|customresourcedefinitions|CustomResourceDefinition|crd,crds|cluster status \
generation conditional
apps|v1|controllerrevisions|ControllerRevision||
apps|v1|daemonsets|DaemonSet|ds|status generation all
apps|v1|deployments|Deployment|deploy|status scale generation all
apps|v1|replicasets|ReplicaSet|rs|status scale generation all
apps|v1|statefulsets|StatefulSet|sts|status scale generation all
autoscaling|v2|horizontalpodautoscalers|HorizontalPodAutoscaler|hpa|status generation all
batch|v1|cronjobs|CronJob|cj|status generation all
batch|v1|jobs|Job||status generation all
coordination.k8s.io|v1|leases|Lease||creates conditional
discovery.k8s.io|v1|endpointslices|EndpointSlice||generation
events.k8s.io|v1|events|Event|ev|creates
networking.k8s.io|v1|ingressclasses|IngressClass||cluster generation
networking.k8s.io|v1|ingresses|Ingress|ing|status generation
networking.k8s.io|v1|networkpolicies|NetworkPolicy|netpol|generation
policy|v1|poddisruptionbudgets|PodDisruptionBudget|pdb|status generation conditional
rbac.authorization.k8s.io|v1|clusterrolebindings|ClusterRoleBinding||cluster creates
rbac.authorization.k8s.io|v1|clusterroles|ClusterRole||cluster creates
rbac.authorization.k8s.io|v1|rolebindings|RoleBinding||creates
rbac.authorization.k8s.io|v1|roles|Role||creates
scheduling.k8s.io|v1|priorityclasses|PriorityClass|pc|cluster generation
storage.k8s.io|v1|storageclasses|StorageClass|sc|cluster returns
"""


_SCHEMAS: dict[tuple[str, str, str], Schema] = {}


def builtin_types() -> Iterator[ResourceType]:
    """Every built-in resource; schemas are compiled once per process."""
    for row in _TABLE.strip().splitlines():
        yield _type(_Line(*row.split("|")))


def _type(line: _Line) -> ResourceType:
    flags = frozenset(line.flags.split())
    gvk = line.group, line.version, line.kind
    if gvk not in _SCHEMAS:
        _SCHEMAS[gvk] = compile_schema(builtin_schemas()[gvk])
    resource = Resource(line.group, line.version, line.plural, line.kind, "cluster" not in flags)
    storage: StorageKey = (line.group, line.plural)
    storage_version = None
    if storage == ("events.k8s.io", "events"):
        storage, storage_version = EVENTS, Resource("", "v1", "events", "Event")
    return ResourceType(
        resource,
        line.kind.lower(),
        short_names=tuple(name for name in line.short_names.split(",") if name),
        categories=_categories(line, flags),
        verbs=tuple(verb for verb in VERBS if verb != "deletecollection" or "single" not in flags),
        has_status="status" in flags,
        scale=ScalePaths() if "scale" in flags else None,
        schema=_SCHEMAS[gvk],
        storage=storage,
        storage_version=storage_version,
        generation="generation" in flags,
        create_on_update="creates" in flags,
        unconditional="conditional" not in flags,
        returns_deleted="returns" in flags,
        subresources=_SUBRESOURCES.get(storage, frozenset()),
    )


def _categories(line: _Line, flags: frozenset[str]) -> tuple[str, ...]:
    if line.plural == "customresourcedefinitions":
        return ("api-extensions",)
    return ("all",) if "all" in flags else ()
