"""One object in the versions of its resource.

Custom resources convert by renaming their version only. Events have two shapes of the same content: those
of the core group, in which they are stored, and those of ``events.k8s.io``; autoscalers have two versions.
"""

from __future__ import annotations

from collections.abc import Mapping

from informers.apiserver.kinds import autoscalers
from informers.apiserver.kinds.registry import ResourceType
from informers.objects import Object

_EVENTS = "events.k8s.io/v1"
_AUTOSCALERS = "autoscaling/v1"
_NAMES: Mapping[str, str] = {
    "count": "deprecatedCount",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "involvedObject": "regarding",
    "lastTimestamp": "deprecatedLastTimestamp",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
}
_REPORTERS = frozenset({"reportingComponent", "reportingInstance"})
_BACK = {new: old for old, new in _NAMES.items()}


def converted(obj: Object, type_: ResourceType) -> Object:
    """A stored object as a version shows it."""
    version = type_.resource.api_version
    if obj["apiVersion"] == version:
        return obj
    if version == _EVENTS:
        # The core form writes these two even when they say nothing.
        said = {key: value for key, value in obj.items() if value or key not in _REPORTERS}
        obj = {_NAMES.get(key, key): value for key, value in said.items()}
    elif version == _AUTOSCALERS:
        obj = autoscalers.as_v1(obj)
    return {**obj, "apiVersion": version}


def storable(obj: Object, type_: ResourceType) -> Object:
    """An object of any version in the version it is stored in."""
    stored_as = type_.stored_as
    if obj["apiVersion"] == stored_as.api_version:
        return obj
    if type_.resource.api_version == _EVENTS:
        obj = {_BACK.get(key, key): value for key, value in obj.items()}
    elif type_.resource.api_version == _AUTOSCALERS:
        obj = autoscalers.as_v2(obj)
    return {**obj, "apiVersion": stored_as.api_version}
