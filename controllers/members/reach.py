"""The pods of a cluster as others see them: where it can be reached, and whether it may be written to."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

from controllers.members import naming
from controllers.members.facts import PodFacts, pod_facts
from controllers.objects.labels import CLUSTER_LABEL, labelled_cluster
from controllers.objects.specs import number, spec_in, status_in
from controllers.status import reasons as r
from informers.cache.informer import Delta, Informer
from informers.controller import predicates
from informers.objects import ObjectKey
from informers.views.typed import read_status
from informers.views.view import View

BY_CLUSTER = "cluster"
"""Index of pods by ``namespace/name`` of their cluster."""


def ready_addresses(pods: Informer, cluster: View, domain: str) -> list[str]:
    """``host:port`` of every ready pod, in order of ordinal."""
    return [_address(cluster, pod, domain) for pod in _pods(pods, cluster) if pod.ready]


def without_secrets(pods: Informer, cluster: View, domain: str, secrets: Collection[str]) -> dict[str, str]:
    """The first of these Secrets that a ready pod does not mount, by the pod's ``host:port``."""
    found: dict[str, str] = {}
    for pod in _pods(pods, cluster):
        lacking = next((one for one in secrets if one and one not in pod.service_secrets), "")
        if pod.ready and lacking:
            found[_address(cluster, pod, domain)] = lacking
    return found


def calls_with_tls(pods: Informer, address: str) -> bool:
    """Whether the pod behind ``host:port`` is called with TLS."""
    name, _, rest = address.partition(".")
    parts = rest.split(".")
    view = pods.get(ObjectKey(parts[1], name)) if len(parts) > 1 else None
    pod = facts_of(view, view.labels.get(CLUSTER_LABEL) or "") if view is not None else None
    return pod is not None and pod.tls != naming.PLAIN


def running_addresses(pods: Informer, cluster: View, domain: str) -> list[str]:
    """``host:port`` of every pod that runs, ready or not, in order of ordinal."""
    found = [pod for pod in _pods(pods, cluster) if pod.running and not pod.terminating]
    return [_address(cluster, pod, domain) for pod in found]


def wanted_members(cluster: View) -> int:
    """``spec.replicas``."""
    return number(spec_in(cluster), "replicas", 3, 1_000)


@lru_cache(maxsize=256)
def frozen(cluster: View) -> str:
    """Why nothing may be written to the cluster now, or ""."""
    # Thousands of pipelines ask, and a view never changes.
    for condition in (read_status(cluster, dict[str, Any]) or {}).get("conditions") or ():
        if condition["type"] == r.QUORUM_HEALTHY and condition["reason"] == r.SPLIT_BRAIN:
            return str(condition["message"])
    return ""


def readiness_or_freeze_changed(delta: Delta) -> bool:
    """Predicate: what pipelines wait for in a cluster. One that is not Ready anyway may split as well."""
    old, new = delta.old, delta.new
    return predicates.ready_changed(delta) or (
        old is not None and new is not None and bool(frozen(old)) != bool(frozen(new))
    )


def leader_or_readiness_changed(delta: Delta) -> bool:
    """Predicate: whom a cluster's pipelines are asked of, and whether it can be asked."""
    old, new = delta.old, delta.new
    return readiness_or_freeze_changed(delta) or (
        old is not None
        and new is not None
        and status_in(old).get("leaderId") != status_in(new).get("leaderId")
    )


def reach_changed(delta: Delta) -> bool:
    """Predicate: what registrations wait for in a pod: whether and where its router is reached."""
    old, new = delta.old, delta.new
    if old is None or new is None or old.uid != new.uid:
        return True
    return old.resource_version != new.resource_version and _reach(old) != _reach(new)


def _reach(view: View) -> tuple[Any, ...]:
    pod = facts_of(view, view.labels.get(CLUSTER_LABEL) or "")
    address = (read_status(view, dict[str, Any]) or {}).get("podIP")
    seen = pod and (pod.ready, pod.running, pod.terminating, pod.grpc_port, pod.service_secrets)
    return seen, address


def _pods(pods: Informer, cluster: View) -> list[PodFacts]:
    found = (facts_of(view, cluster.key.name) for view in pods.by_index(BY_CLUSTER, str(cluster.key)))
    return sorted((pod for pod in found if pod), key=lambda pod: pod.ordinal)


@lru_cache(maxsize=1024)
def facts_of(view: View, cluster: str) -> PodFacts | None:
    """:func:`pod_facts`, once per version of a pod: thousands of pipelines ask for the same few."""
    return pod_facts(view.object(), cluster)


def _address(cluster: View, pod: PodFacts, domain: str) -> str:
    return naming.address(cluster.key, pod.ordinal, domain, pod.grpc_port)


def index_pod_cluster(view: View) -> Iterable[str]:
    """For :data:`BY_CLUSTER`."""
    cluster = labelled_cluster(view)
    return (str(cluster),) if cluster else ()


POD_INDEXES = {BY_CLUSTER: index_pod_cluster}
