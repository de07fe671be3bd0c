"""What a pod's status says, for loops that count pods. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from informers.objects import Object


def status_of(pod: Object) -> Mapping[str, Any]:
    """``status``, or an empty mapping before the first one is written."""
    return pod.get("status") or {}


def phase(pod: Object) -> str:
    """``Pending``, ``Running``, ``Succeeded``, ``Failed`` or "" before the server filled it in."""
    return str(status_of(pod).get("phase") or "")


def is_terminating(pod: Object) -> bool:
    """Whether its deletion has begun."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def is_finished(pod: Object) -> bool:
    """Whether its containers have ended permanently."""
    return phase(pod) in ("Succeeded", "Failed")


def condition(pod: Object, kind: str) -> Mapping[str, Any]:
    """The condition of a type, or an empty mapping."""
    for entry in status_of(pod).get("conditions") or ():
        if entry.get("type") == kind:
            return dict(entry)
    return {}


def is_ready(pod: Object) -> bool:
    """Running, and all its containers pass their readiness probes."""
    return phase(pod) == "Running" and condition(pod, "Ready").get("status") == "True"


def is_healthy(pod: Object) -> bool:
    """Ready, and not on its way out."""
    return is_ready(pod) and not is_terminating(pod)


def available_at(pod: Object, min_ready_seconds: int) -> float | None:
    """When a ready pod becomes available, in seconds since the epoch; ``None`` while it is not ready."""
    if not is_ready(pod):
        return None
    since = condition(pod, "Ready").get("lastTransitionTime")
    return seconds(str(since)) + min_ready_seconds if since else 0.0


def seconds(timestamp: str) -> float:
    """An RFC 3339 time as seconds since the epoch."""
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


def controller_uid(obj: Object) -> str:
    """The uid of the owner that controls it, or ""."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference["uid"])
    return ""


def is_orphan(obj: Object) -> bool:
    """Whether no owner controls it, and it is there to stay."""
    return not controller_uid(obj) and not is_terminating(obj)


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector with ``matchLabels`` and ``matchExpressions`` selects these labels.

    ``None`` selects nothing, an empty selector everything.
    """
    if selector is None:
        return False
    wanted: Mapping[str, str] = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _holds(requirement, labels) for requirement in selector.get("matchExpressions") or ()
    )


def _holds(requirement: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement["key"])
    values = requirement.get("values") or ()
    match requirement["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None
