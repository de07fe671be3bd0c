"""Whether all that a pipeline refers to is there. Nothing here asks a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from controllers.objects.specs import problems, spec_of, status_of, text
from controllers.references.clusters import choose_cluster, key_of
from controllers.references.services import missing_references
from controllers.service.registration import astray
from controllers.status import reasons as r
from controllers.status.conditions import Conditions
from etl_operator.api import CLUSTER, EtlPipeline
from informers.cache.informer import Informer
from informers.objects import Object, ObjectKey, Resource
from informers.views.view import View

_Informers = Mapping[Resource, Informer]


def resolve(key: ObjectKey, obj: Object, informers: _Informers, conditions: Conditions) -> View | None:
    """The cluster to run in; ``None``, and the conditions say why, when this or another reference fails."""
    former = text(status_of(obj), "cluster")
    choice = choose_cluster(key.namespace, spec_of(obj), informers[CLUSTER], former)
    problem = _problem(key, obj, choice.cluster, informers)
    if problem is not None:
        conditions.set(r.REFERENCES_RESOLVED, False, *problem)
    elif choice.cluster is None:
        # Whether the services belong to its cluster is open.
        conditions.set(r.REFERENCES_RESOLVED, None, choice.reason, choice.message)
    else:
        conditions.set(r.REFERENCES_RESOLVED, True, r.REFERENCES_RESOLVED, "all references exist")
    if choice.cluster is None:
        conditions.working(choice.reason, choice.message)
        return None
    if problem is not None:
        conditions.working(*problem)
        return None
    return choice.cluster


def _problem(
    key: ObjectKey, obj: Object, cluster: View | None, informers: _Informers
) -> tuple[str, str] | None:
    """Reason and message when a service is missing, or not known to the cluster."""
    spec = spec_of(obj)
    if missing := missing_references(key.namespace, spec, informers):
        return r.REFERENCE_NOT_FOUND, f"not found in namespace {key.namespace}: {', '.join(missing)}"
    if cluster is not None and (strangers := astray(key.namespace, spec, cluster.key, informers)):
        return r.DEPENDENCY_NOT_READY, f"cluster {cluster.key}: {'; '.join(strangers)}"
    return None


def after_its_cluster(obj: Object, clusters: Informer, conditions: Conditions) -> dict[str, Any]:
    """Figures of a pipeline whose cluster is gone while it waits for another; empty for any other one."""
    name = text(status_of(obj), "cluster")
    if not name or clusters.get(key_of(name)) is not None:
        return {}
    message = f"cluster {name}, which ran the pipeline, does not exist"
    conditions.set(r.ACCEPTED, False, r.CLUSTER_NOT_FOUND, message)
    conditions.set(r.RUNNING, False, r.CLUSTER_NOT_FOUND, message)
    return {"enabled": False, "specHash": None, "version": None}


def validated(obj: Object, conditions: Conditions) -> EtlPipeline | None:
    """The pipeline as a model; ``None``, and the conditions say why, when its spec is not valid."""
    try:
        # Its status is the operator's own word, and not read from the model.
        return EtlPipeline.model_validate({**obj, "status": None})
    except ValidationError:
        conditions.stalled(r.VALIDATION_FAILED, problems(obj))
        return None
