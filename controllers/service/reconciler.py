"""The story of one service: its cluster, its name there, its registrations, its status; and its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from controllers.finalizing.finalizer import Finalizer
from controllers.members.reach import ready_addresses, wanted_members, without_secrets
from controllers.objects.kinds import POD
from controllers.objects.specs import spec_of, status_of, text
from controllers.references.clusters import choose_cluster
from controllers.references.services import service_secrets
from controllers.retrying.pauses import Pauses, sooner
from controllers.retrying.troubles import Alarms, Troubles
from controllers.service.announcement import ALARMS
from controllers.service.deletion import Attempt, ServiceDeletion
from controllers.service.health import EndpointHealth
from controllers.service.registration import (
    endpoint_problem,
    foreign_secrets,
    probe_settings,
    probe_target,
    registration,
    rival_of,
    service_id,
    shared,
)
from controllers.service.secrets import LOOK_AGAIN, secrets_problem
from controllers.service.status import Registered, conclude, judge_service, service_figures
from controllers.status import reasons as r
from controllers.status.conditions import Conditions
from controllers.status.writing import write_status
from controllers.wiring.context import Context
from etl_operator.api import CLUSTER, PIPELINE
from etl_operator.router.registry import Health
from informers.clock import timestamp
from informers.objects import Object, ObjectKey, Resource, Result
from informers.views.view import View

FINALIZER = "etl.router/service"


def manager_of(resource: Resource) -> str:
    """The field manager of a kind's controller."""
    return f"etl-operator/{resource.kind.removeprefix('Etl').lower()}"


class ServiceReconciler:
    """Reconciles one EtlSource, EtlTransform or EtlSink at a time; one instance per kind.

    :param health: what the probes have shown; nothing by default.
    """

    def __init__(self, context: Context, resource: Resource, health: EndpointHealth | None = None) -> None:
        self._context = context
        self._endpoints = health or EndpointHealth()
        self._resource = resource
        self._informer = context.informers[resource]
        self.manager = manager_of(resource)
        settings = context.settings
        self._pauses = Pauses(settings.retry_base, settings.retry_limit)
        self._alarms = Alarms(context.events, context.clock, settings.warn_after, ALARMS)
        self._blocks = Troubles(context.clock, settings.warn_after)
        self._finalizer = Finalizer(context, resource, FINALIZER, self.manager)
        self._deletion = ServiceDeletion(context, resource)
        self._joining: dict[ObjectKey, float] = {}
        """When a Ready service was first found to lack a member that had joined, on the monotonic clock."""

    async def reconcile(self, key: ObjectKey) -> Result:
        """Say what is wanted to the keeper, and what became of it to the status."""
        view = self._informer.get(key)
        if view is None:
            # Only after a finalizer was taken off by force; otherwise the deletion below came first.
            await self._forget(key)
            return Result.done()
        obj = view.object()
        conditions = Conditions(obj, view.generation, timestamp(self._context.clock.time()))
        if view.deleting:
            return await self._delete(key, view, obj, conditions)
        conditions.clear(r.DELETION_BLOCKED)
        former = text(status_of(obj), "cluster")
        choice = choose_cluster(key.namespace, spec_of(obj), self._context.informers[CLUSTER], former)
        if choice.cluster is None:
            return await self._homeless(key, obj, conditions, choice.reason, choice.message)
        if rival := self._rival(view, choice.cluster):
            return await self._homeless(key, obj, conditions, r.NAME_CONFLICT, rival)
        if broken := endpoint_problem(obj):
            return await self._homeless(key, obj, conditions, r.VALIDATION_FAILED, broken)
        if foreign := foreign_secrets(obj, choice.cluster.key):
            return await self._homeless(key, obj, conditions, r.NOT_ALLOWED, foreign)
        return await self._register(key, obj, choice.cluster, conditions)

    def _rival(self, view: View, cluster: View) -> str:
        return rival_of(self._resource, view, cluster.key, self._context.informers)

    def _shared(self, key: ObjectKey) -> bool:
        return shared(key, self._resource, self._context.informers)

    async def _register(self, key: ObjectKey, obj: Object, cluster: View, conditions: Conditions) -> Result:
        # Before the first registration, never without it.
        obj = await self._finalizer.hold(obj)
        pods, domain = self._context.informers[POD], self._context.settings.cluster_domain
        wanted = registration(self._resource, obj, cluster.key, domain)
        where = ready_addresses(pods, cluster, domain)
        probed, health = self._health(obj)
        self._context.keeper.want(wanted, where, health)
        state = self._context.keeper.state(wanted.service_id)
        lacking = without_secrets(pods, cluster, domain, service_secrets(spec_of(obj)))
        registered = Registered(
            total=wanted_members(cluster),
            addresses=where,
            done=[
                address
                for address in where
                if address in state and state[address].registered and address not in lacking
            ],
            errors={address: one.error for address, one in state.items() if one.error},
            mounting=next(iter(lacking.values()), ""),
            unusable=await secrets_problem(self._context.client, obj),
        )
        if self._joins(key, registered, conditions):
            # The keeper brings this key back as soon as it is done; the pause is for when it is not.
            return Result.after(self._context.settings.join_grace)
        judge_service(registered, health, probed, conditions)
        figures = service_figures(wanted.service_id, str(cluster.key), registered, health)
        again = LOOK_AGAIN if registered.unusable else None
        return await self._report(key, obj, figures, conditions, again)

    def _joins(self, key: ObjectKey, registered: Registered, conditions: Conditions) -> bool:
        """Whether a Ready service is about to be registered with a member that has just become ready.

        That takes milliseconds as a rule. Reporting it would withdraw Ready, and wake all pipelines that use
        the service, for each member of a rolling restart.
        """
        if registered.everywhere or not registered.done or registered.errors or not conditions.was_ready():
            self._joining.pop(key, None)
            return False
        now = self._context.clock.monotonic()
        return now - self._joining.setdefault(key, now) < self._context.settings.join_grace

    def _health(self, obj: Object) -> tuple[bool, Health | None]:
        """Whether the endpoint is probed, and what is known of it. Who probes brings the key back."""
        enabled, _ = probe_settings(spec_of(obj))
        target = probe_target(obj, self._context.settings.cluster_domain) if enabled else None
        if target is None:
            return False, None
        return True, self._endpoints.verdict(self._resource, obj, target)

    async def _homeless(
        self, key: ObjectKey, obj: Object, conditions: Conditions, reason: str, message: str
    ) -> Result:
        """Nowhere to be registered: no cluster, no endpoint, or the name is someone else's there."""
        if not self._shared(key):
            self._context.keeper.dismiss(service_id(key))
        conditions.set(r.REGISTERED, False, reason, message)
        conditions.clear(r.ENDPOINT_HEALTHY)
        if reason in ALARMS.at_once:
            conditions.stalled(reason, message)
        else:
            conditions.working(reason, message)
        figures = {"registeredNodes": 0, "totalNodes": 0, "health": "Unknown"}
        return await self._report(key, obj, figures, conditions)

    async def _report(
        self,
        key: ObjectKey,
        obj: Object,
        figures: Mapping[str, Any],
        conditions: Conditions,
        again: float | None = None,
    ) -> Result:
        """Write the status, and report the result as events and metrics."""
        status = conclude(obj, figures, conditions)
        context = self._context
        await write_status(
            context.client, self._resource, self._informer, obj, status, self.manager, context.statuses
        )
        turned = conditions.turned(r.REGISTERED)
        if turned is not None and turned["status"] == "True":
            self._event(obj, "Normal", r.SERVICE_REGISTERED, "Register", turned["message"])
        self._alarms.look(key, obj, conditions)
        context.metrics.ready(self._resource.kind, key, conditions.is_true(r.READY))
        again = sooner(again, self._alarms.left(key, conditions))
        return Result.done() if again is None else Result.after(again)

    # -- deletion ---------------------------------------------------------------------------------

    async def _delete(self, key: ObjectKey, view: View, obj: Object, conditions: Conditions) -> Result:
        """Out of the routers, when no pipeline uses it any more; then the object may go."""
        if not self._finalizer.on(view):
            return Result.done()
        self._finalizer.leaving(key, obj)
        attempt = await self._deletion.attempt(key, obj)
        if attempt.users:
            return await self._blocked(key, view, obj, conditions, attempt)
        if attempt.release is None:
            conditions.clear(r.DELETION_BLOCKED)
            conditions.working(r.DELETING, attempt.waits)
            return await self._report(key, obj, {}, conditions, self._pauses.next(key))
        if not self._shared(key):
            # Whatever was to be deregistered has been. What is left is left as it is.
            self._context.keeper.forget(service_id(key))
        self._tidy(key)
        await self._finalizer.release(key, obj, attempt.release)
        return Result.done()

    async def _blocked(
        self, key: ObjectKey, view: View, obj: Object, conditions: Conditions, attempt: Attempt
    ) -> Result:
        """Pipelines use it. Their own events bring this key back; often they are about to go as well."""
        message = f"used by {PIPELINE.kind} {', '.join(attempt.users)}"
        conditions.set(r.DELETION_BLOCKED, True, r.IN_USE, message)
        if self._blocks.lasts(key, r.IN_USE):
            self._event(obj, "Warning", r.DELETION_BLOCKED_EVENT, "Delete", message)
        cluster = attempt.cluster
        if cluster is not None and not self._rival(view, cluster) and not endpoint_problem(obj):
            # Its pipelines still run: the registration must not lapse while the deletion waits.
            result = await self._register(key, obj, cluster, conditions)
        else:
            result = await self._report(key, obj, {}, conditions)
        again = sooner(result.requeue_after, self._blocks.left(key, r.IN_USE))
        return Result.done() if again is None else Result.after(again)

    async def _forget(self, key: ObjectKey) -> None:
        if not self._shared(key):
            await self._context.keeper.drop(service_id(key))
        self._finalizer.forget(key)
        self._tidy(key)

    def _tidy(self, key: ObjectKey) -> None:
        self._pauses.clear(key)
        self._alarms.over(key)
        self._blocks.over(key)
        self._deletion.forget(key)
        self._joining.pop(key, None)
        self._context.metrics.forget(self._resource.kind, key)

    def _event(
        self, obj: Object, kind: Literal["Normal", "Warning"], reason: str, act: str, note: str
    ) -> None:
        self._context.events.event(obj, type=kind, reason=reason, action=act, note=note)
