"""From a method, a path and a query to what is asked of which resource."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from informers.testing.apiserver.refusals import bad_request, method_not_allowed, no_such_path
from informers.testing.apiserver.registry import Registry, ResourceType

ELSEWHERE = frozenset(
    {"attach", "ephemeralcontainers", "exec", "log", "portforward", "proxy", "resize", "token"}
)
"""Subresources that are about an object but not about its storage. They are routed, not served here."""

_COMMON = frozenset({"pretty"})
_READ = _COMMON | {"includeObject", "resourceVersion"}
_LIST = _READ | {
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
}
_WRITE = _COMMON | {"dryRun", "fieldManager", "fieldValidation"}
_DELETE = _COMMON | {"dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"}
_PARAMETERS: Mapping[str, frozenset[str]] = {
    "get": _READ,
    "list": _LIST,
    "watch": _LIST,
    "create": _WRITE,
    "update": _WRITE,
    "patch": _WRITE | {"force"},
    "delete": _DELETE,
    "deletecollection": _DELETE | _LIST,
}
_ON_OBJECT = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_ON_COLLECTION = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
_SUBRESOURCE_VERBS: Mapping[str, frozenset[str]] = {
    "binding": frozenset({"create"}),
    "eviction": frozenset({"create"}),
    "finalize": frozenset({"update"}),
    "scale": frozenset({"get", "update", "patch"}),
    "status": frozenset({"get", "update", "patch"}),
}


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What is asked.

    :param verb: ``get``, ``list``, ``watch``, ``create``, ``update``, ``patch``, ``delete`` or
        ``deletecollection``.
    :param namespace: "" for all namespaces and for cluster-scoped resources.
    :param name: "" for the collection.
    :param subresource: "" for the object itself.
    """

    verb: str
    type: ResourceType
    namespace: str
    name: str
    subresource: str
    query: Mapping[str, str]


def flag(query: Mapping[str, str], name: str) -> bool | None:
    """A boolean parameter as servers read it: present without a value means true.

    :raises StatusError: 400 for anything that is no boolean.
    """
    value = query.get(name)
    if value is None:
        return None
    if value.lower() in ("", "1", "t", "true"):
        return True
    if value.lower() in ("0", "f", "false"):
        return False
    raise bad_request(f"{name}: {value!r} is not a boolean")


def parse(registry: Registry, method: str, path: str, query: Mapping[str, str]) -> RequestInfo:
    """Find the resource and the verb.

    :raises StatusError: 404 for a path nobody serves; 405 for a method it does not have; 400 for a
        parameter that would be ignored.
    """
    type_, namespace, name, subresource = _target(registry, path)
    if subresource:
        verb = {**_ON_OBJECT, "POST": "create"}.get(method, "")
        _check_subresource(type_, subresource, verb)
    else:
        verb = (_ON_OBJECT if name else _ON_COLLECTION).get(method, "")
    if verb == "list" and flag(query, "watch"):
        verb = "watch"
    if not subresource and verb not in type_.verbs:
        raise method_not_allowed()
    if type_.resource.namespaced and not namespace and verb not in ("list", "watch"):
        # Across namespaces there is nothing but reading; custom resources have no such path at all.
        raise no_such_path() if type_.custom else method_not_allowed()
    if subresource not in ELSEWHERE:
        _check_parameters(verb, query)
    return RequestInfo(verb, type_, namespace, name, subresource, query)


def _target(registry: Registry, path: str) -> tuple[ResourceType, str, str, str]:
    match path.strip("/").split("/"):
        case ["api", "v1", *rest] if rest:
            group, version = "", "v1"
        case ["apis", group, version, *rest] if rest:
            pass
        case _:
            raise no_such_path()
    namespace = ""
    # /namespaces/<name>/status is about the namespace, /namespaces/<name>/pods about what is in it.
    if rest[0] == "namespaces" and len(rest) > 2 and (group or rest[2] not in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3 and rest[2] != "proxy":
        raise no_such_path()
    type_ = registry.find(group, version, rest[0])
    if type_ is None or "" in rest or (namespace and not type_.resource.namespaced):
        raise no_such_path()
    name, subresource = (*rest[1:3], "", "")[:2]
    return type_, namespace, name, subresource


def _check_subresource(type_: ResourceType, subresource: str, verb: str) -> None:
    served = subresource in type_.subresources
    served |= (subresource == "status" and type_.has_status) or (subresource == "scale" and type_.has_scale)
    if not served:
        raise no_such_path()
    allowed = _SUBRESOURCE_VERBS.get(subresource)
    if not verb or (allowed is not None and verb not in allowed):
        raise method_not_allowed()


def _check_parameters(verb: str, query: Mapping[str, str]) -> None:
    unknown = sorted(set(query) - _PARAMETERS[verb])
    if unknown:
        raise bad_request(f"this server does not know the parameters {', '.join(unknown)} of {verb}")
