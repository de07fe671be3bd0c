"""ClusterController: children first, then one careful step, then the truth in the status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from controllers.applying.apply import Applier, NameConflict, Outcome
from controllers.cluster import children, polling
from controllers.cluster.events import record_transitions, record_warnings
from controllers.cluster.growth import grow_claim
from controllers.cluster.memory import Memory, Refusal
from controllers.cluster.observation import Observation
from controllers.cluster.planning import Patience, next_step
from controllers.cluster.rollout import Step, plan_members
from controllers.cluster.statefulset import stateful_set, with_claims_of
from controllers.cluster.status import cluster_status
from controllers.cluster.volumes import VolumePlan, plan_volumes
from controllers.members import naming
from controllers.members.facts import NodeFacts, PodFacts, judge
from controllers.members.reach import facts_of
from controllers.objects.kinds import POD, PVC, STATEFUL_SET
from controllers.status import reasons as r
from controllers.status.conditions import Conditions
from controllers.status.writing import write_status
from controllers.wiring.context import Context
from etl_operator.api import CLUSTER, EtlRouterCluster
from etl_operator.router.cluster import RouterCluster
from informers.clock import timestamp
from informers.errors import BadRequest, Forbidden, Invalid, NotFound
from informers.objects import Object, ObjectKey, Result

MANAGER = "etl-operator/cluster"
PAUSED_ANNOTATION = "etl.router/paused"
_NO_TLS = (
    "spec.tls is not supported yet: the router would not encrypt connections. Remove spec.tls; until then "
    "the operator neither creates nor changes objects of the cluster"
)
_ELECTIONS = 3
"""Elections that may fail in a row, by split votes, until a missing leader is no ordinary hand-over."""
_NO_SPARE = 2
"""Members of a cluster that has no quorum while one of them restarts."""
_ASK_AGAIN = 60.0
"""Seconds after which claims that could not grow are tried again: a class may have been changed."""


class ClusterReconciler:
    """Reconciles one EtlRouterCluster at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._applier = Applier(
            context.client,
            context.informers,
            MANAGER,
            clock=context.clock,
            overridden=lambda obj, note: self._event(obj, "Warning", r.FIELD_OVERRIDDEN, "Apply", note),
        )
        self._memory: dict[ObjectKey, Memory] = {}

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring the children in line, take at most one step, write the status if it changed."""
        view = self._context.informers[CLUSTER].get(key)
        if view is None or view.deleting:
            # Children follow their owner through garbage collection; nothing remote is left to undo.
            self._forget(key)
            return Result.done()
        obj = view.object()
        cluster = EtlRouterCluster.model_validate(obj)
        memory = self._memory.setdefault(key, Memory(self._context.clock.monotonic()))
        seen = await self._observe(key, cluster, memory)
        if seen.paused:
            seen = replace(seen, held_back=self._held_back(obj, cluster, seen))
        elif not seen.unsupported:
            try:
                seen = await self._act(obj, cluster, seen, memory)
            except Forbidden as error:
                if error.namespace_ends:
                    # The cluster itself goes with its namespace, in a moment.
                    return Result.done()
                raise
        return await self._report(key, obj, cluster, seen, memory)

    async def _observe(self, key: ObjectKey, cluster: EtlRouterCluster, memory: Memory) -> Observation:
        live = self._live(key)
        pods = memory.lasting(self._pods(key, live, memory))
        nodes = await self._ask(key, pods)
        members = _live_members(live)
        claims = self._claims(key, members or 0)
        volumes = plan_volumes(list(claims.values()), cluster.spec.storage.size)
        seen = Observation(
            stateful_set=live,
            pods=pods,
            nodes=nodes,
            consensus=judge(nodes, members or cluster.spec.replicas),
            members=plan_members(cluster.spec.replicas, members, settled=False),
            volumes=volumes,
            volumes_error=_growth_problem(volumes, cluster, memory),
            paused=(cluster.metadata.annotations or {}).get(PAUSED_ANNOTATION) == "true",
            protocol=self._protocol(cluster, nodes),
            domain=self._context.settings.cluster_domain,
            unsupported=_NO_TLS if cluster.spec.tls is not None else "",
        )
        seen = self._over_time(cluster, seen, memory)
        now = self._context.clock.monotonic()
        return await memory.explanations.applied(
            self._context.client, key.namespace, seen, claims, memory.sights, now
        )

    def _over_time(self, cluster: EtlRouterCluster, seen: Observation, memory: Memory) -> Observation:
        """What only the looks before can tell: who has been silent for long, and what is over in a moment."""
        now, sights = self._context.clock.monotonic(), memory.sights
        grace = max(self._context.settings.silence_grace, _ELECTIONS * _election(cluster))
        errors = {node.ordinal for node in seen.nodes if node.error and not node.unimplemented}
        silent = {
            pod.name
            for pod in seen.pods
            if sights.lasted(f"silent {pod.name}", pod.ready and pod.ordinal in errors, now) >= grace
        }
        consensus = seen.consensus
        # A lost quorum has a clock of its own: a member may have been away for long before.
        shaken = sights.lasted("shaken", not consensus.complete, now)
        lost = sights.lasted("no quorum", not consensus.quorate, now)
        lasted = shaken if consensus.quorate else lost
        momentary = not consensus.complete and not consensus.split and lasted < grace
        in_vain = memory.in_vain(seen.at_start(cluster.metadata.name))
        return replace(seen, in_vain=in_vain, silent=frozenset(silent), momentary=momentary)

    async def _act(
        self, obj: Object, cluster: EtlRouterCluster, seen: Observation, memory: Memory
    ) -> Observation:
        """Children always; then at most one change of the volumes, the pods or the size."""
        after = await self._ensured(obj, cluster, seen)
        if after is not seen:
            return after
        step = self._next_step(cluster, seen, memory)
        if step.grow:
            grown, problem = await self._grow_volumes(obj, cluster, seen, memory)
            seen = replace(seen, volumes_error=problem)
            if grown:
                return replace(seen, step=step)
            step = self._next_step(cluster, seen, memory)
        seen = replace(seen, step=step)
        if step.restart.pod is not None:
            await self._restart(obj, step.restart.pod, seen, memory)
        if not step.add_member:
            return seen
        members = plan_members(cluster.spec.replicas, seen.members.target, settled=True)
        return await self._ensured(obj, cluster, replace(seen, members=members))

    def _next_step(self, cluster: EtlRouterCluster, seen: Observation, memory: Memory) -> Step:
        settings = self._context.settings
        now = self._context.clock.monotonic()
        refused = memory.refusal is not None and now - memory.refusal.at < _ASK_AGAIN
        pods = (seen.update_revision, *((pod.uid, pod.revision, pod.ready) for pod in seen.pods))
        return next_step(
            seen,
            wanted=cluster.spec.replicas,
            on_delete=cluster.spec.update_strategy == "OnDelete",
            patience=Patience(
                pods=memory.sights.lasted("pods", pods, now) >= settings.blocked_after,
                volumes=memory.sights.lasted("volumes", seen.volumes.growing, now) >= settings.resize_limit,
                refused=refused and bool(seen.volumes_error),
            ),
            due=memory.due(seen.at_start(cluster.metadata.name), now, settings.resize_online),
        )

    async def _ensured(self, obj: Object, cluster: EtlRouterCluster, seen: Observation) -> Observation:
        """Bring the children in line; the very ``seen`` when there was nothing to do."""
        try:
            changed = await self._ensure_children(obj, cluster, seen)
        except NameConflict as conflict:
            return replace(seen, conflict=str(conflict))
        except (Invalid, BadRequest) as error:
            return replace(seen, refused=str(error))
        except Forbidden as error:
            if error.namespace_ends:
                raise
            # A quota, an admission policy or a missing right: only the user can help, so the user is told.
            return replace(seen, refused=str(error))
        return replace(seen, superseded=True) if changed else seen

    async def _ensure_children(self, obj: Object, cluster: EtlRouterCluster, seen: Observation) -> bool:
        """True when the StatefulSet changed, so that its status speaks of an older template."""
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
        desired = stateful_set(cluster, self._context.settings, seen.members.target)
        return desired if seen.stateful_set is None else with_claims_of(desired, seen.stateful_set)

    def _held_back(self, obj: Object, cluster: EtlRouterCluster, seen: Observation) -> bool:
        """Whether there is anything to do that the pause forbids."""
        wanted = [
            *children.desired(cluster, seen.members.target),
            (STATEFUL_SET, self._stateful_set(cluster, seen)),
        ]
        waits = seen.volumes.grow or cluster.spec.replicas > seen.members.target or not seen.current
        return bool(waits) or any(
            self._applier.pending(resource, desired, obj, CLUSTER) for resource, desired in wanted
        )

    def _record_outcome(self, obj: Object, outcome: Outcome, seen: Observation, members: int) -> None:
        live = _live_members(seen.stateful_set)
        if outcome is Outcome.CREATED:
            self._event(obj, "Normal", r.CREATED, "Create", f"created StatefulSet with {members} members")
        elif outcome is Outcome.ADOPTED:
            self._event(obj, "Normal", r.ADOPTED, "Adopt", "adopted the existing StatefulSet")
        elif outcome is Outcome.UPDATED and live is not None and members > live:
            self._event(obj, "Normal", r.SCALING_UP, "Scale", f"scaling up from {live} to {members} members")
        elif outcome is Outcome.UPDATED:
            self._event(obj, "Normal", r.UPDATED, "Update", "updated the StatefulSet")

    async def _restart(self, obj: Object, pod: PodFacts, seen: Observation, memory: Memory) -> None:
        key = ObjectKey(obj["metadata"]["namespace"], pod.name)
        try:
            await self._context.client.delete(POD, key, uid=pod.uid)
        except NotFound:
            return
        memory.deleted_pods.add(pod.uid)
        memory.restarting.add(pod.name)
        leads = " (the leader, last)" if naming.node_id(pod.ordinal) == seen.consensus.leader_id else ""
        old = pod.revision != seen.update_revision
        why = "it runs an older template" if old else "its volume is resized at a restart"
        note = f"deleted pod {pod.name}{leads}: {why}"
        self._event(obj, "Normal", r.POD_RESTARTED, "Restart", note)

    async def _grow_volumes(
        self, obj: Object, cluster: EtlRouterCluster, seen: Observation, memory: Memory
    ) -> tuple[int, str]:
        """Patch the claims that are too small; how many of them grow, and why one cannot, or ""."""
        names, size = seen.volumes.grow, str(cluster.spec.storage.size)
        memory.refusal = None
        for grown, name in enumerate(names):
            key = ObjectKey(obj["metadata"]["namespace"], name)
            problem = await grow_claim(self._context, key, size, MANAGER)
            if problem:
                problem = f"{name} cannot be resized to {size}: {problem}"
                memory.refusal = Refusal(names, size, problem, self._context.clock.monotonic())
                return grown, problem
        return len(names), ""

    async def _report(
        self, key: ObjectKey, obj: Object, cluster: EtlRouterCluster, seen: Observation, memory: Memory
    ) -> Result:
        now = timestamp(self._context.clock.time())
        conditions = Conditions(obj, cluster.metadata.generation or 0, now)
        status = cluster_status(cluster, seen, conditions)
        context = self._context
        if await write_status(
            context.client, CLUSTER, context.informers[CLUSTER], obj, status, MANAGER, context.statuses
        ):
            memory.moved_at = self._context.clock.monotonic()
            # Events follow the write, so that a status that failed to be written is not announced twice.
            record_warnings(self._context.events, obj, cluster)
            # Without the one member, or one of two, that the operator restarts there is no quorum.
            own = bool(memory.restarting) and seen.consensus.members <= _NO_SPARE
            record_transitions(self._context.events, obj, conditions, led=bool(memory.leader_id), own=own)
        self._note_leader(key, obj, seen, memory)
        self._note_blocked(obj, seen, memory)
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
        """Warn of a roll that has waited for too long, once until it goes on."""
        blocked = seen.step.restart.blocked
        waited = memory.sights.lasted("roll", bool(blocked), self._context.clock.monotonic())
        if not blocked:
            memory.told_blocked = False
        elif not memory.told_blocked and waited >= self._context.settings.blocked_after:
            memory.told_blocked = True
            note = f"the rollout has been waiting for {waited:.0f} s: {blocked}"
            self._event(obj, "Warning", r.ROLLOUT_BLOCKED, "Restart", note)

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

    async def _ask(self, key: ObjectKey, pods: Sequence[PodFacts]) -> list[NodeFacts]:
        domain = self._context.settings.cluster_domain
        where = polling.addresses(key, pods, domain)
        return await polling.poll(RouterCluster(self._context.clients, where), key, pods, domain)

    def _protocol(self, cluster: EtlRouterCluster, nodes: Sequence[NodeFacts]) -> str:
        """By the first member that answers; while none does, as last known."""
        known = (cluster.status.protocol if cluster.status else None) or ""
        prefixes = self._context.clients.prefixes
        return next((prefixes.of(node.address) for node in nodes if node.answered), known)

    def _live(self, key: ObjectKey) -> Object | None:
        view = self._context.informers[STATEFUL_SET].get(key)
        owner = self._context.informers[CLUSTER].get(key)
        return view.object() if view and owner and view.owner_uid == owner.uid else None

    def _pods(self, key: ObjectKey, live: Object | None, memory: Memory) -> list[PodFacts]:
        if live is None:
            return []
        uid = live["metadata"]["uid"]
        views = self._context.informers[POD].by_index("cluster", str(key))
        found = [facts_of(view, key.name) for view in views if view.owner_uid == uid]
        pods = [_gone(pod) if pod.uid in memory.deleted_pods else pod for pod in found if pod]
        memory.deleted_pods &= {pod.uid for pod in pods}
        memory.restarting -= {pod.name for pod in pods if pod.ready}
        return sorted(pods, key=lambda pod: pod.ordinal)

    def _claims(self, key: ObjectKey, members: int) -> dict[str, Object]:
        """The claims of the members, by the name of their pod."""
        informer = self._context.informers[PVC]
        pods = {naming.pod_name(key.name, i): naming.claim_name(key.name, i) for i in range(members)}
        views = {pod: informer.get(ObjectKey(key.namespace, claim)) for pod, claim in pods.items()}
        return {pod: view.object() for pod, view in views.items() if view is not None and not view.deleting}

    def _event(self, obj: Object, kind: Any, reason: str, action: str, note: str) -> None:
        self._context.events.event(obj, type=kind, reason=reason, action=action, note=note)

    def _forget(self, key: ObjectKey) -> None:
        self._memory.pop(key, None)
        self._applier.forget(key)
        self._context.metrics.forget(CLUSTER.kind, key)
        self._context.metrics.forget_cluster(key)


def _election(cluster: EtlRouterCluster) -> float:
    """The longest election timeout in seconds: it is drawn from the configured one to twice that."""
    return 2 * cluster.spec.raft.election_timeout_ms / 1000


def _gone(pod: PodFacts) -> PodFacts:
    return replace(pod, terminating=True, ready=False)


def _growth_problem(volumes: VolumePlan, cluster: EtlRouterCluster, memory: Memory) -> str:
    """Why volumes cannot grow, as far as it is known, or ""."""
    size = str(cluster.spec.storage.size)
    if volumes.infeasible:
        names = ", ".join(volumes.infeasible)
        return f"{names} cannot be resized to {size}: the storage driver reports that it is not feasible"
    known = memory.refusal
    return known.problem if known and (known.claims, known.size) == (volumes.grow, size) else ""


def _live_members(live: Object | None) -> int | None:
    """What the operator last wrote, not what somebody may have scaled the StatefulSet to since."""
    if live is None:
        return None
    written = (live["metadata"].get("annotations") or {}).get(naming.MEMBERS_ANNOTATION, "")
    return int(written) if written.isdigit() else int(live["spec"].get("replicas", 1))
