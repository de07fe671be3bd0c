"""EtlPipeline: a data pipeline from a source through transforms to a sink."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from etl_operator.api.base import Checked, Model, Rule
from etl_operator.api.fields import Counter, ObjectName, ShortText, Text
from etl_operator.api.metadata import ClusterRef, ObjectMeta, Status


def _all_differ(steps: list[str]) -> bool:
    return len(set(steps)) == len(steps)


Steps = Annotated[
    list[ObjectName],
    Field(max_length=64),
    # Not a list of type "set": the order is the meaning, and two writers must not be merged.
    Checked(
        (
            Rule(
                "self.all(step, self.exists_one(other, other == step))",
                "steps must not name a transform twice",
                _all_differ,
            ),
        )
    ),
]

BackoffMs = Annotated[int, Field(ge=0, le=3_600_000)]


def _backoff_fits(dlq: DeadLetterQueue) -> bool:
    return dlq.retry_backoff_ms <= dlq.max_retry_backoff_ms


class DeadLetterQueue(Model):
    """Where records go that cannot be processed."""

    rules = (
        Rule(
            "self.retryBackoffMs <= self.maxRetryBackoffMs",
            "retryBackoffMs must not exceed maxRetryBackoffMs",
            _backoff_fits,
        ),
    )

    enabled: bool = False
    """Whether failed records are kept. Default false."""
    max_retries: Annotated[int, Field(ge=0, le=1000)] = 3
    """Attempts before a record counts as failed, 0 to 1000. Default 3."""
    sink: ObjectName | None = None
    """EtlSink for failed records. Default: none, the router keeps them."""
    retry_backoff_ms: BackoffMs = 100
    """Milliseconds before the first retry; doubles with every one. Default 100."""
    max_retry_backoff_ms: BackoffMs = 30_000
    """Milliseconds: the longest pause between two retries. Default 30000."""


class PipelineSpec(Model):
    """The pipeline that is wanted."""

    source: ObjectName
    """EtlSource the records come from."""
    steps: Steps = Field(default_factory=list, json_schema_extra={"default": []})
    """EtlTransforms in the order records pass them, up to 64, each once. Default: none."""
    sink: ObjectName
    """EtlSink the records go to."""
    dlq: DeadLetterQueue | None = None
    """What becomes of records that cannot be processed. Default: they are dropped by the router."""
    enabled: bool = True
    """Whether the pipeline runs; false disables it in the router and lets it drain. Default true."""
    cluster_ref: ClusterRef | None = None
    """Router cluster to run on. Default: the only one of the namespace, or else the one named default."""
    drain_timeout_seconds: Annotated[int, Field(ge=0, le=86_400)] = 30
    """Seconds a deleted pipeline may drain before it is deleted all the same, by the operator's clock.
    Default 30."""
    deletion_policy: Literal["Delete", "Orphan"] = "Delete"
    """What becomes of the pipeline in the router when this object is deleted. Default Delete."""


class StageStatus(Model):
    """One stage of the pipeline in the router."""

    id: Text
    """Id of the stage in the router."""
    name: ShortText
    """The EtlSource, EtlTransform or EtlSink behind it."""
    type: Literal["Source", "Transform", "Sink"]
    """Kind of stage."""
    endpoints: Annotated[list[Text], Field(max_length=256)] | None = None
    """host:port of the live services the stage is assigned to."""
    records_processed: Counter | None = None
    """Records that passed the stage, by the router's count."""
    errors: Counter | None = None
    """Records that failed in the stage, by the router's count."""


class PipelineStatus(Status):
    """The pipeline as it is."""

    phase: ShortText | None = None
    """Pending, Running, Disabled or Deleting. For people; programs read conditions."""
    cluster: Text | None = None
    """namespace/name of the cluster it runs on."""
    pipeline_id: Text | None = None
    """Its id in the router: namespace/name."""
    version: Counter | None = None
    """Version the router gave to this spec."""
    enabled: bool | None = None
    """Whether it is enabled in the router."""
    spec_hash: ShortText | None = None
    """Digest of what the router was given; tells drift from a change of the spec."""
    stages: Annotated[list[StageStatus], Field(max_length=128)] | None = None
    """Every stage and what it is assigned to, in the order records pass them."""
    records_processed: Counter | None = None
    """Records that entered the pipeline, by the router's count."""


class EtlPipeline(Model):
    """A data pipeline from a source through transforms to a sink, run by a router cluster."""

    api_version: Literal["etl.router/v1"]
    """etl.router/v1."""
    kind: Literal["EtlPipeline"]
    """EtlPipeline."""
    metadata: ObjectMeta
    """Standard metadata."""
    spec: PipelineSpec
    """The pipeline that is wanted."""
    status: PipelineStatus | None = None
    """The pipeline as it is; written by the operator."""
