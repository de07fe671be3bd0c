"""The story of one EtlPipeline: its references, its former cluster, its router, its status; and its end."""

from __future__ import annotations

from typing import Any

from controllers.finalizing.finalizer import Finalizer
from controllers.members.reach import frozen, running_addresses
from controllers.objects.kinds import POD
from controllers.objects.specs import status_of
from controllers.pipeline.announcement import ALARMS, announcements
from controllers.pipeline.counting import moved, with_counters_of
from controllers.pipeline.deletion import PipelineDeletion
from controllers.pipeline.departure import Departures
from controllers.pipeline.graph import pipeline_id
from controllers.pipeline.letters import DLQ_ALARMS
from controllers.pipeline.move import leave_former_cluster
from controllers.pipeline.references import after_its_cluster, resolve, validated
from controllers.pipeline.status import Outcome, conclude, phase_before
from controllers.pipeline.submission import Submission
from controllers.pipeline.sync import Synced
from controllers.retrying.pauses import Pauses, sooner
from controllers.retrying.troubles import Alarms
from controllers.status import reasons as r
from controllers.status.conditions import Conditions
from controllers.status.turns import Turns
from controllers.status.writing import differs, write_status
from controllers.wiring.context import Context
from etl_operator.api import CLUSTER, PIPELINE
from informers.clock import timestamp
from informers.objects import Object, ObjectKey, Result
from informers.views.view import View

MANAGER = "etl-operator/pipeline"
FINALIZER = "etl.router/pipeline"


class PipelineReconciler:
    """Reconciles one EtlPipeline at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        settings = context.settings
        self._pauses = Pauses(settings.retry_base, settings.retry_limit)
        self._alarms = Alarms(context.events, context.clock, settings.warn_after, ALARMS)
        self._letters = Alarms(context.events, context.clock, settings.warn_after, DLQ_ALARMS)
        self._turns = Turns(context.clock, settings.counter_interval, settings.counter_spacing)
        self._finalizer = Finalizer(context, PIPELINE, FINALIZER, MANAGER)
        self._departures = Departures(context.clients, context.clock)
        self._submission = Submission(context, self._pauses)
        self._deletion = PipelineDeletion(context, self._departures)

    async def reconcile(self, key: ObjectKey) -> Result:
        """Submit, update, switch, move or delete as needed; a converged pipeline costs one read per check."""
        informers, settings = self._context.informers, self._context.settings
        view = informers[PIPELINE].get(key)
        if view is None:
            self._forget(key)
            return Result.done()
        obj = view.object()
        conditions = Conditions(obj, view.generation, timestamp(self._context.clock.time()))
        if view.deleting:
            return await self._delete(key, view, obj, conditions)
        cluster = resolve(key, obj, informers, conditions)
        if cluster is None:
            figures = after_its_cluster(obj, informers[CLUSTER], conditions)
            return await self._report(key, obj, conditions, Outcome("Pending" if figures else "", figures))
        pipeline = validated(obj, conditions)
        if pipeline is None:
            return await self._report(key, obj, conditions, Outcome())
        where = self._members(cluster, conditions)
        if not where:
            # The cluster's own events bring this key back; the pause is only a safety net.
            return await self._report(key, obj, conditions, Outcome(again=settings.retry_limit))
        held = await leave_former_cluster(self._context, self._departures, key, obj, cluster)
        if held is not None:
            conditions.working(held.reason, held.message)
            outcome = Outcome(figures=held.figures, again=self._pauses.next(key))
            return await self._report(key, obj, conditions, outcome)
        # Before the first remote state, never without it.
        obj = await self._finalizer.hold(obj)
        left = self._departures.took(cluster.key, pipeline_id(key))
        outcome = await self._submission.submit(obj, pipeline, cluster, where, conditions, left=left)
        if outcome.done is not None:
            self._departures.came_back(cluster.key, pipeline_id(key))
        return await self._report(key, obj, conditions, outcome)

    def _members(self, cluster: View, conditions: Conditions) -> list[str]:
        """Where the cluster may be written to; empty, and the conditions say why, when it may not."""
        domain = self._context.settings.cluster_domain
        where = running_addresses(self._context.informers[POD], cluster, domain)
        if stopped := frozen(cluster):
            conditions.working(r.SPLIT_BRAIN, stopped)
            return []
        if not where:
            conditions.working(r.DEPENDENCY_NOT_READY, f"cluster {cluster.key} has no running member yet")
        return where

    async def _report(self, key: ObjectKey, obj: Object, conditions: Conditions, outcome: Outcome) -> Result:
        """Write the status, and report the result as events and metrics."""
        context = self._context
        status, turn = self._concluded(key, obj, conditions, outcome)
        informer = context.informers[PIPELINE]
        await write_status(context.client, PIPELINE, informer, obj, status, MANAGER, context.statuses)
        self._alarms.look(key, obj, conditions)
        self._letters.look(key, obj, conditions)
        context.metrics.ready(PIPELINE.kind, key, conditions.is_true(r.READY))
        if outcome.done is not None:
            self._announce(key, obj, outcome.done)
        again = sooner(sooner(outcome.again, turn), self._alarms.left(key, conditions))
        return Result.done() if again is None else Result.after(again)

    def _concluded(
        self, key: ObjectKey, obj: Object, conditions: Conditions, outcome: Outcome
    ) -> tuple[dict[str, Any], float | None]:
        """The status to write, and the seconds after which its counters may be written, if they wait.

        Counters alone are written when it is the object's turn. With anything else they go along.
        """
        phase, stored = outcome.phase or phase_before(obj), status_of(obj)
        status = conclude(obj, with_counters_of(outcome.figures, stored), conditions, phase)
        has_moved = moved(outcome.figures, stored)
        if differs(PIPELINE, obj, status, self._context.statuses):
            if has_moved:
                self._turns.wrote(key)
        elif not has_moved:
            return status, None
        elif turn := self._turns.take(key):
            return status, turn
        return conclude(obj, outcome.figures, conditions, phase), None

    def _announce(self, key: ObjectKey, obj: Object, done: Synced) -> None:
        if done.drifted:
            self._context.metrics.drift(PIPELINE.kind, key)
        for reason, action, note in announcements(done):
            self._context.events.event(obj, type="Normal", reason=reason, action=action, note=note)

    async def _delete(self, key: ObjectKey, view: View, obj: Object, conditions: Conditions) -> Result:
        """Out of the router, as far as its policy asks for that; then the object may go."""
        if not self._finalizer.on(view):
            return Result.done()
        self._finalizer.leaving(key, obj)
        attempt = await self._deletion.attempt(key, obj)
        if attempt.release is None:
            conditions.working(r.DELETING, attempt.waits)
            # It is disabled by now, so the number is no counter that is held back.
            figures = {} if attempt.pending is None else {"enabled": False, "pendingRecords": attempt.pending}
            outcome = Outcome("Deleting", figures, again=self._pauses.next(key))
            return await self._report(key, obj, conditions, outcome)
        await self._finalizer.release(key, obj, attempt.release)
        self._forget(key)
        return Result.done()

    def _forget(self, key: ObjectKey) -> None:
        self._pauses.clear(key)
        self._alarms.over(key)
        self._finalizer.forget(key)
        self._submission.forget(key)
        self._deletion.forget(key)
        self._departures.forget(pipeline_id(key))
        self._letters.over(key)
        self._turns.forget(key)
        self._context.metrics.forget(PIPELINE.kind, key)
        self._context.metrics.forget_records(key)
