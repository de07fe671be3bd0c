"""The StatefulSet loop: carries out what :mod:`~etl_operator.sandbox.loops.statefulset` decides."""

from __future__ import annotations

import contextlib
from typing import Protocol

from etl_operator.sandbox.loops.kinds import CONTROLLER_REVISION, POD, PVC
from etl_operator.sandbox.loops.revisions import (
    LABEL,
    known_revisions,
    revision_of,
    stored_revision,
    surplus_revisions,
)
from etl_operator.sandbox.loops.statefulset import Plan, owner_of, plan
from etl_operator.sandbox.loops.writing import set_owners, write_status
from informers.cache.informer import Informer
from informers.client import Client
from informers.clock import Clock
from informers.errors import AlreadyExists, ApiError, Conflict, NotFound
from informers.events import EventRecorder
from informers.objects import Object, ObjectKey


class Caches(Protocol):
    """What the loop reads."""

    stateful_sets: Informer
    pods: Informer
    claims: Informer
    revisions: Informer


class StatefulSetLoop:
    """One step per call of :meth:`sync`; nothing is remembered between steps."""

    def __init__(self, client: Client, caches: Caches, clock: Clock, events: EventRecorder) -> None:
        self._client = client
        self._caches = caches
        self._clock = clock
        self._events = events

    async def sync(self, key: ObjectKey) -> float | None:
        """Bring the set's pods one step closer to its spec; seconds until to look again, or ``None``."""
        caches = self._caches
        view = caches.stateful_sets.get(key)
        if view is None:
            return None
        stateful_set = view.object()
        stored = [one.object() for one in caches.revisions.list(key.namespace)]
        update = revision_of(stateful_set)
        result = plan(
            stateful_set,
            [one.object() for one in caches.pods.list(key.namespace)],
            [one.object() for one in caches.claims.list(key.namespace)],
            known_revisions(stateful_set, stored),
            update,
            self._clock.time(),
        )
        if not view.deleting:
            await self._remember(stateful_set, stored)
            await self._adopt(stateful_set, result)
            await self._carry_out(stateful_set, result)
        await write_status(self._client, caches.stateful_sets, stateful_set, result.status)
        await self._forget(stateful_set, stored, result)
        return result.look_again_in

    async def _remember(self, stateful_set: Object, stored: list[Object]) -> None:
        revision = stored_revision(stateful_set, stored, owner_of(stateful_set))
        if revision is None:
            return
        if "resourceVersion" in revision["metadata"]:
            answer = await self._client.update(CONTROLLER_REVISION, revision)
        else:
            answer = await self._client.create(CONTROLLER_REVISION, revision)
        self._caches.revisions.written(answer)

    async def _adopt(self, stateful_set: Object, result: Plan) -> None:
        for pod in result.adopt:
            await set_owners(self._client, self._caches.pods, pod, [owner_of(stateful_set)])

    async def _carry_out(self, stateful_set: Object, result: Plan) -> None:
        for claim in result.claims:
            # Someone was faster, or the cache is behind: the claim is there, which is all that counts.
            with contextlib.suppress(AlreadyExists):
                self._caches.claims.written(await self._client.create(PVC, claim))
        for claim in result.claim_owners:
            await set_owners(self._client, self._caches.claims, claim, claim["metadata"]["ownerReferences"])
        for pod in result.create:
            await self._create(stateful_set, pod)
        for pod in result.delete:
            with contextlib.suppress(NotFound, Conflict):
                await self._client.delete(POD, ObjectKey.of(pod), uid=pod["metadata"]["uid"])

    async def _create(self, stateful_set: Object, pod: Object) -> None:
        try:
            with contextlib.suppress(AlreadyExists):
                self._caches.pods.written(await self._client.create(POD, pod))
        except ApiError as error:
            # Admission refuses pods: nobody but the set's author can do anything about that.
            name = f"Pod {pod['metadata']['name']} in StatefulSet {stateful_set['metadata']['name']}"
            note = f"create {name} failed error: {error}"
            self._events.event(
                stateful_set, type="Warning", reason="FailedCreate", action="CreatePod", note=note
            )
            raise

    async def _forget(self, stateful_set: Object, stored: list[Object], result: Plan) -> None:
        pods = self._caches.pods.list(stateful_set["metadata"]["namespace"])
        used = {pod.labels.get(LABEL, "") for pod in pods}
        used |= {result.status["currentRevision"], result.status["updateRevision"]}
        for revision in surplus_revisions(stateful_set, stored, used):
            with contextlib.suppress(NotFound):
                await self._client.delete(CONTROLLER_REVISION, ObjectKey.of(revision))
