"""ResourceController: keeps one kind of service registered with every ready member of its cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

from controllers.finalizing.endings import Ending, Endings
from controllers.finalizing.release import (
    Release,
    defaulted,
    forced,
    give_up,
    let_go,
    orphaned,
    release_with,
    release_without,
    waiting_to_go,
)
from controllers.members.reach import ready_addresses, wanted_members
from controllers.objects.kinds import POD
from controllers.objects.specs import problems, section, spec_of, status_of, text
from controllers.references.clusters import choose_cluster, key_of
from controllers.references.services import SERVICES, users_of
from controllers.retrying import Pauses, Troubles, Waiting, sooner
from controllers.service.names import candidates
from controllers.service.probe import Health, probe
from controllers.service.registration import (
    probe_settings,
    registration,
    service_id,
    split_endpoint,
    winner_of,
)
from controllers.service.status import Registered, conclude, judge_service, service_figures
from controllers.status import reasons as r
from controllers.status.conditions import Conditions
from controllers.status.writing import write_status
from controllers.wiring.context import Context
from etl_operator.api import CLUSTER, PIPELINE
from etl_operator.router.errors import RouterError
from informers.clock import timestamp
from informers.controller.finalizer import add_finalizer, remove_finalizer
from informers.errors import NotFound
from informers.objects import Object, ObjectKey, Resource, Result
from informers.views.view import View

FINALIZER = "etl.router/service"

_ALARMS = {
    r.RETRYING: r.REGISTRATION_FAILED,
    r.CLUSTER_NOT_FOUND: r.CLUSTER_NOT_FOUND,
    r.AMBIGUOUS_CLUSTER: r.AMBIGUOUS_CLUSTER,
    r.NOT_ALLOWED: r.NOT_ALLOWED,
    r.NAME_CONFLICT: r.NAME_CONFLICT,
    r.VALIDATION_FAILED: r.VALIDATION_FAILED,
}
"""Reasons of Registered=False that a user should act on, and those of the Warning events about them."""
_AT_ONCE = {r.NAME_CONFLICT, r.VALIDATION_FAILED}
"""Those that do not pass by themselves."""
_LEASE = "routers forget its registration when the lease runs out, as no heartbeats are sent any more"


def manager_of(resource: Resource) -> str:
    """The field manager of a kind's controller."""
    return f"etl-operator/{resource.kind.removeprefix('Etl').lower()}"


class ServiceReconciler:
    """Reconciles one EtlSource, EtlTransform or EtlSink at a time; one instance per kind."""

    def __init__(self, context: Context, resource: Resource) -> None:
        self._context = context
        self._resource = resource
        self._informer = context.informers[resource]
        self.manager = manager_of(resource)
        settings = context.settings
        self._pauses = Pauses(settings.retry_base, settings.retry_limit)
        self._troubles = Troubles(context.clock, settings.warn_after)
        self._blocks = Troubles(context.clock, settings.warn_after)
        self._waiting = Waiting(context.clock)
        self._endings = Endings(context.client, context.clock)
        self._leaving: set[str] = set()
        """Uids of deleted services whose spec has been looked at."""
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
        now = timestamp(self._context.clock.time())
        conditions = Conditions(obj, view.generation, now)
        if view.deleting:
            return await self._finalize(key, view, obj, conditions)
        conditions.clear(r.DELETION_BLOCKED)
        former = text(status_of(obj), "cluster")
        choice = choose_cluster(key.namespace, spec_of(obj), self._context.informers[CLUSTER], former)
        if choice.cluster is None:
            return await self._homeless(key, obj, conditions, choice.reason, choice.message)
        rival = self._rival(view, choice.cluster)
        if rival:
            return await self._homeless(key, obj, conditions, r.NAME_CONFLICT, rival)
        if broken := _endpoint_problem(obj):
            return await self._homeless(key, obj, conditions, r.VALIDATION_FAILED, broken)
        return await self._register(key, obj, choice.cluster, conditions)

    def _rival(self, view: View, cluster: View) -> str:
        """Who holds the name, or "" when this object does."""
        winner = winner_of(view.key.name, cluster.key, self._context.informers)
        if winner is None or (winner[0] is self._resource and winner[1].uid == view.uid):
            return ""
        # Another namespace's objects are not named to this one.
        where = "" if winner[1].key.namespace == view.key.namespace else " of another namespace"
        return (
            f"the older {winner[0].kind}{where} named {view.key.name} holds this name in the router; "
            "names are shared by sources, transforms and sinks of a cluster"
        )

    async def _register(self, key: ObjectKey, obj: Object, cluster: View, conditions: Conditions) -> Result:
        obj = await self._hold(obj)
        pods, domain = self._context.informers[POD], self._context.settings.cluster_domain
        wanted = registration(self._resource, obj, cluster.key, domain)
        where = ready_addresses(pods, cluster, domain)
        self._context.keeper.want(wanted, where)
        state = self._context.keeper.state(wanted.service_id)
        registered = Registered(
            total=wanted_members(cluster),
            addresses=where,
            done=[address for address in where if address in state and state[address].registered],
            errors={address: one.error for address, one in state.items() if one.error},
        )
        if self._joins(key, registered, conditions):
            # The keeper brings this key back as soon as it is done; the pause is for when it is not.
            return Result.after(self._context.settings.join_grace)
        health, again = await self._probe(obj)
        judge_service(registered, health, conditions)
        figures = service_figures(wanted.service_id, str(cluster.key), registered, health)
        return await self._write(key, obj, figures, conditions, again)

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

    async def _probe(self, obj: Object) -> tuple[Health | None, float | None]:
        spec = spec_of(obj)
        enabled, interval = probe_settings(spec)
        if not enabled:
            return None, None
        grpc = section(spec, "grpc")
        host, port = split_endpoint(text(grpc, "endpoint"))
        hosts = candidates(host, obj["metadata"]["namespace"], self._context.settings.cluster_domain)
        return await probe(hosts, port, section(grpc, "tls").get("enabled") is True), interval

    async def _homeless(
        self, key: ObjectKey, obj: Object, conditions: Conditions, reason: str, message: str
    ) -> Result:
        """Nowhere to be registered: no cluster, no endpoint, or the name is somebody else's there."""
        if not self._shared(key):
            self._context.keeper.dismiss(service_id(key))
        conditions.set(r.REGISTERED, False, reason, message)
        conditions.clear(r.ENDPOINT_HEALTHY)
        if reason in _AT_ONCE:
            conditions.stalled(reason, message)
        else:
            conditions.working(reason, message)
        figures = {"registeredNodes": 0, "totalNodes": 0, "health": "Unknown"}
        return await self._write(key, obj, figures, conditions, None)

    async def _write(
        self,
        key: ObjectKey,
        obj: Object,
        figures: dict[str, Any],
        conditions: Conditions,
        again: float | None,
    ) -> Result:
        status = conclude(obj, figures, conditions)
        context = self._context
        await write_status(
            context.client, self._resource, self._informer, obj, status, self.manager, context.statuses
        )
        self._announce(key, obj, conditions)
        self._context.metrics.ready(self._resource.kind, key, conditions.is_true(r.READY))
        registered = conditions.get(r.REGISTERED)
        if registered is not None:
            again = sooner(again, self._troubles.left(key, registered["reason"]))
        return Result.done() if again is None else Result.after(again)

    def _announce(self, key: ObjectKey, obj: Object, conditions: Conditions) -> None:
        """Events; Warnings only of what a user should act on, and of what may pass when it has lasted."""
        turned, found = conditions.turned(r.REGISTERED), conditions.get(r.REGISTERED)
        if found is not None and found["status"] == "True":
            self._troubles.over(key)
            if turned:
                self._event(obj, "Normal", r.SERVICE_REGISTERED, "Register", found["message"])
        elif (
            found is not None
            and (reason := found["reason"]) in _ALARMS
            and (turned if reason in _AT_ONCE else self._troubles.lasts(key, reason))
        ):
            self._event(obj, "Warning", _ALARMS[reason], "Register", found["message"])

    async def _hold(self, obj: Object) -> Object:
        """The finalizer comes before the first registration."""
        if FINALIZER not in (obj["metadata"].get("finalizers") or ()):
            answer = await add_finalizer(
                self._context.client, self._resource, obj, FINALIZER, field_manager=self.manager
            )
            if answer is not None:
                self._informer.written(answer)
                # The status is written to the version that has it.
                return {**obj, "metadata": answer["metadata"]}
        return obj

    # -- deletion ---------------------------------------------------------------------------------

    async def _finalize(self, key: ObjectKey, view: View, obj: Object, conditions: Conditions) -> Result:
        if FINALIZER not in view.finalizers:
            return Result.done()
        if view.uid not in self._leaving:
            self._leaving.add(view.uid)
            if broken := problems(obj):
                self._event(obj, "Warning", r.VALIDATION_FAILED, "Delete", defaulted(broken))
        name = text(status_of(obj), "cluster")
        cluster = self._context.informers[CLUSTER].get(key_of(name)) if name else None
        if release := forced(obj, _LEASE):
            return await self._release(key, obj, release)
        release = release_without(cluster, name)
        ending = await self._endings.of(self._resource, key, key_of(name))
        if release is None and cluster is not None and ending and ending.with_cluster:
            release = release_with(ending, cluster)
        # The users go as well, or have lost what they use for good.
        users = [] if ending else users_of(self._resource, key, self._context.informers[PIPELINE])
        if users:
            return await self._blocked(key, view, obj, conditions, users, None if release else cluster)
        conditions.clear(r.DELETION_BLOCKED)
        if release is None and orphaned(obj):
            release = Release(False, r.ORPHANED, f"deletionPolicy is Orphan: no router was asked; {_LEASE}")
        waits = ""
        if release is None and cluster is not None:
            release, waits = await self._deregister(key, obj, cluster, ending)
        if release is None:
            conditions.working(r.DELETING, waits)
            return await self._write(key, obj, {}, conditions, self._pauses.next(key))
        return await self._release(key, obj, release)

    async def _blocked(
        self,
        key: ObjectKey,
        view: View,
        obj: Object,
        conditions: Conditions,
        users: Sequence[str],
        cluster: View | None,
    ) -> Result:
        """Pipelines use it. Their own events bring this key back; often they are about to go as well.

        :param cluster: where it is registered, if that matters any more.
        """
        message = f"used by {PIPELINE.kind} {', '.join(users)}"
        conditions.set(r.DELETION_BLOCKED, True, r.IN_USE, message)
        if self._blocks.lasts(key, r.IN_USE):
            self._event(obj, "Warning", r.DELETION_BLOCKED_EVENT, "Delete", message)
        if cluster is not None and not self._rival(view, cluster) and not _endpoint_problem(obj):
            # Its pipelines still run: the registration must not lapse while the deletion waits.
            result = await self._register(key, obj, cluster, conditions)
        else:
            result = await self._write(key, obj, {}, conditions, None)
        again = sooner(result.requeue_after, self._blocks.left(key, r.IN_USE))
        return Result.done() if again is None else Result.after(again)

    async def _deregister(
        self, key: ObjectKey, obj: Object, cluster: View, ending: Ending | None
    ) -> tuple[Release | None, str]:
        """Ask every ready pod: after a restart the keeper does not know where it was registered.

        :param ending: there is one try.
        :return: the release, or what the deletion waits for.
        """
        if self._shared(key):
            note = "the registration belongs to another kind's object of this name"
            return Release(False, r.RELEASED, note), ""
        settings = self._context.settings
        waited = self._waiting.seconds(key, obj["metadata"]["uid"])
        where = ready_addresses(self._context.informers[POD], cluster, settings.cluster_domain)
        failures = dict(await self._context.keeper.drop(service_id(key)))
        answers = await asyncio.gather(
            *(self._context.clients.node(address).deregister(service_id(key)) for address in where),
            return_exceptions=True,
        )
        for address, answer in zip(where, answers, strict=True):
            if isinstance(answer, RouterError):
                failures[address] = answer
            elif isinstance(answer, BaseException):
                raise answer
        if not failures:
            return Release(False, r.SERVICE_DEREGISTERED, f"deregistered from {len(where)} members"), ""
        problem = str(next(iter(failures.values())))
        if ending:
            return let_go(ending, problem), ""
        if waited >= settings.release_deadline:
            return give_up(settings.release_deadline, problem), ""
        return None, waiting_to_go(settings.release_deadline, problem)

    async def _release(self, key: ObjectKey, obj: Object, release: Release) -> Result:
        if not self._shared(key):
            # Whatever was to be deregistered has been. What is left is left as it is.
            self._context.keeper.forget(service_id(key))
        self._tidy(key)
        with suppress(NotFound):
            await remove_finalizer(
                self._context.client, self._resource, obj, FINALIZER, field_manager=self.manager
            )
        self._leaving.discard(obj["metadata"]["uid"])
        kind: Literal["Normal", "Warning"] = "Warning" if release.warning else "Normal"
        self._event(obj, kind, release.reason, "Delete", release.note)
        return Result.done()

    def _shared(self, key: ObjectKey) -> bool:
        """Whether another kind has an object of this name: ids do not tell kinds apart."""
        others = (resource for resource in SERVICES if resource != self._resource)
        return any(self._context.informers[resource].get(key) is not None for resource in others)

    async def _forget(self, key: ObjectKey) -> None:
        if not self._shared(key):
            await self._context.keeper.drop(service_id(key))
        self._tidy(key)

    def _tidy(self, key: ObjectKey) -> None:
        self._pauses.clear(key)
        self._troubles.over(key)
        self._blocks.over(key)
        self._waiting.over(key)
        self._joining.pop(key, None)
        self._context.metrics.forget(self._resource.kind, key)

    def _event(
        self, obj: Object, kind: Literal["Normal", "Warning"], reason: str, act: str, note: str
    ) -> None:
        self._context.events.event(obj, type=kind, reason=reason, action=act, note=note)


def _endpoint_problem(obj: Object) -> str:
    """Why nobody could be told where the service is, or ""; only a looser schema than ours lets that in."""
    try:
        split_endpoint(text(section(spec_of(obj), "grpc"), "endpoint"))
    except ValueError as error:
        return problems(obj) or str(error)
    return ""
