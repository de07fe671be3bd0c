"""Values that the server allocates while it stores an object: addresses, ports.

They are allocated after field ownership is computed, so no manager owns them unless the writer named a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from informers.apiserver.kinds.registry import ResourceType
from informers.apiserver.store import StorageKey
from informers.objects import Object

_SERVICES: StorageKey = ("", "services")
_FIELDS: Mapping[StorageKey, Sequence[tuple[str, ...]]] = {
    ("", "namespaces"): [("spec", "finalizers")],
    _SERVICES: [
        ("spec", "clusterIP"),
        ("spec", "clusterIPs"),
        ("spec", "healthCheckNodePort"),
        ("spec", "ipFamilies"),
        ("spec", "ipFamilyPolicy"),
    ],
}


def without_allocated(type_: ResourceType, obj: Object, sent: Object) -> Object:
    """An object without what the server gave out, except where ``sent`` names a value."""
    for path in _FIELDS.get(type_.storage, ()):
        if _at(sent, path) in (None, "", [], {}) and _at(obj, path) is not None:
            obj = _without(obj, path)
    if type_.storage == _SERVICES and _at(obj, ("spec", "ports")):
        named = {_port(one) for one in _at(sent, ("spec", "ports")) or () if one and one.get("nodePort")}
        ports = [
            one if _port(one) in named else {key: one[key] for key in one if key != "nodePort"}
            for one in obj["spec"]["ports"]
        ]
        return {**obj, "spec": {**obj["spec"], "ports": ports}}
    return obj


def _port(port: Object) -> tuple[Any, str]:
    return port.get("port"), port.get("protocol") or "TCP"


def _at(obj: Object, path: Sequence[str]) -> Any:
    value: Any = obj
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _without(obj: Object, path: Sequence[str]) -> Object:
    if len(path) == 1:
        return {key: value for key, value in obj.items() if key != path[0]}
    return {**obj, path[0]: _without(obj[path[0]], path[1:])}
