"""Pipelines in a router that have no EtlPipeline any more: found by asking the router, and removed.

They come from volumes that outlived their objects, from objects whose finalizer was taken off by hand or let
go while the router did not answer. Nobody could see them in Kubernetes, and they would run on.
"""

from __future__ import annotations

import re

from controllers.members.reach import frozen, running_addresses
from controllers.objects.kinds import POD
from controllers.objects.specs import spec_of, status_in, status_of, text
from controllers.pipeline.departure import Departures
from controllers.pipeline.graph import DELETION_POLICY, OWNER_UID
from controllers.pipeline.sync import foreign
from controllers.references.clusters import choose_cluster, key_of
from controllers.retrying.pauses import Pauses
from controllers.status import reasons as r
from controllers.wiring.context import Context
from etl_operator.api import CLUSTER, PIPELINE
from etl_operator.router.cluster import RouterCluster
from etl_operator.router.errors import RouterError
from etl_operator.router.pb import router_pb2 as pb
from informers.objects import Object, ObjectKey, Result
from informers.views.view import View

DRAIN = 30.0
"""Seconds the records inside have to leave: the default of ``drainTimeoutSeconds``."""

# What Kubernetes has as names; anything else would be an expression in a field selector.
_ID = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


class LeftoversReconciler:
    """Searches one EtlRouterCluster at a time, when it can be asked and every few minutes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        settings = context.settings
        self._pauses = Pauses(settings.retry_base, settings.retry_limit)
        self._departures = Departures(context.clients, context.clock)

    async def reconcile(self, key: ObjectKey) -> Result:
        """Remove what is ours and without an object; count what is left alone."""
        cluster = self._context.informers[CLUSTER].get(key)
        if cluster is None or cluster.deleting:
            self._pauses.clear(key)
            self._context.metrics.forget_pipelines(key)
            return Result.done()
        settings = self._context.settings
        where = running_addresses(self._context.informers[POD], cluster, settings.cluster_domain)
        if frozen(cluster) or not where:
            # The cluster's own events bring this key back.
            return Result.done()
        try:
            left = await self._search(cluster, where)
        except RouterError:
            # The cluster's status reports a router that does not answer.
            return Result.after(self._pauses.next(key))
        if left:
            return Result.after(self._pauses.next(key))
        self._pauses.clear(key)
        return Result.after(settings.sweep_interval)

    async def _search(self, cluster: View, where: list[str]) -> int:
        """Returns how many records still have to leave.

        :raises RouterError: when the router does not answer.
        """
        found = await RouterCluster(self._context.clients, where).on_leader(
            lambda node: node.list_pipelines(include_disabled=True)
        )
        left = unmanaged = 0
        for config in found:
            # Whoever takes it over from now on marks it as its own.
            owner = config.metadata.get(OWNER_UID, "")
            if not self._is_ours(config):
                unmanaged += 1
            elif why := await self._leftover(key_of(config.id), cluster.key):
                pending = await self._departures.remove(cluster.key, where, config.id, DRAIN, owner=owner)
                left += pending or 0
                if not pending:
                    self._departures.stays(cluster.key, config.id)
                if pending == 0:
                    self._told(cluster, config.id, why)
            else:
                self._departures.stays(cluster.key, config.id)
        self._context.metrics.unmanaged(cluster.key, unmanaged)
        return left

    def _is_ours(self, config: pb.PipelineConfig) -> bool:
        """Whether this operator answers for the pipeline: it made it, watches its namespace, and was not told
        to leave it there."""
        namespaces = self._context.settings.namespaces
        return (
            not foreign(config)
            and config.metadata.get(DELETION_POLICY) != "Orphan"
            and _ID.fullmatch(config.id) is not None
            and (not namespaces or key_of(config.id).namespace in namespaces)
        )

    async def _leftover(self, pipeline: ObjectKey, cluster: ObjectKey) -> str:
        """Why the pipeline has no business in this cluster, or ""."""
        view = self._context.informers[PIPELINE].get(pipeline)
        if view is not None and text(status_in(view), "cluster") in ("", str(cluster)):
            # As nearly always: nothing else of it has to be decoded.
            return ""
        if view is not None and not self._elsewhere(view.object(), cluster):
            return ""
        # A cache may be behind; what is removed is gone. So the server has the last word.
        page = await self._context.client.list(
            PIPELINE, namespace=pipeline.namespace, field_selector=f"metadata.name={pipeline.name}"
        )
        if not page.items:
            return f"there is no {PIPELINE.kind} of this name"
        return self._elsewhere(page.items[0], cluster)

    def _elsewhere(self, obj: Object, cluster: ObjectKey) -> str:
        """Where the object belongs, when that is another cluster for certain; else ""."""
        former = text(status_of(obj), "cluster")
        if former in ("", str(cluster)):
            # Not accepted anywhere yet, or still here: its own controller sees to it.
            return ""
        clusters = self._context.informers[CLUSTER]
        chosen = choose_cluster(obj["metadata"]["namespace"], spec_of(obj), clusters, former).cluster
        return (
            "" if chosen is None or chosen.key == cluster else f"its {PIPELINE.kind} belongs to {chosen.key}"
        )

    def _told(self, cluster: View, pipeline: str, why: str) -> None:
        self._context.events.event(
            cluster.object(),
            type="Normal",
            reason=r.PIPELINE_REMOVED,
            action="Sweep",
            note=f"removed pipeline {pipeline} from the router: {why}",
        )
