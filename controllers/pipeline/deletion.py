"""A deleted pipeline: what has to happen in its router before the object may go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

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
from controllers.members.reach import frozen, running_addresses
from controllers.objects.kinds import POD
from controllers.objects.specs import spec_of, status_of, text
from controllers.pipeline.departure import Departures, drain_seconds
from controllers.pipeline.graph import DELETION_POLICY, SPEC_HASH, build_config, pipeline_id
from controllers.pipeline.sync import foreign
from controllers.references.clusters import choose_cluster, key_of
from controllers.retrying.pauses import Waiting
from controllers.retrying.verdicts import verdict
from controllers.status import reasons as r
from controllers.wiring.context import Context
from etl_operator.api import CLUSTER, PIPELINE, EtlPipeline
from etl_operator.router.client import RouterNode
from etl_operator.router.cluster import RouterCluster
from etl_operator.router.errors import RouterError
from etl_operator.router.pb import router_pb2 as pb
from informers.objects import Object, ObjectKey
from informers.views.view import View

_LEFT = "an operator removes it from the router later, because it has no object"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of a look at a deleted pipeline."""

    release: Release | None = None
    """The object may go."""
    waits: str = ""
    """What the deletion waits for, if it may not."""
    pending: int | None = None
    """Records that still have to leave; ``None`` if the router did not say."""


class PipelineDeletion:
    """Takes deleted pipelines out of their routers, or lets them be."""

    def __init__(self, context: Context, departures: Departures) -> None:
        self._context = context
        self._departures = departures
        self._waiting = Waiting(context.clock)
        self._endings = Endings(context.client, context.clock)

    def forget(self, key: ObjectKey) -> None:
        """The object is gone."""
        self._waiting.over(key)

    async def attempt(self, key: ObjectKey, obj: Object) -> Attempt:
        """The release, or what the deletion waits for.

        Never depends on a spec that is valid: where it is not, defaults apply.
        """
        if release := forced(obj, _LEFT):
            return Attempt(release)
        clusters = self._context.informers[CLUSTER]
        name = text(status_of(obj), "cluster")
        if not name:
            chosen = choose_cluster(key.namespace, spec_of(obj), clusters).cluster
            name = str(chosen.key) if chosen else ""
        cluster = clusters.get(key_of(name)) if name else None
        release = release_without(cluster, name)
        if release is not None or cluster is None:
            return Attempt(release)
        if orphaned(obj) and _is_marked(obj):
            return Attempt(_left_there())
        ending = await self._endings.of(PIPELINE, key, cluster.key)
        if ending and ending.with_cluster:
            return Attempt(release_with(ending, cluster))
        return await self._ask(key, obj, cluster, ending)

    async def _ask(self, key: ObjectKey, obj: Object, cluster: View, ending: Ending | None) -> Attempt:
        """Have the router do it.

        :param ending: nothing is waited for, not even draining.
        """
        settings = self._context.settings
        where = running_addresses(self._context.informers[POD], cluster, settings.cluster_domain)
        problem = frozen(cluster) or ("" if where else f"cluster {cluster.key} has no running member")
        if not problem:
            try:
                attempt = await self._done(key, obj, cluster, where, 0.0 if ending else drain_seconds(obj))
            except RouterError as error:
                problem = f"{verdict(error)[0]}: {error}"
            else:
                # The router answers: only an outage from now on counts.
                self._waiting.over(key)
                return attempt
        if ending:
            return Attempt(let_go(ending, problem))
        if self._waiting.seconds(key, obj["metadata"]["uid"]) >= settings.release_deadline:
            return Attempt(give_up(settings.release_deadline, problem))
        return Attempt(waits=waiting_to_go(settings.release_deadline, problem))

    async def _done(
        self, key: ObjectKey, obj: Object, cluster: View, where: Sequence[str], drain: float
    ) -> Attempt:
        if orphaned(obj):
            await RouterCluster(self._context.clients, where).on_leader(lambda node: _mark(node, key))
            return Attempt(_left_there())
        pending = await self._departures.remove(cluster.key, where, pipeline_id(key), drain)
        if pending:
            return Attempt(waits=f"the router drains {pending} records", pending=pending)
        if self._departures.drained(cluster.key, pipeline_id(key)):
            note = "the pipeline is drained"
            self._context.events.event(obj, type="Normal", reason=r.DRAINED, action="Delete", note=note)
        return Attempt(Release(False, r.DELETED, "deleted from the router"))


def _left_there() -> Release:
    return Release(False, r.ORPHANED, "deletionPolicy is Orphan: left in the router")


def _is_marked(obj: Object) -> bool:
    """Whether the router is known to hold the pipeline with the mark that it is to stay."""
    try:
        config = build_config(EtlPipeline.model_validate({**obj, "status": None}))
    except ValidationError:
        return False
    return config.metadata[SPEC_HASH] == text(status_of(obj), "specHash")


async def _mark(node: RouterNode, key: ObjectKey) -> None:
    """Note in the router that the pipeline is to stay without its object."""
    found = await node.get_pipeline(pipeline_id(key))
    if found is None or foreign(found.config) or found.config.metadata.get(DELETION_POLICY) == "Orphan":
        return
    config = pb.PipelineConfig()
    config.CopyFrom(found.config)
    config.metadata[DELETION_POLICY] = "Orphan"
    await node.update_pipeline(config.id, config)
