"""PipelineController: references, then the router, then the status."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

from controllers import reasons as r
from controllers.apply import ADOPT_ANNOTATION, NameConflict
from controllers.context import Context
from controllers.finalizing import (
    Release,
    give_up,
    let_go,
    overdue,
    release_early,
    release_with_namespace,
    waiting_to_go,
)
from controllers.kinds import POD
from controllers.members import frozen, running_addresses
from controllers.namespaces import ends
from controllers.pipeline.graph import build_config, pipeline_id, stages
from controllers.pipeline.status import accept, accepted_status, conclude, phase_before
from controllers.pipeline.sync import Known, Synced, endpoints, foreign, synchronise
from controllers.references import choose_cluster, missing_references, spec_of
from controllers.retrying import Pauses, verdict
from controllers.service.registration import astray
from controllers.status import Conditions, seconds_of, write_status
from etl_operator.api import CLUSTER, PIPELINE, EtlPipeline
from etl_operator.router.client import RouterNode
from etl_operator.router.cluster import RouterCluster
from etl_operator.router.errors import Rejected, RouterAdminUnavailable, RouterError
from etl_operator.router.pb import router_pb2 as pb
from informers.cache.view import View
from informers.clock import timestamp
from informers.controller.finalizer import add_finalizer, remove_finalizer
from informers.errors import NotFound
from informers.objects import Object, ObjectKey, Result

MANAGER = "etl-operator/pipeline"
FINALIZER = "etl.router/pipeline"


class PipelineReconciler:
    """Reconciles one EtlPipeline at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        settings = context.settings
        self._pauses = Pauses(settings.retry_base, settings.retry_limit)
        self._moving: dict[ObjectKey, float] = {}
        """When a pipeline began to leave the cluster it moves away from."""
        self._draining: set[ObjectKey] = set()
        """Deleted pipelines that were found to have records inside."""

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
        choice = choose_cluster(key.namespace, spec_of(obj), self._context.informers[CLUSTER])
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
        name = (obj.get("status") or {}).get("cluster") or ""
        if not name or self._context.informers[CLUSTER].get(_parse(name)) is not None:
            return {}
        message = f"cluster {name}, which ran the pipeline, is gone"
        conditions.set(r.ACCEPTED, False, r.CLUSTER_NOT_FOUND, message)
        conditions.set(r.RUNNING, False, r.CLUSTER_NOT_FOUND, message)
        return {"enabled": False, "specHash": None, "version": None}

    async def _submit(self, key: ObjectKey, obj: Object, cluster: View, conditions: Conditions) -> Result:
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
        # Its status is the operator's own word, and not read from the model.
        pipeline = EtlPipeline.model_validate({**obj, "status": None})
        config = build_config(pipeline)
        await self._hold(obj)
        try:
            done = await self._synchronise(obj, cluster, pipeline, config, where)
        except NameConflict as conflict:
            conditions.set(r.ACCEPTED, False, r.NAME_CONFLICT, str(conflict))
            conditions.stalled(r.NAME_CONFLICT, str(conflict))
            return await self._write(key, obj, {}, conditions, phase_before(obj), pause)
        except RouterError as error:
            return await self._failed(key, obj, conditions, error)
        self._pauses.clear(key)
        figures = accepted_status(pipeline, config, str(cluster.key), done)
        phase = accept(pipeline, done, conditions)
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
        name = (obj.get("status") or {}).get("cluster") or ""
        if name in ("", str(cluster.key)):
            return None
        old = self._context.informers[CLUSTER].get(_parse(name))
        if old is None or old.deleting:
            return None
        pods, domain = self._context.informers[POD], self._context.settings.cluster_domain
        where = running_addresses(pods, old, domain)
        message = f"moving to cluster {cluster.key}: cluster {name}"
        if problem := frozen(old) or ("" if where else "it has no running member"):
            return r.DEPENDENCY_NOT_READY, f"{message} still holds the pipeline: {problem}"
        since = self._moving.setdefault(key, self._context.clock.time())
        try:
            pending = await RouterCluster(self._context.clients, where).on_leader(
                lambda node: self._remove(node, key, obj, since)
            )
        except RouterError as error:
            reason, why = verdict(error)
            return reason, f"{message} still holds the pipeline: {why}"
        if pending:
            return r.PROGRESSING, f"{message} drains {pending} records"
        self._moving.pop(key, None)
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
        known = _known(obj, cluster)
        adopt = (obj["metadata"].get("annotations") or {}).get(ADOPT_ANNOTATION) == "true"

        async def work(node: RouterNode) -> Synced:
            done = await synchronise(node, config, known, adopt)
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
        if await write_status(
            context.client, PIPELINE, context.informers[PIPELINE], obj, status, MANAGER, context.statuses
        ):
            self._announce_trouble(obj, conditions)
        self._context.metrics.ready(PIPELINE.kind, key, conditions.is_true(r.READY))
        return Result.done() if again is None else Result.after(again)

    def _announce_trouble(self, obj: Object, conditions: Conditions) -> None:
        turned = conditions.turned(r.READY)
        if turned is None or turned["status"] == "True":
            return
        reason = turned["reason"]
        event = {
            r.REFERENCE_NOT_FOUND: r.REFERENCE_NOT_FOUND,
            r.NAME_CONFLICT: r.NAME_CONFLICT,
            r.UNREACHABLE: r.UNREACHABLE,
            r.CLUSTER_NOT_FOUND: r.REFERENCE_NOT_FOUND,
            r.AMBIGUOUS_CLUSTER: r.REFERENCE_NOT_FOUND,
            r.NOT_ALLOWED: r.REFERENCE_NOT_FOUND,
            r.REJECTED: r.SUBMIT_FAILED,
            r.ADMIN_UNAVAILABLE: r.SUBMIT_FAILED,
        }.get(reason)
        if event:
            self._event(obj, "Warning", event, "Submit", turned["message"])

    def _announce(self, key: ObjectKey, obj: Object, done: Synced) -> None:
        if done.adopted:
            self._event(obj, "Normal", r.ADOPTED, "Adopt", "took over the pipeline the router had")
        if done.drifted:
            self._context.metrics.drift(PIPELINE.kind, key)
            what = "lost" if done.created else "changed" if done.updated else "switched"
            self._event(obj, "Normal", r.DRIFT_CORRECTED, "Submit", f"the router had {what} the pipeline")
        elif done.created:
            self._event(obj, "Normal", r.PIPELINE_SUBMITTED, "Submit", "submitted to the router")
        elif done.updated:
            note = f"the router took the new spec as version {done.version}"
            self._event(obj, "Normal", r.PIPELINE_UPDATED, "Submit", note)
        elif done.switched:
            reason = r.RESUMED if done.enabled else r.PIPELINE_PAUSED
            word = "enabled" if done.enabled else "disabled"
            self._event(obj, "Normal", reason, "Switch", f"the pipeline is {word}")

    async def _hold(self, obj: Object) -> None:
        """The finalizer comes before the first remote state, never without it."""
        if FINALIZER not in (obj["metadata"].get("finalizers") or ()):
            answer = await add_finalizer(
                self._context.client, PIPELINE, obj, FINALIZER, field_manager=MANAGER
            )
            if answer is not None:
                self._context.informers[PIPELINE].written(answer)

    # -- deletion ---------------------------------------------------------------------------------

    async def _finalize(self, key: ObjectKey, view: View, obj: Object) -> Result:
        if FINALIZER not in view.finalizers:
            return Result.done()
        name = (obj.get("status") or {}).get("cluster") or ""
        if not name:
            chosen = choose_cluster(key.namespace, spec_of(obj), self._context.informers[CLUSTER]).cluster
            name = str(chosen.key) if chosen else ""
        cluster = self._context.informers[CLUSTER].get(_parse(name)) if name else None
        release = release_early(obj, cluster, name)
        ending = release is None and cluster is not None and await ends(self._context.client, key.namespace)
        if ending and cluster is not None:
            release = release_with_namespace(obj, cluster)
        if release is None and cluster is not None:
            release, waits = await self._delete_remote(key, obj, cluster, ending)
            if release is None:
                return await self._wait(key, obj, waits)
        return await self._release(key, obj, release)

    async def _delete_remote(
        self, key: ObjectKey, obj: Object, cluster: View, ending: bool
    ) -> tuple[Release | None, str]:
        """The release, or what the deletion waits for.

        :param ending: the namespace is being deleted: nothing is waited for, not even draining.
        """
        settings = self._context.settings
        since = 0.0 if ending else seconds_of(obj["metadata"]["deletionTimestamp"])
        where = running_addresses(self._context.informers[POD], cluster, settings.cluster_domain)
        problem = frozen(cluster) or ("" if where else f"cluster {cluster.key} has no running member")
        if not problem:
            try:
                pending = await RouterCluster(self._context.clients, where).on_leader(
                    lambda node: self._remove(node, key, obj, since)
                )
            except RouterError as error:
                problem = f"{verdict(error)[0]}: {error}"
            else:
                if not pending:
                    self._note_drained(key, obj, since)
                    return Release(False, r.DELETED, "deleted from the router"), ""
                self._pauses.clear(key)
                self._draining.add(key)
                return None, f"the router drains {pending} records"
        if ending:
            return let_go(obj, problem), ""
        if overdue(obj, self._context.clock.time(), settings.release_deadline):
            return give_up(settings.release_deadline, problem), ""
        return None, waiting_to_go(settings.release_deadline, problem)

    def _note_drained(self, key: ObjectKey, obj: Object, since: float) -> None:
        """Tell those who waited for the records that all have left; a forced end is none of that."""
        drain = float(obj["spec"].get("drainTimeoutSeconds", 30))
        if key in self._draining and self._context.clock.time() - since < drain:
            self._event(obj, "Normal", r.DRAINED, "Delete", "every record has left the pipeline")

    async def _remove(self, node: RouterNode, key: ObjectKey, obj: Object, since: float) -> int:
        """Disable, drain, delete. Returns how many records still have to leave, zero when deleted.

        :param since: when the pipeline began to go, in seconds since the epoch.
        """
        name = pipeline_id(key)
        found = await node.get_pipeline(name)
        if found is None or foreign(found, obj["metadata"]["uid"]):
            return 0
        drain = float(obj["spec"].get("drainTimeoutSeconds", 30))
        waited = self._context.clock.time() - since
        if found.status.enabled or waited < drain:
            pending = await node.disable_pipeline(name, drain > 0)
            if pending and waited < drain:
                return pending
        await node.delete_pipeline(name, force=waited >= drain)
        return 0

    async def _wait(self, key: ObjectKey, obj: Object, why: str) -> Result:
        conditions = Conditions(
            obj, obj["metadata"].get("generation", 0), timestamp(self._context.clock.time())
        )
        conditions.working(r.DELETING, why)
        return await self._write(key, obj, {}, conditions, "Deleting", self._pauses.next(key))

    async def _release(self, key: ObjectKey, obj: Object, release: Release | None) -> Result:
        with suppress(NotFound):
            await remove_finalizer(self._context.client, PIPELINE, obj, FINALIZER, field_manager=MANAGER)
        if release is not None:
            kind: Literal["Normal", "Warning"] = "Warning" if release.warning else "Normal"
            self._event(obj, kind, release.reason, "Delete", release.note)
        self._forget(key)
        return Result.done()

    def _event(
        self, obj: Object, kind: Literal["Normal", "Warning"], reason: str, act: str, note: str
    ) -> None:
        self._context.events.event(obj, type=kind, reason=reason, action=act, note=note)

    def _forget(self, key: ObjectKey) -> None:
        self._pauses.clear(key)
        self._moving.pop(key, None)
        self._draining.discard(key)
        self._context.metrics.forget(PIPELINE.kind, key)


def _known(obj: Object, cluster: View) -> Known:
    """What this cluster accepted before. Another cluster's word says nothing about this one."""
    status = obj.get("status") or {}
    if status.get("cluster") != str(cluster.key):
        return Known()
    return Known(status.get("specHash") or "", status.get("enabled"))


def _parse(name: str) -> ObjectKey:
    namespace, _, bare = name.partition("/")
    return ObjectKey(namespace, bare)
