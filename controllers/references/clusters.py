"""Which cluster an object belongs to, and which objects may belong to a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controllers.objects.labels import labelled_cluster
from controllers.objects.specs import section, spec_in, text, texts
from controllers.status import reasons as r
from etl_operator.api import CLUSTER
from informers.cache.informer import Informer
from informers.controller import Mapper
from informers.objects import ObjectKey
from informers.views.view import View

BY_CLUSTER_REF = "clusterRef"
"""Index of everything with an explicit ``spec.clusterRef``, by ``namespace/name`` of the cluster."""

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
            message=f"no {CLUSTER.kind} {wanted} allows namespace {namespace} (spec.allowedNamespaces)",
        )
    return ClusterChoice(view)


def _admits(cluster: View, namespace: str) -> bool:
    allowed = texts(spec_in(cluster), "allowedNamespaces")
    return cluster.key.namespace == namespace or namespace in allowed or "*" in allowed


def index_cluster_ref(view: View) -> Iterable[str]:
    """For :data:`BY_CLUSTER_REF`."""
    wanted = explicit_cluster(view.key.namespace, spec_in(view))
    return (str(wanted),) if wanted else ()


def dependents_of_cluster(informer: Informer) -> Mapper:
    """Everything that chose, or might now choose, the cluster that changed."""

    def mapper(view: View) -> list[ObjectKey]:
        return dependents(informer, view.key)

    return mapper


def dependents_of_pod(informer: Informer) -> Mapper:
    """Services registered with the cluster of the pod that changed."""

    def mapper(view: View) -> list[ObjectKey]:
        cluster = labelled_cluster(view)
        return dependents(informer, cluster) if cluster else []

    return mapper


def dependents(informer: Informer, cluster: ObjectKey) -> list[ObjectKey]:
    """Objects in the cluster's namespace, and those elsewhere that name it."""
    views = [*informer.list(cluster.namespace), *informer.by_index(BY_CLUSTER_REF, str(cluster))]
    return list(dict.fromkeys(view.key for view in views))
