"""Pipelines and records for tests of the data plane."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from etl_operator.router.pb import common_pb2, router_pb2

SOURCE = router_pb2.STAGE_TYPE_SOURCE
TRANSFORM = router_pb2.STAGE_TYPE_TRANSFORM
SINK = router_pb2.STAGE_TYPE_SINK


def stage(
    stage_id: str, kind: router_pb2.StageType, service: str | None = None, parallelism: int = 0
) -> router_pb2.Stage:
    """A stage whose service has its name."""
    selector = router_pb2.ServiceSelector(service_name=stage_id if service is None else service)
    return router_pb2.Stage(id=stage_id, stage_type=kind, service_selector=selector, parallelism=parallelism)


def config(
    name: str,
    stages: Iterable[router_pb2.Stage],
    edges: Iterable[router_pb2.Edge | tuple[str, str]],
    metadata: Mapping[str, str] | None = None,
) -> router_pb2.PipelineConfig:
    """A pipeline."""
    ways = [
        router_pb2.Edge(from_stage=edge[0], to_stage=edge[1]) if isinstance(edge, tuple) else edge
        for edge in edges
    ]
    return router_pb2.PipelineConfig(
        id=name, name=name, stages=list(stages), edges=ways, metadata=dict(metadata or {})
    )


def line(
    name: str = "ns/p",
    transforms: Sequence[str] = (),
    *,
    source: str = "src",
    sink: str = "out",
    dlq: str = "",
    lanes: int = 0,
    **letters: str,
) -> router_pb2.PipelineConfig:
    """A pipeline of one line, as the operator sends it.

    :param letters: metadata of the dead-letter queue: ``max_retries``, ``retry_backoff_ms`` and so on.
    """
    ids = [source, *transforms, sink]
    kinds = [SOURCE, *[TRANSFORM] * len(transforms), SINK]
    stages = [stage(i, kind, parallelism=lanes) for i, kind in zip(ids, kinds, strict=True)]
    metadata = {f"etl.router/dlq.{key.replace('_', '-')}": value for key, value in letters.items()}
    if dlq:
        stages.append(stage("p-dlq", SINK, dlq, parallelism=lanes))
        metadata |= {"etl.router/dlq.enabled": "true", "etl.router/dlq.sink": dlq}
    return config(name, stages, list(pairwise(ids)), metadata)


def record(
    sequence: int,
    source: str = "src",
    partition: int = 0,
    kind: str = "",
    payload: bytes = b"",
    **metadata: str,
) -> common_pb2.Record:
    """A record whose payload names its id, unless another one is given."""
    return common_pb2.Record(
        id=common_pb2.RecordId(source_id=source, partition=partition, sequence_number=sequence),
        record_type=kind,
        payload=payload or f"{source}/{partition}/{sequence}".encode(),
        metadata=metadata,
    )


def batch(sequences: Iterable[int], batch_id: str = "", **fields: object) -> common_pb2.RecordBatch:
    """A batch of `record`."""
    records = [record(sequence, **fields) for sequence in sequences]  # type: ignore[arg-type]
    return common_pb2.RecordBatch(batch_id=batch_id, records=records)
