"""A pipeline's spec as the router's PipelineConfig. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from controllers.applying.comparing import digest
from etl_operator.api import SINK, SOURCE, TRANSFORM, EtlPipeline
from etl_operator.router.pb import router_pb2 as pb
from informers.objects import ObjectKey, Resource

OWNER_UID = "etl.router/owner-uid"
SPEC_HASH = "etl.router/spec-hash"
DELETION_POLICY = "etl.router/deletion-policy"
"""Says of a pipeline that it is to stay when its object goes; absent otherwise."""
DLQ_PREFIX = "etl.router/dlq."

_TYPES: Mapping[Resource, pb.StageType] = {
    SOURCE: pb.STAGE_TYPE_SOURCE,
    TRANSFORM: pb.STAGE_TYPE_TRANSFORM,
    SINK: pb.STAGE_TYPE_SINK,
}


@dataclass(frozen=True, slots=True)
class StageRef:
    """One stage: its id in the router, and the service behind it."""

    id: str
    resource: Resource
    service: str


def pipeline_id(key: ObjectKey) -> str:
    """``namespace/name``."""
    return f"{key.namespace}/{key.name}"


def stages(pipeline: EtlPipeline) -> list[StageRef]:
    """Stages in the order records pass them; the DLQ sink, if any, comes last and has no edges."""
    spec, name = pipeline.spec, pipeline.metadata.name
    found = [StageRef(f"{name}-source", SOURCE, spec.source)]
    found += [StageRef(f"{name}-transform-{i}", TRANSFORM, step) for i, step in enumerate(spec.steps)]
    found.append(StageRef(f"{name}-sink", SINK, spec.sink))
    if spec.dlq and spec.dlq.enabled and spec.dlq.sink:
        found.append(StageRef(f"{name}-dlq", SINK, spec.dlq.sink))
    return found


def letters_stage(pipeline: EtlPipeline) -> str:
    """Id of the stage that writes dead letters, "" without one."""
    last = stages(pipeline)[-1].id
    return last if last == f"{pipeline.metadata.name}-dlq" else ""


def build_config(pipeline: EtlPipeline) -> pb.PipelineConfig:
    """The wanted PipelineConfig. Its metadata says whose it is and which spec it was made of."""
    name = pipeline.metadata.name
    key = ObjectKey(pipeline.metadata.namespace or "", name)
    found = stages(pipeline)
    line = [stage for stage in found if not stage.id.endswith("-dlq")]
    config = pb.PipelineConfig(
        id=pipeline_id(key),
        name=name,
        stages=[_stage(stage) for stage in found],
        edges=[pb.Edge(from_stage=before.id, to_stage=after.id) for before, after in pairwise(line)],
        metadata=_metadata(pipeline),
    )
    # The flag is switched by Enable and Disable: it must not make an Update necessary.
    config.metadata[SPEC_HASH] = digest(config.SerializeToString(deterministic=True).hex())
    config.enabled = pipeline.spec.enabled
    return config


def _metadata(pipeline: EtlPipeline) -> dict[str, str]:
    metadata = dict(pipeline.metadata.labels or {})
    metadata[OWNER_UID] = pipeline.metadata.uid or ""
    if pipeline.spec.deletion_policy == "Orphan":
        metadata[DELETION_POLICY] = "Orphan"
    dlq = pipeline.spec.dlq
    if dlq and dlq.enabled:
        # The contract has no field for dead letters; the keys are documented in docs/.
        metadata[f"{DLQ_PREFIX}enabled"] = "true"
        metadata[f"{DLQ_PREFIX}max-retries"] = str(dlq.max_retries)
        metadata[f"{DLQ_PREFIX}retry-backoff-ms"] = str(dlq.retry_backoff_ms)
        metadata[f"{DLQ_PREFIX}max-retry-backoff-ms"] = str(dlq.max_retry_backoff_ms)
        if dlq.sink:
            metadata[f"{DLQ_PREFIX}sink"] = dlq.sink
    return metadata


def _stage(stage: StageRef) -> pb.Stage:
    return pb.Stage(
        id=stage.id,
        name=stage.service,
        stage_type=_TYPES[stage.resource],
        service_selector=pb.ServiceSelector(
            service_name=stage.service, load_balance=pb.LOAD_BALANCE_ROUND_ROBIN
        ),
        parallelism=1,
    )
