"""HorizontalPodAutoscalers in their two versions: stored as ``autoscaling/v2``, also served as ``v1``.

The first version has room for one target, the use of CPUs. What it has no field for it carries in
annotations, as on a real server, but in the form of the second version.
"""

from __future__ import annotations

import json
from typing import Any

from informers.objects import Object

_PREFIX = "autoscaling.alpha.kubernetes.io/"
USAGE = 80
"""Per cent of the requested CPUs, where nothing is said."""


def as_v1(obj: Object) -> Object:
    """An autoscaler of the second version in the first one."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    notes: dict[str, Any] = {}
    metrics, current = spec.pop("metrics", None) or [], status.pop("currentMetrics", None) or []
    cpu = next((one for one in metrics if _usage(one) is not None), None)
    if cpu is not None:
        spec["targetCPUUtilizationPercentage"] = _usage(cpu)
    notes["metrics"] = [one for one in metrics if _usage(one) is None]
    notes["current-metrics"] = current
    notes["behavior"] = spec.pop("behavior", None)
    notes["conditions"] = status.pop("conditions", None)
    for one in current:
        used = ((one.get("resource") or {}).get("current") or {}).get("averageUtilization")
        if (one.get("resource") or {}).get("name") == "cpu" and used is not None:
            status["currentCPUUtilizationPercentage"] = used
    status.setdefault("currentReplicas", 0)
    written = {_PREFIX + name: json.dumps(value) for name, value in notes.items() if value}
    return _with(obj, {**_annotations(obj), **written}, spec, status)


def as_v2(obj: Object) -> Object:
    """An autoscaler of the first version in the second one."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    notes = {name: _read(obj, name) for name in ("metrics", "current-metrics", "behavior", "conditions")}
    usage = spec.pop("targetCPUUtilizationPercentage", None)
    status.pop("currentCPUUtilizationPercentage", None)
    metrics = list(notes["metrics"] or [])
    if usage is not None or not metrics:
        target = {"type": "Utilization", "averageUtilization": USAGE if usage is None else usage}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    spec["metrics"] = metrics
    if notes["behavior"]:
        spec["behavior"] = notes["behavior"]
    if notes["current-metrics"]:
        status["currentMetrics"] = notes["current-metrics"]
    if notes["conditions"]:
        status["conditions"] = notes["conditions"]
    return _with(obj, _annotations(obj), spec, status)


def other_metrics(obj: Object) -> bool:
    """Whether an autoscaler of the first version has metrics that it has no field for."""
    return bool(_read(obj, "metrics"))


def _usage(metric: Object) -> int | None:
    resource = metric.get("resource") or {}
    if metric.get("type") != "Resource" or resource.get("name") != "cpu":
        return None
    found: int | None = (resource.get("target") or {}).get("averageUtilization")
    return found


def _read(obj: Object, name: str) -> Any:
    try:
        return json.loads((obj["metadata"].get("annotations") or {}).get(_PREFIX + name, "null"))
    except ValueError:
        return None


def _annotations(obj: Object) -> dict[str, str]:
    found = obj["metadata"].get("annotations") or {}
    return {key: value for key, value in found.items() if not key.startswith(_PREFIX)}


def _with(obj: Object, annotations: dict[str, str], spec: Object, status: Object) -> Object:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "annotations"}
    if annotations:
        metadata["annotations"] = annotations
    return {**obj, "metadata": metadata, "spec": spec, "status": status}
