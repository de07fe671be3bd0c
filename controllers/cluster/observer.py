"""Collecting what there is to know of one cluster: from caches, from its members, from earlier passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from controllers.cluster import polling
from controllers.cluster.certificates import CertificateReader
from controllers.cluster.encryption import next_encryption, wanted_encryption
from controllers.cluster.memory import Memory
from controllers.cluster.observation import Observation, live_members
from controllers.cluster.rollout import plan_members
from controllers.cluster.volumes import VolumePlan, plan_volumes
from controllers.members import naming
from controllers.members.facts import NodeFacts, PodFacts, judge
from controllers.members.reach import BY_CLUSTER, facts_of
from controllers.objects.kinds import POD, PVC, STATEFUL_SET
from controllers.objects.specs import spec_in
from controllers.references.services import BY_SECRETS, SERVICES, service_secrets
from controllers.service.registration import home_of
from controllers.wiring.context import Context
from etl_operator.api import CLUSTER, EtlRouterCluster
from etl_operator.router.cluster import RouterCluster
from etl_operator.tls.credentials import ChannelTls
from informers.objects import Object, ObjectKey

PAUSED_ANNOTATION = "etl.router/paused"
_ELECTIONS = 3
"""Elections that may fail in a row, by split votes, until a missing leader is no ordinary hand-over."""


class Observer:
    """Observes clusters. Changes nothing but what a :class:`Memory` holds."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._certificates = CertificateReader(context)

    async def observe(self, key: ObjectKey, cluster: EtlRouterCluster, memory: Memory) -> Observation:
        """Read the caches, ask the members, and compare with earlier passes."""
        live = self._live(key)
        pods = memory.lasting(self._pods(key, live, memory))
        members = live_members(live)
        certificates = await self._certificates.of(key, cluster, live, members, memory.certificates)
        nodes = await self._ask(key, pods, certificates.tls)
        if any(node.error for node in nodes):
            # They may have been replaced.
            memory.certificates.doubt()
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
            certificates=certificates,
        )
        wanted = wanted_encryption(cluster, self._service_secrets(key))
        seen = replace(seen, encryption=next_encryption(wanted, live, pods, complete=seen.complete))
        seen = self._over_time(cluster, seen, memory)
        now = self._context.clock.monotonic()
        return await memory.explanations.applied(
            self._context.client, key.namespace, seen, claims, memory.sights, now
        )

    def _over_time(self, cluster: EtlRouterCluster, seen: Observation, memory: Memory) -> Observation:
        """What only earlier observations show: who has been silent for long, and what is over in a moment."""
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

    async def _ask(self, key: ObjectKey, pods: Sequence[PodFacts], tls: ChannelTls | None) -> list[NodeFacts]:
        domain = self._context.settings.cluster_domain
        where = polling.addresses(key, pods, domain)
        for pod in pods:
            address = naming.address(key, pod.ordinal, domain, pod.grpc_port)
            # Whoever calls this member, and for whatever, calls it so.
            self._context.clients.secure(address, tls if pod.tls != naming.PLAIN else None)
        return await polling.poll(RouterCluster(self._context.clients, where), key, pods, domain)

    def _service_secrets(self, key: ObjectKey) -> list[str]:
        """Secrets that services of the cluster name, in its own namespace: others cannot be mounted."""
        informers = self._context.informers
        found: set[str] = set()
        for resource in SERVICES:
            for view in informers[resource].by_index(BY_SECRETS, key.namespace):
                home = home_of(view, informers[CLUSTER])
                if home is not None and home.key == key and not view.deleting:
                    found.update(service_secrets(spec_in(view)))
        return sorted(found - {""})

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
        views = self._context.informers[POD].by_index(BY_CLUSTER, str(key))
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
