"""The order of one EtlRouterCluster: observe, bring the children in line, take one step, report."""

from __future__ import annotations

from dataclasses import replace

from controllers.cluster.ensuring import ChildEnsurer
from controllers.cluster.memory import Memory
from controllers.cluster.observer import Observer
from controllers.cluster.reporting import Reporter
from controllers.cluster.steps import Steps
from controllers.wiring.context import Context
from etl_operator.api import CLUSTER, EtlRouterCluster
from informers.errors import Forbidden
from informers.objects import ObjectKey, Result

MANAGER = "etl-operator/cluster"


class ClusterReconciler:
    """Reconciles one EtlRouterCluster at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._observer = Observer(context)
        self._children = ChildEnsurer(context, MANAGER)
        self._steps = Steps(context, self._children, MANAGER)
        self._reporter = Reporter(context, MANAGER)
        self._memory: dict[ObjectKey, Memory] = {}

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring the children in line, take at most one step, write the status if it changed."""
        view = self._context.informers[CLUSTER].get(key)
        if view is None or view.deleting:
            # Children follow their owner through garbage collection; nothing remote is left to undo.
            self._forget(key)
            return Result.done()
        obj = view.object()
        cluster = EtlRouterCluster.model_validate(obj)
        memory = self._memory.setdefault(key, Memory(self._context.clock.monotonic()))
        seen = await self._observer.observe(key, cluster, memory)
        if seen.paused:
            seen = replace(seen, held_back=self._children.held_back(obj, cluster, seen))
        elif not seen.certificates.problem:
            try:
                seen = await self._steps.take(obj, cluster, seen, memory)
            except Forbidden as error:
                if error.namespace_ends:
                    # The cluster itself goes with its namespace, in a moment.
                    return Result.done()
                raise
        return await self._reporter.report(key, obj, cluster, seen, memory)

    def _forget(self, key: ObjectKey) -> None:
        self._memory.pop(key, None)
        self._children.forget(key)
        self._context.metrics.forget(CLUSTER.kind, key)
        self._context.metrics.forget_cluster(key)
