"""The loops of Deployments and ReplicaSets: they carry out what the modules beside this one decide."""

from __future__ import annotations

import contextlib
from typing import Any, Literal, Protocol

from etl_operator.sandbox.loops.deployment import (
    REVISION,
    Plan,
    plan_rollout,
)
from etl_operator.sandbox.loops.kinds import DEPLOYMENT, POD, REPLICA_SET
from etl_operator.sandbox.loops.owners import owner_reference, owners_without
from etl_operator.sandbox.loops.replicaset import (
    PodPlan,
    failed_condition,
    plan_pods,
)
from etl_operator.sandbox.loops.rollout import rollout_status
from etl_operator.sandbox.loops.workloads import wanted
from etl_operator.sandbox.loops.writing import set_owners, write_status
from informers.cache.informer import Informer
from informers.client import Client
from informers.clock import Clock, timestamp
from informers.errors import AlreadyExists, ApiError, Conflict, NotFound
from informers.events import EventRecorder
from informers.objects import Object, ObjectKey


class Caches(Protocol):
    """What the loops read."""

    deployments: Informer
    replica_sets: Informer
    pods: Informer


class ReplicaSetLoop:
    """One step per call of :meth:`sync`. Remembers the pods it has just deleted, until the cache shows it."""

    def __init__(self, client: Client, caches: Caches, clock: Clock, events: EventRecorder) -> None:
        self._client = client
        self._caches = caches
        self._clock = clock
        self._events = events
        self._deleted: dict[ObjectKey, set[str]] = {}

    async def sync(self, key: ObjectKey) -> float | None:
        """Bring the number of pods to what is wanted; seconds until to look again, or ``None``."""
        view = self._caches.replica_sets.get(key)
        if view is None:
            self._deleted.pop(key, None)
            return None
        replica_set = view.object()
        pods = [one for one in self._caches.pods.list(key.namespace) if not one.deleting]
        gone = self._deleted.get(key, set()) & {one.uid for one in pods}
        self._deleted[key] = gone
        objects = [one.object() for one in pods if one.uid not in gone]
        result = plan_pods(replica_set, objects, self._clock.time())
        await self._own(replica_set, result)
        problem: str | None = None
        try:
            await self._carry_out(replica_set, result, gone)
        except ApiError as error:
            problem = f"{'FailedCreate' if result.create else 'FailedDelete'}: {error}"
            raise
        finally:
            await self._report(replica_set, result, problem)
        return result.look_again_in

    async def _own(self, replica_set: Object, result: PodPlan) -> None:
        mine = owner_reference(replica_set, REPLICA_SET)
        for pod in result.adopt:
            await set_owners(self._client, self._caches.pods, pod, [mine])
        for pod in result.release:
            await set_owners(self._client, self._caches.pods, pod, owners_without(pod, replica_set))

    async def _carry_out(self, replica_set: Object, result: PodPlan, gone: set[str]) -> None:
        for pod in result.create:
            try:
                made = await self._client.create(POD, pod)
            except ApiError as error:
                self._tell(replica_set, "Warning", "FailedCreate", "CreatePod", f"Error creating: {error}")
                raise
            self._caches.pods.written(made)
            name = made["metadata"]["name"]
            self._tell(replica_set, "Normal", "SuccessfulCreate", "CreatePod", f"Created pod: {name}")
        for pod in result.delete:
            meta = pod["metadata"]
            with contextlib.suppress(NotFound, Conflict):
                await self._client.delete(POD, ObjectKey.of(pod), uid=meta["uid"])
                gone.add(meta["uid"])
                note = f"Deleted pod: {meta['name']}"
                self._tell(replica_set, "Normal", "SuccessfulDelete", "DeletePod", note)

    async def _report(self, replica_set: Object, result: PodPlan, problem: str | None) -> None:
        before = replica_set.get("status") or {}
        conditions = failed_condition(before, replica_set, problem, timestamp(self._clock.time()))
        status = dict(result.status)
        if conditions or before.get("conditions"):
            status["conditions"] = conditions
        await write_status(self._client, self._caches.replica_sets, replica_set, status)

    def _tell(
        self, obj: Object, kind: Literal["Normal", "Warning"], reason: str, action: str, note: str
    ) -> None:
        self._events.event(obj, type=kind, reason=reason, action=action, note=note)


class DeploymentLoop:
    """One step per call of :meth:`sync`; nothing is remembered between steps."""

    def __init__(self, client: Client, caches: Caches, clock: Clock, events: EventRecorder) -> None:
        self._client = client
        self._caches = caches
        self._clock = clock
        self._events = events

    async def sync(self, key: ObjectKey) -> float | None:
        """Bring the rollout one step further; seconds until to look again, or ``None``."""
        view = self._caches.deployments.get(key)
        if view is None:
            return None
        deployment = view.object()
        result = plan_rollout(
            deployment,
            [one.object() for one in self._caches.replica_sets.list(key.namespace)],
            [one.object() for one in self._caches.pods.list(key.namespace)],
        )
        await self._own(deployment, result)
        newest = await self._carry_out(deployment, result)
        await self._mark(deployment, result.revision)
        own = [one for one in (self._now(each) for each in result.own) if one is not None]
        if newest is not None and newest["metadata"]["uid"] not in {one["metadata"]["uid"] for one in own}:
            own.append(newest)
        now = self._clock.time()
        rollout = rollout_status(deployment, result, own, newest, now, timestamp(now))
        await write_status(self._client, self._caches.deployments, deployment, rollout.status)
        return rollout.look_again_in

    def _now(self, replica_set: Object) -> Object | None:
        view = self._caches.replica_sets.get(ObjectKey.of(replica_set))
        return view.object() if view is not None and view.uid == replica_set["metadata"]["uid"] else None

    async def _own(self, deployment: Object, result: Plan) -> None:
        mine = owner_reference(deployment, DEPLOYMENT)
        for one in result.adopt:
            await set_owners(self._client, self._caches.replica_sets, one, [mine])
        for one in result.release:
            await set_owners(self._client, self._caches.replica_sets, one, owners_without(one, deployment))

    async def _carry_out(self, deployment: Object, result: Plan) -> Object | None:
        """Returns the ReplicaSet of the current template as it is now."""
        cache, newest = self._caches.replica_sets, result.newest
        if result.create is not None:
            newest = await self._create(deployment, result.create)
        for one, patch in result.annotate:
            await self._patch(one, patch)
        for one, size in result.scale:
            if await self._patch(one, {"spec": {"replicas": size}}):
                self._scaled(deployment, one, wanted(one), size)
        for one in result.delete:
            with contextlib.suppress(NotFound, Conflict):
                gone = await self._client.delete(
                    REPLICA_SET, ObjectKey.of(one), uid=one["metadata"]["uid"], propagation="Background"
                )
                cache.written(gone)
        return self._now(newest) if newest is not None else None

    async def _create(self, deployment: Object, body: Object) -> Object:
        """Returns the new ReplicaSet, or the one that an earlier step of this Deployment created.

        :raises AlreadyExists: another object has the name; the next step chooses another one.
        """
        try:
            made = await self._client.create(REPLICA_SET, body)
        except AlreadyExists:
            taken = await self._client.get(REPLICA_SET, ObjectKey.of(body))
            owners = taken["metadata"].get("ownerReferences") or ()
            if any(one["uid"] == deployment["metadata"]["uid"] for one in owners):
                # The answer to an earlier try was lost.
                self._caches.replica_sets.written(taken)
                return taken
            count = int((deployment.get("status") or {}).get("collisionCount") or 0) + 1
            await write_status(self._client, self._caches.deployments, deployment, {"collisionCount": count})
            raise
        self._caches.replica_sets.written(made)
        self._scaled(deployment, made, 0, wanted(made))
        return made

    async def _patch(self, replica_set: Object, patch: dict[str, Any]) -> bool:
        meta = {**patch.get("metadata", {}), "uid": replica_set["metadata"]["uid"]}
        try:
            answer = await self._client.patch(
                REPLICA_SET, ObjectKey.of(replica_set), {**patch, "metadata": meta}
            )
        except (NotFound, Conflict):
            return False
        self._caches.replica_sets.written(answer)
        return True

    async def _mark(self, deployment: Object, revision: str) -> None:
        """The Deployment shows the revision of its current template."""
        if not revision or (deployment["metadata"].get("annotations") or {}).get(REVISION) == revision:
            return
        patch = {"metadata": {"uid": deployment["metadata"]["uid"], "annotations": {REVISION: revision}}}
        with contextlib.suppress(NotFound, Conflict):
            self._caches.deployments.written(
                await self._client.patch(DEPLOYMENT, ObjectKey.of(deployment), patch)
            )

    def _scaled(self, deployment: Object, replica_set: Object, before: int, now: int) -> None:
        if before == now:
            return
        note = (
            f"Scaled {'up' if now > before else 'down'} replica set {replica_set['metadata']['name']} "
            f"from {before} to {now}"
        )
        self._events.event(
            deployment, type="Normal", reason="ScalingReplicaSet", action="ScalingReplicaSet", note=note
        )
