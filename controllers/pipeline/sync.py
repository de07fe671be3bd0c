"""Bringing one pipeline in the router in line with its object: look first, then at most what differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controllers.apply import NameConflict
from controllers.pipeline.graph import OWNER_UID, SPEC_HASH, StageRef
from etl_operator.router.client import RouterNode
from etl_operator.router.endpoints import host_port
from etl_operator.router.errors import RouterError
from etl_operator.router.pb import router_pb2 as pb


@dataclass(slots=True)
class Synced:
    """What the router holds now, and what had to be done for it."""

    version: int = 0
    enabled: bool = False
    created: bool = False
    updated: bool = False
    switched: bool = False
    adopted: bool = False
    drifted: bool = False
    """The router had lost or changed what it had been given before."""
    counters: Mapping[str, pb.StageStatus] = field(default_factory=dict)
    endpoints: Mapping[str, list[str]] = field(default_factory=dict)


def foreign(found: pb.GetPipelineResponse, uid: str) -> bool:
    """Whether the pipeline in the router was put there by somebody else."""
    return found.config.metadata.get(OWNER_UID) != uid


@dataclass(frozen=True, slots=True)
class Known:
    """What the object's status says the router had accepted; empty before the first time."""

    spec_hash: str = ""
    enabled: bool | None = None


async def synchronise(node: RouterNode, config: pb.PipelineConfig, known: Known, adopt: bool) -> Synced:
    """Create, update, enable or disable as needed; a pipeline that is as it should be costs one read.

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
        done.adopted = foreign(found, config.metadata[OWNER_UID])
        if done.adopted and not adopt:
            raise NameConflict(
                f"the router has a pipeline {config.id} of another owner; delete it there, or adopt it with "
                'the annotation etl.router/adopt: "true"'
            )
        if done.adopted or found.config.metadata.get(SPEC_HASH) != wanted:
            await node.update_pipeline(config.id, config)
            done.updated, done.drifted = True, known.spec_hash == wanted
    enabled = found is not None and found.status.enabled
    if enabled != config.enabled:
        done.switched = True
        unasked = known == Known(wanted, config.enabled)
        done.drifted = done.drifted or unasked
        await (node.enable_pipeline(config.id) if config.enabled else node.disable_pipeline(config.id, True))
    if done.created or done.updated or done.switched:
        found = await node.get_pipeline(config.id) or found
    if found is not None:
        done.version, done.enabled = found.status.version, found.status.enabled
        done.counters = dict(found.status.stage_statuses)
    return done


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
