"""The API group ``etl.router/v1``: models of the five kinds, their conditions, their CRDs. No I/O."""

from __future__ import annotations

from etl_operator.api.cluster import EtlRouterCluster
from etl_operator.api.pipeline import EtlPipeline
from etl_operator.api.resources import CLUSTER, PIPELINE, SINK, SOURCE, TRANSFORM
from etl_operator.api.service import EtlSink, EtlSource, EtlTransform

__all__ = [
    "CLUSTER",
    "PIPELINE",
    "SINK",
    "SOURCE",
    "TRANSFORM",
    "EtlPipeline",
    "EtlRouterCluster",
    "EtlSink",
    "EtlSource",
    "EtlTransform",
]
