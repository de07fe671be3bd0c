"""Bringing the children of one cluster in line with what its spec asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from controllers.applying.apply import Applier, NameConflict, Outcome
from controllers.cluster import children
from controllers.cluster.observation import Observation, live_members
from controllers.cluster.statefulset import stateful_set, with_claims_of
from controllers.objects.kinds import STATEFUL_SET
from controllers.status import reasons as r
from controllers.wiring.context import Context
from etl_operator.api import CLUSTER, EtlRouterCluster
from informers.errors import BadRequest, Forbidden, Invalid
from informers.objects import Object, ObjectKey


class ChildEnsurer:
    """Applies the children of clusters.

    :param manager: the field manager.
    """

    def __init__(self, context: Context, manager: str) -> None:
        self._context = context
        self._applier = Applier(
            context.client,
            context.informers,
            manager,
            clock=context.clock,
            overridden=lambda obj, note: self._event(obj, "Warning", r.FIELD_OVERRIDDEN, "Apply", note),
        )

    async def ensured(self, obj: Object, cluster: EtlRouterCluster, seen: Observation) -> Observation:
        """Bring the children in line; the very ``seen`` when there was nothing to do."""
        try:
            changed = await self._ensure(obj, cluster, seen)
        except NameConflict as conflict:
            return replace(seen, conflict=str(conflict))
        except (Invalid, BadRequest) as error:
            return replace(seen, refused=str(error))
        except Forbidden as error:
            if error.namespace_ends:
                raise
            # A quota, an admission policy or a missing right: only the user can help; the condition says so.
            return replace(seen, refused=str(error))
        return replace(seen, superseded=True) if changed else seen

    def held_back(self, obj: Object, cluster: EtlRouterCluster, seen: Observation) -> bool:
        """Whether there is anything to do that the pause forbids."""
        wanted = [
            *children.desired(cluster, seen.members.target),
            (STATEFUL_SET, self._stateful_set(cluster, seen)),
        ]
        waits = seen.volumes.grow or cluster.spec.replicas > seen.members.target or not seen.current
        return bool(waits) or any(
            self._applier.pending(resource, desired, obj, CLUSTER) for resource, desired in wanted
        )

    async def _ensure(self, obj: Object, cluster: EtlRouterCluster, seen: Observation) -> bool:
        """True when the StatefulSet changed, so that its status is about an older template."""
        members = seen.members.target
        for resource, desired in children.desired(cluster, members):
            await self._applier.ensure(resource, desired, obj, CLUSTER)
        for resource, key in children.obsolete(cluster, members):
            await self._applier.remove(resource, key, obj)
        desired = self._stateful_set(cluster, seen)
        outcome = await self._applier.ensure(STATEFUL_SET, desired, obj, CLUSTER)
        self._record_outcome(obj, outcome, seen, members)
        return outcome is not Outcome.UNCHANGED

    def _stateful_set(self, cluster: EtlRouterCluster, seen: Observation) -> Object:
        desired = stateful_set(cluster, self._context.settings, seen.members.target, seen.encryption)
        return desired if seen.stateful_set is None else with_claims_of(desired, seen.stateful_set)

    def _record_outcome(self, obj: Object, outcome: Outcome, seen: Observation, members: int) -> None:
        live = live_members(seen.stateful_set)
        if outcome is Outcome.CREATED:
            self._event(obj, "Normal", r.CREATED, "Create", f"created StatefulSet with {members} members")
        elif outcome is Outcome.ADOPTED:
            self._event(obj, "Normal", r.ADOPTED, "Adopt", "adopted the existing StatefulSet")
        elif outcome is Outcome.UPDATED and live is not None and members > live:
            self._event(obj, "Normal", r.SCALING_UP, "Scale", f"scaling up from {live} to {members} members")
        elif outcome is Outcome.UPDATED:
            self._event(obj, "Normal", r.UPDATED, "Update", "updated the StatefulSet")

    def forget(self, key: ObjectKey) -> None:
        """The cluster is gone."""
        self._applier.forget(key)

    def _event(
        self, obj: Object, kind: Literal["Normal", "Warning"], reason: str, action: str, note: str
    ) -> None:
        self._context.events.event(obj, type=kind, reason=reason, action=action, note=note)
