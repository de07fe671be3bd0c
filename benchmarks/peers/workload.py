"""What our own program is made to do in the reconcile and apply scenarios."""

from __future__ import annotations

import asyncio

import msgspec

from benchmarks.stub.objects import desired_stateful_set, name_of
from controllers.applying.comparing import contains
from controllers.objects.kinds import STATEFUL_SET
from etl_operator.api import PIPELINE
from etl_operator.api.pipeline import PipelineSpec
from informers.cache.informer import Informer
from informers.controller.gate import GatedInformer
from informers.controller.settled import Settled
from informers.objects import Object, ObjectKey, Result
from informers.views.typed import read_spec

__all__ = ["LAST", "PIPELINE", "STATEFUL_SET", "Building", "Counting", "pipeline_body"]

Reader = Informer | GatedInformer

LAST = ObjectKey("", "last")
"""A key without an object; its reconcile ends a round."""


class Counting:
    """Reconciles nothing. ``last`` is set when :data:`LAST` comes up, which is queued behind all others."""

    def __init__(self) -> None:
        self.last = asyncio.Event()

    async def reconcile(self, key: ObjectKey) -> Result:
        if key == LAST:
            self.last.set()
        return Result.done()


class DeadLetters(msgspec.Struct, rename="camel"):
    """``spec.dlq`` with its types and nothing more, as the Go and Rust programs have it."""

    enabled: bool
    max_retries: int | None = None
    sink: str | None = None
    retry_backoff_ms: int | None = None
    max_retry_backoff_ms: int | None = None


class TypedSpec(msgspec.Struct, rename="camel"):
    """``spec`` with its types and nothing more."""

    source: str
    sink: str
    steps: list[str] = []
    dlq: DeadLetters | None = None
    enabled: bool = True
    drain_timeout_seconds: int = 30
    deletion_policy: str = "Delete"


class Building:
    """Reads the spec, builds the StatefulSet, and finds that it is there already, as controllers do: by a
    full comparison once, and by digests as long as neither side moves.

    :param spec: what the spec is read as. The server has validated it; a pydantic model, which this
        operator's own controllers use, does so once more.
    """

    def __init__(
        self, pipelines: Reader, children: Reader, spec: type[TypedSpec | PipelineSpec] = TypedSpec
    ) -> None:
        self.last = asyncio.Event()
        self._pipelines = pipelines
        self._children = children
        self._spec: type[TypedSpec | PipelineSpec] = spec
        self._settled = Settled()

    async def reconcile(self, key: ObjectKey) -> Result:
        view, child = self._pipelines.get(key), self._children.get(key)
        if view is None or child is None:
            assert key == LAST, f"{key} and its child are cached"
            self.last.set()
            return Result.done()
        spec = read_spec(view, self._spec)
        desired = desired_stateful_set(key.name, key.namespace, view.uid, 3 if spec.enabled else 0)
        if not self._settled.holds(key, desired, child):
            assert contains(child.object(), desired), f"{key} must be converged"
            self._settled.remember(key, desired, child)
        return Result.done()


def pipeline_body(index: int) -> Object:
    """What is applied: about half a kilobyte of spec."""
    namespace, name = name_of(index)
    return {
        "apiVersion": "etl.router/v1",
        "kind": "EtlPipeline",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "bench", "team": f"team-{index % 97}"},
        },
        "spec": {
            "source": f"source-{index % 97}",
            "steps": ["filter-active", "enrich-geo"],
            "sink": f"sink-{index % 97}",
            "dlq": {
                "enabled": True,
                "maxRetries": 3,
                "sink": "dead-letters",
                "retryBackoffMs": 100,
                "maxRetryBackoffMs": 30_000,
            },
            "enabled": True,
            "drainTimeoutSeconds": 30,
            "deletionPolicy": "Delete",
        },
    }
