"""What a pass over one cluster comes to: its status, events, metrics, and the next look."""

from __future__ import annotations

from typing import Literal

from controllers.cluster.events import record_transitions, record_warnings
from controllers.cluster.memory import Memory
from controllers.cluster.observation import Observation
from controllers.cluster.status import cluster_status
from controllers.status import reasons as r
from controllers.status.conditions import Conditions
from controllers.status.writing import write_status
from controllers.wiring.context import Context
from etl_operator.api import CLUSTER, EtlRouterCluster
from informers.clock import timestamp
from informers.objects import Object, ObjectKey, Result

_NO_SPARE = 2
"""Members of a cluster that has no quorum while one of them restarts."""


class Reporter:
    """Reports on clusters.

    :param manager: the field manager of the status.
    """

    def __init__(self, context: Context, manager: str) -> None:
        self._context = context
        self._manager = manager

    async def report(
        self, key: ObjectKey, obj: Object, cluster: EtlRouterCluster, seen: Observation, memory: Memory
    ) -> Result:
        """Write the status if it differs, record events, and return when to reconcile again."""
        now = timestamp(self._context.clock.time())
        conditions = Conditions(obj, cluster.metadata.generation or 0, now)
        status = cluster_status(cluster, seen, conditions)
        context = self._context
        if await write_status(
            context.client, CLUSTER, context.informers[CLUSTER], obj, status, self._manager, context.statuses
        ):
            memory.moved_at = self._context.clock.monotonic()
            # Events follow the write, so that a status that failed to be written is not announced twice.
            record_warnings(self._context.events, obj, cluster)
            # Without the one member, or one of two, that the operator restarts there is no quorum.
            own = bool(memory.restarting) and seen.consensus.members <= _NO_SPARE
            record_transitions(self._context.events, obj, conditions, led=bool(memory.leader_id), own=own)
        self._note_leader(key, obj, seen, memory)
        self._note_blocked(obj, seen, memory)
        self._note_expiring(obj, seen, memory)
        self._context.metrics.consensus(key, seen.consensus)
        ready = conditions.is_true(r.READY)
        self._context.metrics.ready(CLUSTER.kind, key, ready)
        if seen.momentary:
            return Result.after(self._context.settings.busy_interval)
        return Result.after(self._context.settings.poll_interval if ready else self._pause(memory))

    def _pause(self, memory: Memory) -> float:
        """Seconds to the next look at a cluster that is not Ready.

        What the watches see brings it back at once; only what the members know has to be asked for.
        """
        settings = self._context.settings
        still = self._context.clock.monotonic() - memory.moved_at
        return min(max(settings.busy_interval, still / 10), settings.idle_interval)

    def _note_blocked(self, obj: Object, seen: Observation, memory: Memory) -> None:
        """Warn of a roll that has waited for too long, once until it continues."""
        blocked = seen.step.restart.blocked
        waited = memory.sights.lasted("roll", bool(blocked), self._context.clock.monotonic())
        if not blocked:
            memory.told_blocked = False
        elif not memory.told_blocked and waited >= self._context.settings.blocked_after:
            memory.told_blocked = True
            note = f"the rollout has been waiting for {waited:.0f} s: {blocked}"
            self._event(obj, "Warning", r.ROLLOUT_BLOCKED, "Restart", note)

    def _note_expiring(self, obj: Object, seen: Observation, memory: Memory) -> None:
        """Warn of a certificate that nobody has renewed in time, once."""
        if seen.certificates.problem:
            return
        for one in seen.certificates.known:
            if one.expires_soon(self._context.clock.time()) and one not in memory.certificates.told:
                memory.certificates.told.add(one)
                note = f"Secret {one.secret}: {one.key} expires at {timestamp(one.not_after)}"
                self._event(obj, "Warning", r.CERTIFICATE_EXPIRING, "Observe", note)

    def _note_leader(self, key: ObjectKey, obj: Object, seen: Observation, memory: Memory) -> None:
        leader = seen.consensus.leader_id
        if not leader:
            return
        before = memory.leader_id or (obj.get("status") or {}).get("leaderId") or 0
        memory.leader_id = leader
        if before and before != leader:
            self._context.metrics.leader_changed(key)
            note = f"the leader is node {leader}, it was node {before} (term {seen.consensus.term})"
            self._event(obj, "Normal", r.LEADER_CHANGED, "Observe", note)

    def _event(
        self, obj: Object, kind: Literal["Normal", "Warning"], reason: str, action: str, note: str
    ) -> None:
        self._context.events.event(obj, type=kind, reason=reason, action=action, note=note)
