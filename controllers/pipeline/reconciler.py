"""PipelineController: references, then the router, then the status."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

from pydantic import ValidationError

from controllers.applying.apply import ADOPT_ANNOTATION, NameConflict
from controllers.finalizing.release import Release, defaulted
from controllers.members.reach import frozen, running_addresses
from controllers.objects.kinds import POD
from controllers.objects.specs import problems, spec_of, status_of, text
from controllers.pipeline.deletion import PipelineDeletion, drain_seconds
from controllers.pipeline.departure import Departures
from controllers.pipeline.drift import shown
from controllers.pipeline.graph import build_config, pipeline_id, stages
from controllers.pipeline.status import accept, accepted_status, conclude, phase_before
from controllers.pipeline.sync import Kept, Known, Synced, endpoints, synchronise
from controllers.references.clusters import choose_cluster, key_of
from controllers.references.services import missing_references, unready_services
from controllers.retrying import Pauses, Troubles, sooner, verdict
from controllers.service.registration import astray
from controllers.status import reasons as r
from controllers.status.conditions import Conditions
from controllers.status.writing import write_status
from controllers.wiring.context import Context
from etl_operator.api import CLUSTER, PIPELINE, EtlPipeline
from etl_operator.router.client import RouterNode
from etl_operator.router.cluster import RouterCluster
from etl_operator.router.errors import Rejected, RouterAdminUnavailable, RouterError
from etl_operator.router.pb import router_pb2 as pb
from informers.clock import timestamp
from informers.controller.finalizer import add_finalizer, remove_finalizer
from informers.errors import NotFound
from informers.objects import Object, ObjectKey, Result
from informers.views.view import View

MANAGER = "etl-operator/pipeline"
FINALIZER = "etl.router/pipeline"

_ALARMS = {
    r.REFERENCE_NOT_FOUND: r.REFERENCE_NOT_FOUND,
    r.CLUSTER_NOT_FOUND: r.CLUSTER_NOT_FOUND,
    r.AMBIGUOUS_CLUSTER: r.AMBIGUOUS_CLUSTER,
    r.NOT_ALLOWED: r.NOT_ALLOWED,
    r.UNREACHABLE: r.UNREACHABLE,
    r.RETRYING: r.SUBMIT_FAILED,
    r.NAME_CONFLICT: r.NAME_CONFLICT,
    r.VALIDATION_FAILED: r.VALIDATION_FAILED,
    r.REJECTED: r.SUBMIT_FAILED,
    r.ADMIN_UNAVAILABLE: r.SUBMIT_FAILED,
}
"""Reasons of Ready=False that a user should act on, and those of the Warning events about them."""
_AT_ONCE = {r.NAME_CONFLICT, r.VALIDATION_FAILED, r.REJECTED, r.ADMIN_UNAVAILABLE}
"""Those that do not pass by themselves."""


class PipelineReconciler:
    """Reconciles one EtlPipeline at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        settings = context.settings
        self._pauses = Pauses(settings.retry_base, settings.retry_limit)
        self._troubles = Troubles(context.clock, settings.warn_after)
        self._kept: dict[ObjectKey, Kept] = {}
        self._departures = Departures(context.clients, context.clock)
        self._deletion = PipelineDeletion(context, self._departures)
        self._leaving: set[str] = set()
        """Uids of deleted pipelines whose spec has been looked at."""

    async def reconcile(self, key: ObjectKey) -> Result:
        """Submit, update, switch or delete as needed; a converged pipeline costs one read per check."""
        view = self._context.informers[PIPELINE].get(key)
        if view is None:
            self._forget(key)
            return Result.done()
        obj = view.object()
        if view.deleting:
            return await self._finalize(key, view, obj)
        now = timestamp(self._context.clock.time())
        conditions = Conditions(obj, view.generation, now)
        former = text(status_of(obj), "cluster")
        choice = choose_cluster(key.namespace, spec_of(obj), self._context.informers[CLUSTER], former)
        problem = self._resolve_references(key, obj, choice.cluster, conditions)
        if choice.cluster is not None and problem is None:
            return await self._submit(key, obj, choice.cluster, conditions)
        conditions.working(*(problem if choice.cluster and problem else (choice.reason, choice.message)))
        figures = self._after_its_cluster(obj, conditions)
        phase = "Pending" if figures else phase_before(obj)
        return await self._write(key, obj, figures, conditions, phase, None)

    def _resolve_references(
        self, key: ObjectKey, obj: Object, cluster: View | None, conditions: Conditions
    ) -> tuple[str, str] | None:
        """Set ``ReferencesResolved``; returns reason and message when it is false."""
        informers, spec = self._context.informers, spec_of(obj)
        problem: tuple[str, str] | None = None
        if missing := missing_references(key.namespace, spec, informers):
            message = f"not found in namespace {key.namespace}: {', '.join(missing)}"
            problem = r.REFERENCE_NOT_FOUND, message
        elif cluster is not None and (strangers := astray(key.namespace, spec, cluster.key, informers)):
            problem = r.DEPENDENCY_NOT_READY, f"cluster {cluster.key}: {'; '.join(strangers)}"
        if problem is not None:
            conditions.set(r.REFERENCES_RESOLVED, False, *problem)
        else:
            conditions.set(r.REFERENCES_RESOLVED, True, r.REFERENCES_RESOLVED, "every reference exists")
        return problem

    def _after_its_cluster(self, obj: Object, conditions: Conditions) -> dict[str, Any]:
        """What there is to say of a pipeline that waits for a cluster when the one it ran in is gone."""
        name = text(status_of(obj), "cluster")
        if not name or self._context.informers[CLUSTER].get(key_of(name)) is not None:
            return {}
        message = f"cluster {name}, which ran the pipeline, is gone"
        conditions.set(r.ACCEPTED, False, r.CLUSTER_NOT_FOUND, message)
        conditions.set(r.RUNNING, False, r.CLUSTER_NOT_FOUND, message)
        return {"enabled": False, "specHash": None, "version": None}

    async def _submit(self, key: ObjectKey, obj: Object, cluster: View, conditions: Conditions) -> Result:
        try:
            # Its status is the operator's own word, and not read from the model.
            pipeline = EtlPipeline.model_validate({**obj, "status": None})
        except ValidationError:
            conditions.stalled(r.VALIDATION_FAILED, problems(obj))
            return await self._write(key, obj, {}, conditions, phase_before(obj), None)
        pause = self._context.settings.retry_limit
        where = running_addresses(
            self._context.informers[POD], cluster, self._context.settings.cluster_domain
        )
        stopped = frozen(cluster)
        if stopped or not where:
            # The cluster's own events bring this key back; the pause is only a safety net.
            reason = r.SPLIT_BRAIN if stopped else r.DEPENDENCY_NOT_READY
            why = stopped or f"cluster {cluster.key} has no running member yet"
            conditions.working(reason, why)
            return await self._write(key, obj, {}, conditions, phase_before(obj), pause)
        left = await self._leave(key, obj, cluster)
        if left is not None:
            conditions.working(*left)
            return await self._write(key, obj, {}, conditions, phase_before(obj), self._pauses.next(key))
        config = build_config(pipeline)
        obj = await self._hold(obj)
        try:
            done = await self._synchronise(obj, cluster, pipeline, config, where)
        except NameConflict as conflict:
            conditions.set(r.ACCEPTED, False, r.NAME_CONFLICT, str(conflict))
            conditions.stalled(r.NAME_CONFLICT, str(conflict))
            return await self._write(key, obj, {}, conditions, phase_before(obj), pause)
        except RouterError as error:
            return await self._failed(key, obj, conditions, error)
        self._pauses.clear(key)
        if done.kept is None:
            self._kept.pop(key, None)
        else:
            self._kept[key] = done.kept
        figures = accepted_status(pipeline, config, str(cluster.key), done)
        phase = accept(
            pipeline, done, unready_services(key.namespace, spec_of(obj), self._context.informers), conditions
        )
        result = await self._write(
            key, obj, figures, conditions, phase, self._context.settings.drift_interval
        )
        self._announce(key, obj, done)
        return result

    async def _leave(self, key: ObjectKey, obj: Object, cluster: View) -> tuple[str, str] | None:
        """Take the pipeline out of the cluster it ran in before it was told to move.

        Two clusters that run it at once would work on every record twice, so the new one waits.

        :return: reason and message while the old cluster still holds it, else ``None``.
        """
        name = text(status_of(obj), "cluster")
        if name in ("", str(cluster.key)):
            return None
        old = self._context.informers[CLUSTER].get(key_of(name))
        if old is None or old.deleting:
            return None
        pods, domain = self._context.informers[POD], self._context.settings.cluster_domain
        where = running_addresses(pods, old, domain)
        message = f"moving to cluster {cluster.key}: cluster {name}"
        if problem := frozen(old) or ("" if where else "it has no running member"):
            return r.DEPENDENCY_NOT_READY, f"{message} still holds the pipeline: {problem}"
        try:
            pending = await self._departures.remove(old.key, where, pipeline_id(key), drain_seconds(obj))
        except RouterError as error:
            reason, why = verdict(error)
            return reason, f"{message} still holds the pipeline: {why}"
        if pending:
            return r.PROGRESSING, f"{message} drains {pending} records"
        self._departures.drained(old.key, pipeline_id(key))
        self._event(
            obj, "Normal", r.DELETED, "Move", f"deleted from cluster {name}, it moves to {cluster.key}"
        )
        return None

    async def _synchronise(
        self,
        obj: Object,
        cluster: View,
        pipeline: EtlPipeline,
        config: pb.PipelineConfig,
        where: Sequence[str],
    ) -> Synced:
        known = _known(obj, cluster, self._kept.get(ObjectKey.of(obj)))
        adopt = (obj["metadata"].get("annotations") or {}).get(ADOPT_ANNOTATION) == "true"

        async def work(node: RouterNode) -> Synced:
            done = await synchronise(node, config, str(cluster.key), known, adopt)
            done.endpoints = await endpoints(node, stages(pipeline))
            return done

        return await RouterCluster(self._context.clients, where).on_leader(work)

    async def _failed(
        self, key: ObjectKey, obj: Object, conditions: Conditions, error: RouterError
    ) -> Result:
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
        return await self._write(key, obj, {}, conditions, phase_before(obj), pause)

    async def _write(
        self,
        key: ObjectKey,
        obj: Object,
        figures: dict[str, Any],
        conditions: Conditions,
        phase: str,
        again: float | None,
    ) -> Result:
        status = conclude(obj, figures, conditions, phase)
        context = self._context
        informer = context.informers[PIPELINE]
        await write_status(context.client, PIPELINE, informer, obj, status, MANAGER, context.statuses)
        self._announce_trouble(key, obj, conditions)
        self._context.metrics.ready(PIPELINE.kind, key, conditions.is_true(r.READY))
        ready = conditions.get(r.READY)
        again = sooner(again, self._troubles.left(key, ready["reason"]) if ready else None)
        return Result.done() if again is None else Result.after(again)

    def _announce_trouble(self, key: ObjectKey, obj: Object, conditions: Conditions) -> None:
        """Warn of what a user should act on: a refusal at once, what may pass when it has lasted."""
        found = conditions.get(r.READY)
        if found is None or found["status"] == "True":
            self._troubles.over(key)
            return
        reason, message = found["reason"], found["message"]
        if reason in _ALARMS and (
            conditions.turned(r.READY) if reason in _AT_ONCE else self._troubles.lasts(key, reason)
        ):
            self._event(obj, "Warning", _ALARMS[reason], "Submit", message)

    def _announce(self, key: ObjectKey, obj: Object, done: Synced) -> None:
        if done.adopted:
            whose = "that a former object of this name left in" if done.inherited else "it found in"
            self._event(obj, "Normal", r.ADOPTED, "Adopt", f"took over the pipeline {whose} the router")
        if done.drifted:
            self._context.metrics.drift(PIPELINE.kind, key)
            what = "lost" if done.created else "changed" if done.updated else "switched"
            which = f": {shown(done.changed)}" if done.updated else ""
            note = f"the router had {what} the pipeline{which}"
            self._event(obj, "Normal", r.DRIFT_CORRECTED, "Submit", note)
        elif done.created:
            self._event(obj, "Normal", r.PIPELINE_SUBMITTED, "Submit", "submitted to the router")
        elif done.updated:
            note = f"the router took the new spec as version {done.version}"
            self._event(obj, "Normal", r.PIPELINE_UPDATED, "Submit", note)
        elif done.switched:
            reason = r.RESUMED if done.enabled else r.PIPELINE_PAUSED
            word = "enabled" if done.enabled else "disabled"
            self._event(obj, "Normal", reason, "Switch", f"the pipeline is {word}")

    async def _hold(self, obj: Object) -> Object:
        """The finalizer comes before the first remote state, never without it."""
        if FINALIZER not in (obj["metadata"].get("finalizers") or ()):
            answer = await add_finalizer(
                self._context.client, PIPELINE, obj, FINALIZER, field_manager=MANAGER
            )
            if answer is not None:
                self._context.informers[PIPELINE].written(answer)
                # The status is written to the version that has it.
                return {**obj, "metadata": answer["metadata"]}
        return obj

    # -- deletion ---------------------------------------------------------------------------------

    async def _finalize(self, key: ObjectKey, view: View, obj: Object) -> Result:
        if FINALIZER not in view.finalizers:
            return Result.done()
        if view.uid not in self._leaving:
            self._leaving.add(view.uid)
            if broken := problems(obj):
                self._event(obj, "Warning", r.VALIDATION_FAILED, "Delete", defaulted(broken))
        release, waits = await self._deletion.attempt(key, obj)
        if release is None:
            return await self._wait(key, obj, waits)
        return await self._release(key, obj, release)

    async def _wait(self, key: ObjectKey, obj: Object, why: str) -> Result:
        conditions = Conditions(
            obj, obj["metadata"].get("generation", 0), timestamp(self._context.clock.time())
        )
        conditions.working(r.DELETING, why)
        return await self._write(key, obj, {}, conditions, "Deleting", self._pauses.next(key))

    async def _release(self, key: ObjectKey, obj: Object, release: Release) -> Result:
        with suppress(NotFound):
            await remove_finalizer(self._context.client, PIPELINE, obj, FINALIZER, field_manager=MANAGER)
        kind: Literal["Normal", "Warning"] = "Warning" if release.warning else "Normal"
        self._event(obj, kind, release.reason, "Delete", release.note)
        self._leaving.discard(obj["metadata"]["uid"])
        self._forget(key)
        return Result.done()

    def _event(
        self, obj: Object, kind: Literal["Normal", "Warning"], reason: str, act: str, note: str
    ) -> None:
        self._context.events.event(obj, type=kind, reason=reason, action=act, note=note)

    def _forget(self, key: ObjectKey) -> None:
        self._pauses.clear(key)
        self._troubles.over(key)
        self._kept.pop(key, None)
        self._deletion.forget(key)
        self._departures.forget(pipeline_id(key))
        self._context.metrics.forget(PIPELINE.kind, key)


def _known(obj: Object, cluster: View, kept: Kept | None) -> Known:
    """What this cluster accepted before. Another cluster's word says nothing about this one."""
    status = status_of(obj)
    if text(status, "cluster") != str(cluster.key):
        return Known()
    return Known(text(status, "specHash"), status.get("enabled"), kept)
