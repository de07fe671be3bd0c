"""Bringing one pipeline in the router in line with its object: look first, then at most what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from controllers.applying.apply import NameConflict
from controllers.pipeline.drift import differences, form
from controllers.pipeline.graph import OWNER_UID, SPEC_HASH, StageRef
from etl_operator.router.client import RouterNode
from etl_operator.router.endpoints import host_port
from etl_operator.router.errors import RouterError
from etl_operator.router.pb import router_pb2 as pb


@dataclass(frozen=True, slots=True)
class Kept:
    """What a router made of a config it was given: that is no drift, and giving it again changes nothing."""

    cluster: str
    spec_hash: str
    form: bytes


@dataclass(slots=True)
class Synced:
    """What the router holds now, and what had to be done for it."""

    version: int = 0
    enabled: bool = False
    created: bool = False
    updated: bool = False
    switched: bool = False
    adopted: bool = False
    inherited: bool = False
    """It was left by a former object of this namespace and name."""
    drifted: bool = False
    """The router had lost or changed what it had been given before."""
    changed: Sequence[str] = ()
    """Fields that differed before."""
    altered: Sequence[str] = ()
    """Fields in which the router keeps something else than it was given."""
    kept: Kept | None = None
    pending: int = 0
    """Records that still have to leave a disabled pipeline."""
    drained: bool = False
    """The last of them have just left."""
    counters: Mapping[str, pb.StageStatus] = field(default_factory=dict)
    endpoints: Mapping[str, list[str]] = field(default_factory=dict)
    buffer_trouble: str = ""
    """Why the router cannot store or deliver its records; empty if it can."""


def foreign(config: pb.PipelineConfig) -> bool:
    """Whether the pipeline in the router was put there by someone else than this operator."""
    return OWNER_UID not in config.metadata


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about a pipeline from before; empty the first time."""

    spec_hash: str = ""
    """Of the spec the router had accepted, as the object's status says."""
    enabled: bool | None = None
    kept: Kept | None = None
    pending: int = 0
    """Records that were left in it, when it was disabled and last asked."""


async def synchronise(
    node: RouterNode, config: pb.PipelineConfig, cluster: str, known: Known, adopt: bool
) -> Synced:
    """Create, update, enable or disable as needed; a pipeline that is as it should be costs one read.

    :param cluster: what to call the router in :class:`Kept`.
    :param known: a pipeline that differs from what was *known* to be accepted has drifted; any other
        difference is a change of the spec.
    :raises NameConflict: when the id belongs to another owner and ``adopt`` is false.
    """
    done = Synced()
    found = await node.get_pipeline(config.id)
    wanted = config.metadata[SPEC_HASH]
    if found is None:
        # Only now: Create overwrites, resets the version and disables what it finds.
        await node.create_pipeline(config)
        done.created, done.drifted = True, known.spec_hash == wanted
    else:
        _claim(found.config, config, adopt, done)
        done.changed = differences(found.config, config)
        done.kept = known.kept
        if done.changed and known.kept != Kept(cluster, wanted, form(found.config)):
            await node.update_pipeline(config.id, config)
            done.updated, done.drifted = True, known.spec_hash == wanted and not done.adopted
    enabled = found is not None and found.status.enabled
    if enabled != config.enabled:
        done.switched = True
        done.drifted = done.drifted or (known.spec_hash, known.enabled) == (wanted, config.enabled)
        if config.enabled:
            await node.enable_pipeline(config.id)
        else:
            done.pending = await node.disable_pipeline(config.id, True)
    elif not enabled and found is not None and (known.pending or _buffered(found)):
        # The same call again only counts.
        done.pending = await node.disable_pipeline(config.id, True)
        done.drained = bool(known.pending) and not done.pending
    if done.created or done.updated or done.switched:
        before, found = found, await node.get_pipeline(config.id) or found
        _look_back(before, found, config, cluster, done)
    done.buffer_trouble = node.buffer_trouble
    if found is not None:
        done.version, done.enabled = found.status.version, found.status.enabled
        done.counters = dict(found.status.stage_statuses)
        wrote = done.created or done.updated or done.switched
        done.altered = differences(found.config, config) if wrote else done.changed
    return done


def _buffered(found: pb.GetPipelineResponse) -> bool:
    return any(stage.records_buffered for stage in found.status.stage_statuses.values())


def _claim(held: pb.PipelineConfig, config: pb.PipelineConfig, adopt: bool, done: Synced) -> None:
    """Note whose the pipeline was.

    :raises NameConflict: when it is another owner's.
    """
    # Ids are namespace/name: whatever owner of that id there was, it is gone.
    done.inherited = not foreign(held) and held.metadata[OWNER_UID] != config.metadata[OWNER_UID]
    done.adopted = foreign(held) or done.inherited
    if foreign(held) and not adopt:
        raise NameConflict(
            f"the router has a pipeline {config.id} with another owner; delete it there, or adopt it with "
            'the annotation etl.router/adopt: "true"'
        )


def _look_back(
    before: pb.GetPipelineResponse | None,
    found: pb.GetPipelineResponse | None,
    config: pb.PipelineConfig,
    cluster: str,
    done: Synced,
) -> None:
    """Remember what the router made of the config."""
    if found is None or not differences(found.config, config):
        done.kept = None
        return
    done.kept = Kept(cluster, config.metadata[SPEC_HASH], form(found.config))
    if done.updated and before is not None and form(before.config) == form(found.config):
        # It had not changed: this router keeps these fields in a form of its own.
        done.updated = False
        done.drifted = done.drifted and (done.created or done.switched)


async def endpoints(node: RouterNode, stages: list[StageRef]) -> dict[str, list[str]]:
    """``host:port`` of the live endpoints behind every service, as this node resolves them."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(stage.service for stage in stages):
        try:
            answers = await node.get_service_endpoints(name)
        except RouterError:
            # Assignment is information; a registry that does not answer must not fail a pipeline.
            found[name] = []
            continue
        found[name] = sorted({host_port(one.endpoint.host, one.endpoint.port) for one in answers})
    return found
