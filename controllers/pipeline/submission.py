"""A pipeline that its cluster's router is to hold: submitted, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

from controllers.applying.apply import ADOPT_ANNOTATION, NameConflict
from controllers.objects.specs import number, spec_of, status_of, text
from controllers.pipeline.counting import Look, Tallies, Tally
from controllers.pipeline.graph import build_config, letters_stage, stages
from controllers.pipeline.letters import DeadLetters
from controllers.pipeline.status import Outcome, accept, accepted_status
from controllers.pipeline.sync import Kept, Known, Synced, endpoints, synchronise
from controllers.references.services import unready_services
from controllers.retrying.pauses import Pauses
from controllers.retrying.verdicts import verdict
from controllers.status import reasons as r
from controllers.status.conditions import Conditions
from controllers.wiring.context import Context
from etl_operator.api import EtlPipeline
from etl_operator.router.client import RouterNode
from etl_operator.router.cluster import RouterCluster
from etl_operator.router.errors import Rejected, RouterAdminUnavailable, RouterError
from etl_operator.router.pb import router_pb2 as pb
from informers.objects import Object, ObjectKey
from informers.views.view import View


class Submission:
    """Submits pipelines to routers.

    :param pauses: between the tries of one pipeline; a success ends them.
    """

    def __init__(self, context: Context, pauses: Pauses) -> None:
        self._context = context
        self._pauses = pauses
        self._kept: dict[ObjectKey, Kept] = {}
        settings = context.settings
        self._drains = Pauses(settings.retry_base, settings.retry_limit)
        self._tallies = Tallies(context.clock)
        self._letters = DeadLetters(context.clock)

    def forget(self, key: ObjectKey) -> None:
        """The object is gone."""
        self._kept.pop(key, None)
        self._drains.clear(key)
        self._tallies.forget(key)
        self._letters.forget(key)

    async def submit(
        self,
        obj: Object,
        pipeline: EtlPipeline,
        cluster: View,
        where: Sequence[str],
        conditions: Conditions,
        *,
        left: bool = False,
    ) -> Outcome:
        """Create, update, enable or disable the pipeline in the router, as far as it differs.

        :param where: ``host:port`` of the cluster's running members.
        :param conditions: are set.
        :param left: the operator itself disabled or deleted the pipeline there: it was to move away.
        """
        key, config = ObjectKey.of(obj), build_config(pipeline)
        try:
            done = await self._synchronise(obj, cluster, pipeline, config, where, left)
        except NameConflict as conflict:
            conditions.set(r.ACCEPTED, False, r.NAME_CONFLICT, str(conflict))
            conditions.stalled(r.NAME_CONFLICT, str(conflict))
            return Outcome(again=self._context.settings.retry_limit)
        except RouterError as error:
            return self._failed(key, error, conditions)
        self._pauses.clear(key)
        if done.kept is None:
            self._kept.pop(key, None)
        else:
            self._kept[key] = done.kept
        tally = self._counted(obj, pipeline, str(cluster.key), done, conditions)
        unready = unready_services(key.namespace, spec_of(obj), self._context.informers)
        return Outcome(
            phase=accept(pipeline, done, unready, conditions),
            figures=accepted_status(pipeline, config, done, tally),
            again=self._next_look(key, done),
            done=done,
        )

    def _next_look(self, key: ObjectKey, done: Synced) -> float:
        if done.pending:
            return self._drains.next(key)
        self._drains.clear(key)
        return self._context.settings.drift_interval

    def _counted(
        self, obj: Object, pipeline: EtlPipeline, cluster: str, done: Synced, conditions: Conditions
    ) -> Tally:
        """Count what was seen, and judge the dead letters."""
        key, letters, dlq = ObjectKey.of(obj), letters_stage(pipeline), pipeline.spec.dlq
        tally = self._tallies.of(key, obj["metadata"]["uid"], cluster, status_of(obj))
        look = Look(
            done.counters,
            source=stages(pipeline)[0].id,
            letters=letters,
            kept=dlq is not None and dlq.enabled and not letters,
            created=done.created,
        )
        grown = self._tallies.look(tally, look)
        self._letters.judge(key, pipeline, letters, tally, grown, conditions)
        self._context.metrics.records(
            key,
            entered=grown.records,
            failed=grown.errors,
            dead_letters=grown.dead_letters,
            pending=tally.pending if done.enabled else done.pending,
        )
        return tally

    async def _synchronise(
        self,
        obj: Object,
        cluster: View,
        pipeline: EtlPipeline,
        config: pb.PipelineConfig,
        where: Sequence[str],
        left: bool,
    ) -> Synced:
        known = Known() if left else _known(obj, cluster, self._kept.get(ObjectKey.of(obj)))
        adopt = (obj["metadata"].get("annotations") or {}).get(ADOPT_ANNOTATION) == "true"

        async def work(node: RouterNode) -> Synced:
            done = await synchronise(node, config, str(cluster.key), known, adopt)
            done.endpoints = await endpoints(node, stages(pipeline))
            return done

        return await RouterCluster(self._context.clients, where).on_leader(work)

    def _failed(self, key: ObjectKey, error: RouterError, conditions: Conditions) -> Outcome:
        reason, message = verdict(error)
        pause = self._pauses.next(key)
        if isinstance(error, Rejected | RouterAdminUnavailable):
            # An answer, not an outage: the same request will get the same one for a while.
            pause = self._context.settings.retry_limit
        if isinstance(error, Rejected):
            conditions.set(r.ACCEPTED, False, reason, message)
            conditions.stalled(reason, message)
        else:
            conditions.working(reason, message)
        return Outcome(again=pause)


def _known(obj: Object, cluster: View, kept: Kept | None) -> Known:
    """What this cluster accepted before. Another cluster's word says nothing about this one."""
    status = status_of(obj)
    if text(status, "cluster") != str(cluster.key):
        return Known()
    enabled = status.get("enabled")
    pending = 0 if enabled else number(status, "pendingRecords", 0, 2**53)
    return Known(text(status, "specHash"), enabled, kept, pending)
