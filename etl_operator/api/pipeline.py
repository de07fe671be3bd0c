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
    """DeadLetterQueue describes how the router handles records that fail."""

    rules = (
        Rule(
            "self.retryBackoffMs <= self.maxRetryBackoffMs",
            "retryBackoffMs must not exceed maxRetryBackoffMs",
            _backoff_fits,
        ),
    )

    enabled: bool = False
    """enabled specifies whether failed records are kept. Defaults to false."""
    max_retries: Annotated[int, Field(ge=0, le=1000)] = 3
    """maxRetries is the number of attempts before a record counts as failed, 0 to 1000. Defaults to 3."""
    sink: ObjectName | None = None
    """sink is the name of the EtlSink that receives failed records. If not set, the router keeps up to 1000
    of them in memory, and does not answer their source. With buffer.type Nats of the cluster it stores them
    in a stream instead."""
    retry_backoff_ms: BackoffMs = 100
    """retryBackoffMs is the time in milliseconds before the first retry. It doubles with every retry.
    Defaults to 100."""
    max_retry_backoff_ms: BackoffMs = 30_000
    """maxRetryBackoffMs is the longest time in milliseconds between two retries. Defaults to 30000."""


class PipelineSpec(Model):
    """PipelineSpec defines the desired state of a pipeline."""

    source: ObjectName
    """source is the name of the EtlSource that produces the records."""
    steps: Steps = Field(default_factory=list, json_schema_extra={"default": []})
    """steps is a list of names of EtlTransforms, in the order in which records pass them. At most 64, each at
    most once. If not set, records go directly to the sink."""
    sink: ObjectName
    """sink is the name of the EtlSink that receives the records."""
    dlq: DeadLetterQueue | None = None
    """dlq describes how the router handles records that fail. If not set, the router rejects them in its
    answer to the source; with buffer.type Nats of the cluster it stores them in a stream."""
    enabled: bool = True
    """enabled specifies whether the pipeline runs. If false, it is disabled in the router and drains; it is
    Ready when it is drained. Defaults to true."""
    cluster_ref: ClusterRef | None = None
    """clusterRef names the EtlRouterCluster that runs the pipeline. If not set, the cluster in status.cluster
    is kept; if there is none, the only cluster of the namespace is used, or the one named default if there
    are several."""
    drain_timeout_seconds: Annotated[int, Field(ge=0, le=86_400)] = 30
    """drainTimeoutSeconds is the time in seconds that a deleted pipeline has to drain before it is removed
    from the router. The operator measures it with its own clock. Defaults to 30."""
    deletion_policy: Literal["Delete", "Orphan"] = "Delete"
    """deletionPolicy specifies what happens to the pipeline in the router when this object is deleted. Delete
    drains and removes it; Orphan leaves it running. Defaults to Delete."""


class StageStatus(Model):
    """StageStatus is the observed state of one stage."""

    id: Text
    """id is the id of the stage in the router."""
    name: ShortText
    """name is the name of the EtlSource, EtlTransform or EtlSink of the stage."""
    type: Literal["Source", "Transform", "Sink"]
    """type is the type of the stage."""
    endpoints: Annotated[list[Text], Field(max_length=256)] | None = None
    """endpoints is a list of host:port of the registered services that the stage uses."""
    records_processed: Counter | None = None
    """recordsProcessed is the number of records that left the stage, filtered records included. The router
    counts from the start of its members, so the number becomes lower some time after a member restarts."""
    errors: Counter | None = None
    """errors is the number of records that failed in the stage after all retries, counted like
    recordsProcessed."""
    buffered: Counter | None = None
    """buffered is the number of records that wait for the stage or that it works on."""
    avg_latency_ms: Counter | None = None
    """avgLatencyMs is the moving mean time in milliseconds of a call to the service of the stage, rounded up.
    0 if there was no call."""


class PipelineStatus(Status):
    """PipelineStatus is the observed state of a pipeline."""

    phase: ShortText | None = None
    """phase is a summary for people: Pending, Running, Draining, Disabled or Deleting. Programs should use
    conditions."""
    cluster: Text | None = None
    """cluster is the namespace/name of the EtlRouterCluster that runs the pipeline."""
    pipeline_id: Text | None = None
    """pipelineId is the id of the pipeline in the router: namespace/name."""
    version: Counter | None = None
    """version is the version that the router gave to this spec."""
    enabled: bool | None = None
    """enabled is true if the pipeline is enabled in the router."""
    spec_hash: ShortText | None = None
    """specHash is a digest of the configuration that the operator sent to the router. It tells a change of
    the spec from a change made in the router."""
    stages: Annotated[list[StageStatus], Field(max_length=128)] | None = None
    """stages is the list of stages, in the order in which records pass them."""
    records_processed: Counter | None = None
    """recordsProcessed is the number of records that entered the pipeline since this object was created. Like
    errors and deadLetters, it never falls. Counters are written at most once a minute."""
    errors: Counter | None = None
    """errors is the number of records that failed in a stage after all retries, since this object was
    created."""
    dead_letters: Counter | None = None
    """deadLetters is the number of failed records that were written to the sink of the dead-letter queue, or
    that the router keeps if the queue has no sink, since this object was created."""
    pending_records: Counter | None = None
    """pendingRecords is the number of records in the stages and the durable buffer of the pipeline. While the
    pipeline drains, it is the number of records that the router waits for."""


class EtlPipeline(Model):
    """EtlPipeline is a data pipeline from a source through transforms to a sink. A router cluster runs it."""

    api_version: Literal["etl.router/v1"]
    """apiVersion is etl.router/v1."""
    kind: Literal["EtlPipeline"]
    """kind is EtlPipeline."""
    metadata: ObjectMeta
    """metadata is the standard object metadata."""
    spec: PipelineSpec
    """spec defines the desired state of the pipeline."""
    status: PipelineStatus | None = None
    """status is the state of the pipeline as the operator last observed it. Read-only."""
