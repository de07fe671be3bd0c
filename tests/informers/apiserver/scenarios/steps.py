"""One request of a scenario, as a server is asked it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from informers.apiserver.kinds.table import builtin_types
from informers.objects import Object, Resource

NAMESPACE = "rules-check"

_CONTENT = {
    "apply": "application/apply-patch+yaml",
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
_METHODS = {"create": "POST", "update": "PUT", "delete": "DELETE", "get": "GET"}


@dataclass(frozen=True, slots=True)
class Step:
    """One request.

    :param how: a key of the tables above.
    """

    how: str
    body: Any = None
    manager: str = ""
    force: bool = False
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)


@cache
def _builtin_resources() -> Mapping[tuple[str, str], Resource]:
    types = (one.resource for versions in builtin_types().values() for one in versions)
    return {(one.api_version, one.kind): one for one in types}


def resource_of(obj: Object) -> Resource:
    """The resource of a scenario's object."""
    group, _, version = obj["apiVersion"].rpartition("/")
    kind = obj["kind"]
    found = _builtin_resources().get((obj["apiVersion"], kind))
    return found or Resource(group, version, kind.lower() + "s", kind)


def request(obj: Object, step: Step) -> tuple[str, str, dict[str, str], Any, str]:
    """Method, path, query, body and content type of a step on an object."""
    resource = resource_of(obj)
    name = "" if step.how == "create" else obj["metadata"]["name"]
    namespace = NAMESPACE if resource.namespaced else ""
    query = dict(step.query)
    if step.manager:
        query["fieldManager"] = step.manager
    if step.force:
        query["force"] = "true"
    method = _METHODS.get(step.how, "PATCH")
    path = resource.path(namespace, name, step.subresource)
    return method, path, query, step.body, _CONTENT.get(step.how, "application/json")


def object_of(steps: list[Step]) -> Object:
    """The object a scenario is about."""
    body: Object = steps[0].body
    return body
