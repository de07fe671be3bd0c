"""ResourceController: keeps one kind of service registered with every ready member of its cluster."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Literal

from controllers import reasons as r
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
from controllers.members import ready_addresses, wanted_members
from controllers.namespaces import ends
from controllers.references import SERVICES, ClusterChoice, choose_cluster, spec_of, users_of
from controllers.retrying import Pauses
from controllers.service.probe import Health, probe
from controllers.service.registration import home_of, probe_settings, registration, service_id, winner_of
from controllers.service.status import Registered, conclude, judge_service, service_figures
from controllers.status import Conditions, write_status
from etl_operator.api import CLUSTER, PIPELINE
from etl_operator.router.errors import RouterError
from etl_operator.router.registry import Registration
from informers.cache.view import View
from informers.clock import timestamp
from informers.controller.finalizer import add_finalizer, remove_finalizer
from informers.errors import NotFound
from informers.objects import Object, ObjectKey, Resource, Result

FINALIZER = "etl.router/service"


class ServiceReconciler:
    """Reconciles one EtlSource, EtlTransform or EtlSink at a time; one instance per kind."""

    def __init__(self, context: Context, resource: Resource) -> None:
        self._context = context
        self._resource = resource
        self._informer = context.informers[resource]
        self.manager = f"etl-operator/{resource.kind.removeprefix('Etl').lower()}"
        settings = context.settings
        self._pauses = Pauses(settings.retry_base, settings.retry_limit)
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
        choice = choose_cluster(key.namespace, spec_of(obj), self._context.informers[CLUSTER])
        home = home_of(view, self._context.informers[CLUSTER])
        if home is None:
            return await self._homeless(key, obj, conditions, choice)
        rival = self._rival(view, home)
        if rival:
            return await self._homeless(
                key, obj, conditions, ClusterChoice(reason=r.NAME_CONFLICT, message=rival)
            )
        return await self._register(key, obj, home, conditions, choice)

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

    async def _register(
        self,
        key: ObjectKey,
        obj: Object,
        cluster: View,
        conditions: Conditions,
        choice: ClusterChoice | None = None,
    ) -> Result:
        await self._hold(obj)
        wanted = registration(self._resource, obj)
        where = ready_addresses(self._context.informers[POD], cluster, self._context.settings.cluster_domain)
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
        health, again = await self._probe(obj, wanted)
        judge_service(registered, health, conditions)
        if choice is not None and choice.cluster is None:
            conditions.working(choice.reason, f"{choice.message}; it stays registered with {cluster.key}")
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

    async def _probe(self, obj: Object, wanted: Registration) -> tuple[Health | None, float | None]:
        enabled, interval = probe_settings(spec_of(obj))
        if not enabled:
            return None, None
        return await probe(wanted.host, wanted.port, wanted.use_tls), interval

    async def _homeless(
        self, key: ObjectKey, obj: Object, conditions: Conditions, choice: ClusterChoice
    ) -> Result:
        """Nowhere to be registered: no cluster, or the name is somebody else's there."""
        if not self._shared(key):
            self._context.keeper.want(registration(self._resource, obj), ())
        conditions.set(r.REGISTERED, False, choice.reason, choice.message)
        conditions.clear(r.ENDPOINT_HEALTHY)
        if choice.reason == r.NAME_CONFLICT:
            conditions.stalled(choice.reason, choice.message)
        else:
            conditions.working(choice.reason, choice.message)
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
        if await write_status(
            context.client, self._resource, self._informer, obj, status, self.manager, context.statuses
        ):
            self._announce(obj, conditions)
        self._context.metrics.ready(self._resource.kind, key, conditions.is_true(r.READY))
        return Result.done() if again is None else Result.after(again)

    def _announce(self, obj: Object, conditions: Conditions) -> None:
        registered = conditions.turned(r.REGISTERED)
        if registered and registered["status"] == "True":
            self._event(obj, "Normal", r.SERVICE_REGISTERED, "Register", registered["message"])
        elif registered and registered["reason"] == r.RETRYING:
            self._event(obj, "Warning", r.REGISTRATION_FAILED, "Register", registered["message"])
        elif registered and registered["reason"] == r.NAME_CONFLICT:
            self._event(obj, "Warning", r.NAME_CONFLICT, "Register", registered["message"])
        elif registered and registered["reason"] in (r.CLUSTER_NOT_FOUND, r.AMBIGUOUS_CLUSTER, r.NOT_ALLOWED):
            self._event(obj, "Warning", r.REFERENCE_NOT_FOUND, "Register", registered["message"])
        blocked = conditions.turned(r.DELETION_BLOCKED)
        if blocked:
            self._event(obj, "Warning", r.DELETION_BLOCKED_EVENT, "Delete", blocked["message"])

    async def _hold(self, obj: Object) -> None:
        """The finalizer comes before the first registration."""
        if FINALIZER not in (obj["metadata"].get("finalizers") or ()):
            answer = await add_finalizer(
                self._context.client, self._resource, obj, FINALIZER, field_manager=self.manager
            )
            if answer is not None:
                self._informer.written(answer)

    # -- deletion ---------------------------------------------------------------------------------

    async def _finalize(self, key: ObjectKey, view: View, obj: Object, conditions: Conditions) -> Result:
        if FINALIZER not in view.finalizers:
            return Result.done()
        name = (obj.get("status") or {}).get("cluster") or ""
        cluster = self._context.informers[CLUSTER].get(_parse(name)) if name else None
        release = release_early(obj, cluster, name)
        ending = release is None and cluster is not None and await ends(self._context.client, key.namespace)
        if ending and cluster is not None:
            release = release_with_namespace(obj, cluster)
        # The users are of the same namespace, and go with it.
        users = [] if ending else users_of(self._resource, key, self._context.informers[PIPELINE])
        if users and not (release and release.reason == r.FINALIZER_FORCED):
            # The pipelines' own events bring this key back, so no timer is needed.
            message = f"used by {PIPELINE.kind} {', '.join(users)}"
            conditions.set(r.DELETION_BLOCKED, True, r.IN_USE, message)
            if cluster is not None and release is None and not self._rival(view, cluster):
                # Its pipelines still run: the registration must not lapse while the deletion waits.
                return await self._register(key, obj, cluster, conditions)
            return await self._write(key, obj, {}, conditions, None)
        conditions.clear(r.DELETION_BLOCKED)
        waits = ""
        if release is None and cluster is not None:
            release, waits = await self._deregister(key, obj, cluster, ending)
        if release is None:
            conditions.working(r.DELETING, waits)
            return await self._write(key, obj, {}, conditions, self._pauses.next(key))
        await self._release(key, obj, release)
        return Result.done()

    async def _deregister(
        self, key: ObjectKey, obj: Object, cluster: View, ending: bool
    ) -> tuple[Release | None, str]:
        """Ask every ready pod: after a restart the keeper does not know where it was registered.

        :param ending: the namespace is being deleted: there is one try.
        :return: the release, or what the deletion waits for.
        """
        if self._shared(key):
            note = "the registration belongs to another kind's object of this name"
            return Release(False, r.RELEASED, note), ""
        settings = self._context.settings
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
            return let_go(obj, problem), ""
        if overdue(obj, self._context.clock.time(), settings.release_deadline):
            return give_up(settings.release_deadline, problem), ""
        return None, waiting_to_go(settings.release_deadline, problem)

    async def _release(self, key: ObjectKey, obj: Object, release: Release) -> None:
        await self._forget(key)
        with suppress(NotFound):
            await remove_finalizer(
                self._context.client, self._resource, obj, FINALIZER, field_manager=self.manager
            )
        kind: Literal["Normal", "Warning"] = "Warning" if release.warning else "Normal"
        self._event(obj, kind, release.reason, "Delete", release.note)

    def _shared(self, key: ObjectKey) -> bool:
        """Whether another kind has an object of this name: ids do not tell kinds apart."""
        others = (resource for resource in SERVICES if resource != self._resource)
        return any(self._context.informers[resource].get(key) is not None for resource in others)

    async def _forget(self, key: ObjectKey) -> None:
        if not self._shared(key):
            await self._context.keeper.drop(service_id(key))
        self._pauses.clear(key)
        self._joining.pop(key, None)
        self._context.metrics.forget(self._resource.kind, key)

    def _event(
        self, obj: Object, kind: Literal["Normal", "Warning"], reason: str, act: str, note: str
    ) -> None:
        self._context.events.event(obj, type=kind, reason=reason, action=act, note=note)


def _parse(name: str) -> ObjectKey:
    namespace, _, bare = name.partition("/")
    return ObjectKey(namespace, bare)
