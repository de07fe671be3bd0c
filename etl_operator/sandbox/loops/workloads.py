"""What all workloads have in common: replicas, and the seconds until a ready pod is available. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from etl_operator.sandbox.loops import pods as p
from informers.objects import Object


def wanted(owner: Object) -> int:
    """``spec.replicas``; 1 where it is not set."""
    replicas = owner["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def count_available(owner: Object, ready: Iterable[Object], now: float) -> int:
    """How many of these ready pods have been ready for ``minReadySeconds``."""
    return sum((p.available_at(pod, _min_ready(owner)) or 0.0) <= now for pod in ready)


def next_available(owner: Object, pods: Iterable[Object], now: float) -> float | None:
    """Seconds until ``minReadySeconds`` have passed for the next of these pods, or ``None``."""
    moments = [p.available_at(pod, _min_ready(owner)) for pod in pods]
    return min((moment - now for moment in moments if moment is not None and moment > now), default=None)


def _min_ready(owner: Object) -> int:
    return int(owner["spec"].get("minReadySeconds") or 0)
