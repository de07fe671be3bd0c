"""The status of a pipeline, computed from what is known. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controllers.pipeline.counting import Tally
from controllers.pipeline.drift import shown
from controllers.pipeline.graph import SPEC_HASH, stages
from controllers.pipeline.sync import Synced
from controllers.status import reasons as r
from controllers.status.conditions import Conditions
from etl_operator.api import EtlPipeline
from etl_operator.api.fitting import fitted
from etl_operator.api.pipeline import PipelineStatus
from etl_operator.router.pb import router_pb2 as pb
from informers.objects import Object


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one look at a pipeline, beside its conditions."""

    phase: str = ""
    """Empty when :func:`phase_before` applies."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the status that are known again."""
    again: float | None = None
    """Seconds until the next look."""
    done: Synced | None = None
    """What was done in the router, if it was reached."""


_TYPES = {"EtlSource": "Source", "EtlTransform": "Transform", "EtlSink": "Sink"}


def accepted_status(
    pipeline: EtlPipeline, config: pb.PipelineConfig, done: Synced, tally: Tally
) -> dict[str, Any]:
    """Figures of a pipeline the router holds at this spec."""
    found = [
        {
            "id": stage.id,
            "name": stage.service,
            "type": _TYPES[stage.resource.kind],
            "endpoints": done.endpoints.get(stage.service, []),
            **tally.stage(stage.id),
        }
        for stage in stages(pipeline)
    ]
    figures = {
        "cluster": tally.cluster,
        "pipelineId": config.id,
        "version": done.version,
        "enabled": done.enabled,
        "specHash": config.metadata[SPEC_HASH],
        "stages": found,
        **tally.totals(),
    }
    return figures if done.enabled else {**figures, "pendingRecords": done.pending}


def conclude(obj: Object, figures: Mapping[str, Any], conditions: Conditions, phase: str) -> dict[str, Any]:
    """The whole status: what was known before, the new figures, the conditions."""
    before = {key: value for key, value in (obj.get("status") or {}).items() if key != "conditions"}
    status = {
        **before,
        **figures,
        "observedGeneration": obj["metadata"].get("generation", 0),
        "phase": phase,
        "conditions": conditions.items(),
    }
    return fitted(PipelineStatus, status)


def accept(pipeline: EtlPipeline, done: Synced, unready: Sequence[str], conditions: Conditions) -> str:
    """Conditions of a pipeline that is as it should be; returns the phase.

    :param unready: the services it uses that are not Ready. They do not keep it from being Ready: the router
        holds it as wanted. That it works is not claimed.
    """
    form = f"; it stores {shown(done.altered)} in another form" if done.altered else ""
    message = f"the router accepted this spec as version {done.version}{form}"
    conditions.set(r.ACCEPTED, True, r.ACCEPTED, message)
    if done.buffer_trouble:
        message = f"the durable buffer cannot be used, and sources wait: {done.buffer_trouble}"
        conditions.set(r.DEGRADED, True, r.BUFFER_UNAVAILABLE, message)
    elif unready:
        conditions.set(r.DEGRADED, True, r.DEPENDENCY_NOT_READY, f"not Ready: {'; '.join(unready)}")
    else:
        conditions.clear(r.DEGRADED)
    if done.enabled != pipeline.spec.enabled:
        message = "the router has not enabled or disabled the pipeline yet"
        conditions.set(r.RUNNING, done.enabled, r.PROGRESSING, message)
        conditions.working(r.PROGRESSING, message)
        return "Pending"
    if done.enabled:
        conditions.set(r.RUNNING, True, r.ENABLED, "the pipeline is enabled")
        limits = [f"not all of its services are Ready: {'; '.join(unready)}"] if unready else []
        if done.buffer_trouble:
            limits.append(f"the durable buffer cannot be used: {done.buffer_trouble}")
        message = f"accepted and enabled, but {', and '.join(limits)}" if limits else "accepted and running"
        conditions.ready(r.SUCCEEDED, message)
        return "Running"
    conditions.set(r.RUNNING, False, r.DISABLED, "spec.enabled is false")
    if done.pending:
        message = f"accepted and disabled; the router drains {done.pending} records"
        conditions.working(r.DRAINING, message)
        return "Draining"
    conditions.ready(r.SUCCEEDED, "accepted and disabled")
    return "Disabled"


def phase_before(obj: Object) -> str:
    """A pipeline that ran keeps its phase while a new spec is not in force yet."""
    status = obj.get("status") or {}
    return str(status.get("phase") or "Pending") if status.get("specHash") else "Pending"
