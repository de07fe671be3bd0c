"""Routing: from a method, a path and a query to a verb and a resource."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from informers.apiserver.errors.refusals import method_not_allowed, no_such_path
from informers.apiserver.kinds.registry import Registry, ResourceType

ELSEWHERE = frozenset(
    {"attach", "ephemeralcontainers", "exec", "log", "portforward", "proxy", "resize", "token"}
)
"""Subresources that are about an object but not about its storage. They are routed, not served here."""

_ON_OBJECT = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_ON_COLLECTION = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
_SUBRESOURCE_VERBS: Mapping[str, frozenset[str]] = {
    "approval": frozenset({"get", "update", "patch"}),
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
    :param name: "" for the collection; a watch with a name is of that object alone.
    :param subresource: "" for the object itself.
    """

    verb: str
    type: ResourceType
    namespace: str
    name: str
    subresource: str
    query: Mapping[str, str]


class Address(NamedTuple):
    """The parts of a path below ``/api`` or ``/apis``; "" for what it does not have.

    :param watched: whether it is the older form of a watch, ``/api/v1/watch/...``.
    """

    group: str
    version: str
    watched: bool
    namespace: str
    plural: str
    name: str
    subresource: str


def address(path: str) -> Address | None:
    """Take a path apart; ``None`` when it cannot be one of a resource."""
    match path.strip("/").split("/"):
        case ["api", version, *rest] if rest:
            group = ""
        case ["apis", group, version, *rest] if rest:
            pass
        case _:
            return None
    watched = rest[0] == "watch" and len(rest) > 1
    rest = rest[1:] if watched else rest
    namespace = ""
    # /namespaces/<name>/status is about the namespace, /namespaces/<name>/pods about what is in it.
    if rest[0] == "namespaces" and len(rest) > 2 and (group or rest[2] not in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    if "" in rest or (len(rest) > 3 and rest[2] != "proxy"):
        return None
    plural, name, subresource = (*rest[:3], "", "")[:3]
    return Address(group, version, watched, namespace, plural, name, subresource)


def flag(query: Mapping[str, str], name: str) -> bool | None:
    """A boolean parameter as servers read it: whatever is not ``0`` or ``false`` means true, "" as well."""
    value = query.get(name)
    return None if value is None else value.lower() not in ("0", "false")


@runtime_checkable
class _ManyValued(Protocol):
    def getall(self, key: str, default: Any) -> Iterable[str]: ...


def values(query: Mapping[str, str], name: str) -> list[str]:
    """Every value of a parameter; a query that is a plain mapping has one at most."""
    if isinstance(query, _ManyValued):
        return list(query.getall(name, ()))
    return [query[name]] if name in query else []


def parse(registry: Registry, method: str, path: str, query: Mapping[str, str]) -> RequestInfo:
    """Find the resource and the verb.

    Parameters that the verb does not use are ignored, as they are by a real server.

    :raises StatusError: 404 for a path nobody serves; 405 for a method it does not have.
    """
    type_, at = _target(registry, path)
    if at.subresource:
        verb = {**_ON_OBJECT, "POST": "create"}.get(method, "")
        _check_subresource(type_, at.subresource, verb)
    elif at.watched:
        verb = "watch" if method == "GET" else ""
    else:
        verb = (_ON_OBJECT if at.name else _ON_COLLECTION).get(method, "")
    if verb == "list" and flag(query, "watch"):
        verb = "watch"
    if not at.subresource and verb not in type_.verbs:
        raise method_not_allowed()
    if type_.resource.namespaced and not at.namespace and verb not in ("list", "watch"):
        # Across namespaces there is nothing but reading; custom resources have no such path at all.
        raise no_such_path() if type_.custom else method_not_allowed()
    return RequestInfo(verb, type_, at.namespace, at.name, at.subresource, query)


def _target(registry: Registry, path: str) -> tuple[ResourceType, Address]:
    at = address(path)
    type_ = registry.find(at.group, at.version, at.plural) if at is not None else None
    if at is None or type_ is None or (at.namespace and not type_.resource.namespaced):
        raise no_such_path()
    if at.watched and (at.subresource or "watch" not in type_.verbs):
        raise no_such_path()
    return type_, at


def _check_subresource(type_: ResourceType, subresource: str, verb: str) -> None:
    served = subresource in type_.subresources
    served |= (subresource == "status" and type_.has_status) or (subresource == "scale" and type_.has_scale)
    if not served:
        raise no_such_path()
    allowed = _SUBRESOURCE_VERBS.get(subresource)
    if not verb or (allowed is not None and verb not in allowed):
        raise method_not_allowed()
