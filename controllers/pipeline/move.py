"""A pipeline that changes its cluster: out of the old one first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controllers.members.reach import frozen, running_addresses
from controllers.objects.kinds import POD
from controllers.objects.specs import status_of, text
from controllers.pipeline.departure import Departures, drain_seconds
from controllers.pipeline.graph import pipeline_id
from controllers.references.clusters import key_of
from controllers.retrying.verdicts import verdict
from controllers.status import reasons as r
from controllers.wiring.context import Context
from etl_operator.api import CLUSTER
from etl_operator.router.errors import RouterError
from informers.objects import Object, ObjectKey
from informers.views.view import View


@dataclass(frozen=True, slots=True)
class Held:
    """The old cluster still has the pipeline."""

    reason: str
    message: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the status that are known again."""


async def leave_former_cluster(
    context: Context, departures: Departures, key: ObjectKey, obj: Object, cluster: View
) -> Held | None:
    """Take the pipeline out of the cluster it ran in, if that is not ``cluster``.

    Two clusters that run it at once would work on every record twice, so the new one waits.

    :return: ``None`` when no other cluster holds it.
    """
    name = text(status_of(obj), "cluster")
    if name in ("", str(cluster.key)):
        departures.stays(cluster.key, pipeline_id(key))
        return None
    old = context.informers[CLUSTER].get(key_of(name))
    if old is None or old.deleting:
        return None
    where = running_addresses(context.informers[POD], old, context.settings.cluster_domain)
    message = f"moving to cluster {cluster.key}: cluster {name}"
    if problem := frozen(old) or ("" if where else "it has no running member"):
        return Held(r.DEPENDENCY_NOT_READY, f"{message} still has the pipeline: {problem}")
    try:
        pending = await departures.remove(old.key, where, pipeline_id(key), drain_seconds(obj))
    except RouterError as error:
        reason, why = verdict(error)
        return Held(reason, f"{message} still has the pipeline: {why}")
    if pending:
        # Disabled by this operator: so it is no drift if the pipeline is to stay after all.
        figures = {"enabled": False, "pendingRecords": pending}
        return Held(r.PROGRESSING, f"{message} drains {pending} records", figures)
    departures.drained(old.key, pipeline_id(key))
    note = f"deleted from cluster {name}, to move it to {cluster.key}"
    context.events.event(obj, type="Normal", reason=r.DELETED, action="Move", note=note)
    return None
