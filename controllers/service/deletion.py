"""A deleted service: what has to happen in the routers before the object may go."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controllers.finalizing.endings import Ending, Endings
from controllers.finalizing.release import (
    Release,
    forced,
    give_up,
    let_go,
    orphaned,
    release_with,
    release_without,
    waiting_to_go,
)
from controllers.members.reach import ready_addresses
from controllers.objects.kinds import POD
from controllers.objects.specs import status_of, text
from controllers.references.clusters import key_of
from controllers.references.services import users_of
from controllers.retrying.pauses import Waiting
from controllers.service.registration import service_id, shared
from controllers.status import reasons as r
from controllers.wiring.context import Context
from etl_operator.api import CLUSTER, PIPELINE
from etl_operator.router.errors import RouterError
from informers.objects import Object, ObjectKey, Resource
from informers.views.view import View

_LEASE = "its registration expires with the lease, because there are no more heartbeats"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of a look at a deleted service."""

    release: Release | None = None
    """The object may go."""
    waits: str = ""
    """What the deletion waits for, in the routers."""
    users: Sequence[str] = ()
    """Pipelines that use it: no router is asked to forget it before they are gone."""
    cluster: View | None = None
    """Where it stays registered meanwhile, if that matters any more."""


class ServiceDeletion:
    """Takes deleted services of one kind out of the routers, or lets them be."""

    def __init__(self, context: Context, resource: Resource) -> None:
        self._context = context
        self._resource = resource
        self._waiting = Waiting(context.clock)
        self._endings = Endings(context.client, context.clock)

    def forget(self, key: ObjectKey) -> None:
        """The object is gone."""
        self._waiting.over(key)

    async def attempt(self, key: ObjectKey, obj: Object) -> Attempt:
        """The release, or what the deletion waits for."""
        if release := forced(obj, _LEASE):
            return Attempt(release)
        name = text(status_of(obj), "cluster")
        cluster = self._context.informers[CLUSTER].get(key_of(name)) if name else None
        release = release_without(cluster, name)
        ending = await self._endings.of(self._resource, key, key_of(name))
        if release is None and cluster is not None and ending and ending.with_cluster:
            release = release_with(ending, cluster)
        # The users go as well, or have lost what they use permanently.
        users = [] if ending else users_of(self._resource, key, self._context.informers[PIPELINE])
        if users:
            return Attempt(users=users, cluster=None if release else cluster)
        if release is None and orphaned(obj):
            release = Release(
                False, r.ORPHANED, f"deletionPolicy is Orphan: the router was not called; {_LEASE}"
            )
        if release is None and cluster is not None:
            return await self._deregister(key, obj, cluster, ending)
        return Attempt(release)

    async def _deregister(self, key: ObjectKey, obj: Object, cluster: View, ending: Ending | None) -> Attempt:
        """Have the routers forget it.

        :param ending: there is one try.
        """
        if shared(key, self._resource, self._context.informers):
            note = "the registration belongs to an object of another kind with the same name"
            return Attempt(Release(False, r.RELEASED, note))
        settings = self._context.settings
        waited = self._waiting.seconds(key, obj["metadata"]["uid"])
        where = ready_addresses(self._context.informers[POD], cluster, settings.cluster_domain)
        failures = await self._ask(key, where)
        if not failures:
            note = f"deregistered from {len(where)} members"
            return Attempt(Release(False, r.SERVICE_DEREGISTERED, note))
        problem = str(next(iter(failures.values())))
        if ending:
            return Attempt(let_go(ending, problem))
        if waited >= settings.release_deadline:
            return Attempt(give_up(settings.release_deadline, problem))
        return Attempt(waits=waiting_to_go(settings.release_deadline, problem))

    async def _ask(self, key: ObjectKey, where: Sequence[str]) -> Mapping[str, Exception]:
        """Ask every ready pod: after a restart the keeper does not know where it was registered.

        :return: by address: why one did not do it.
        """
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
        return failures
