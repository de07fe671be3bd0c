"""OpenAPI v3 documents: what ``kubectl explain`` and kubectl's client-side checks read.

A document describes one group version: the schemas of its kinds with everything they refer to, and
the paths with just enough on them for clients to see which verbs, body types and parameters work.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from etl_operator.sandbox.apiserver.discovery import Served
from informers.objects import Object, Resource

_COMPONENTS = "#/components/schemas/"
_DEFINITIONS = "#/definitions/"
_GVK = "x-kubernetes-group-version-kind"

_PATCH_TYPES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
_STRATEGIC = "application/strategic-merge-patch+json"


class Schemas(Protocol):
    """Where the schemas come from."""

    def component(self, resource: Resource) -> str | None:
        """The component name of a kind, or ``None`` when it has no schema."""
        ...

    def definition(self, name: str) -> Mapping[str, Any]:
        """The schema of a component, references as ``#/definitions/<name>`` or in OpenAPI v3 form."""
        ...

    def custom(self, resource: Resource) -> bool:
        """Whether the kind is defined by a CustomResourceDefinition."""
        ...


def index(documents: Iterable[tuple[str, str]]) -> Object:
    """``GET /openapi/v3``: one entry per document path and its hash, so that clients can cache for ever."""
    return {
        "paths": {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"} for path, digest in documents
        }
    }


def digest(document: bytes) -> str:
    """The hash clients see in the index."""
    return hashlib.sha256(document).hexdigest()[:32].upper()


def document(group: str, version: str, resources: Sequence[Served], schemas: Schemas) -> bytes:
    """The OpenAPI v3 document of one group version, encoded."""
    components: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for served in resources:
        name = schemas.component(served.resource)
        if name is not None:
            _collect(name, schemas, components)
        paths.update(_paths(served, name, custom=schemas.custom(served.resource)))
    result = {
        "openapi": "3.0.0",
        "info": {"title": "etl-operator sandbox", "version": f"{group}/{version}".lstrip("/")},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(components.items()))},
    }
    return json.dumps(result, separators=(",", ":")).encode()


def with_kind(schema: Mapping[str, Any], resource: Resource, metadata: str) -> dict[str, Any]:
    """A custom resource's schema with what the server adds to it: type fields, metadata, the kind.

    :param metadata: the component that describes ``metadata``.
    """
    completed = copy.deepcopy(dict(schema))
    properties = completed.setdefault("properties", {})
    properties["apiVersion"] = {
        "type": "string",
        "description": "The versioned schema of this representation of an object.",
    }
    properties["kind"] = {"type": "string", "description": "The resource this object represents."}
    properties["metadata"] = {
        "description": "Standard object's metadata.",
        "allOf": [{"$ref": _COMPONENTS + metadata}],
    }
    completed[_GVK] = [_gvk(resource)]
    return completed


def _gvk(resource: Resource) -> dict[str, str]:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _collect(name: str, schemas: Schemas, components: dict[str, Any]) -> None:
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in components:
            continue
        components[current] = converted = _converted(schemas.definition(current))
        waiting.extend(_references(converted))


def _converted(value: Any) -> Any:
    """JSON-Schema habits turned into OpenAPI v3 ones: references, and ``type`` lists with ``null``."""
    if isinstance(value, list):
        return [_converted(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    if isinstance(value.get("$ref"), str):
        return _reference(value)
    result = {key: _converted(one) for key, one in value.items()}
    kinds = result.get("type")
    if isinstance(kinds, list):
        real = [kind for kind in kinds if kind != "null"]
        result.pop("type")
        if len(real) == 1:
            result["type"] = real[0]
        elif real:
            result["oneOf"] = [{"type": kind} for kind in real]
    return result


def _reference(value: Mapping[str, Any]) -> dict[str, Any]:
    target = {"$ref": _COMPONENTS + str(value["$ref"]).removeprefix(_DEFINITIONS).removeprefix(_COMPONENTS)}
    rest = {key: _converted(one) for key, one in value.items() if key != "$ref"}
    # OpenAPI 3.0 ignores what stands beside a reference, descriptions and merge keys included.
    return {**rest, "allOf": [target]} if rest else target


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for one in value:
            yield from _references(one)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            if key == "$ref" and isinstance(one, str):
                yield one.removeprefix(_COMPONENTS)
            else:
                yield from _references(one)


def _parameter(name: str, kind: str = "string") -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}}


_WRITE_PARAMETERS = [_parameter("dryRun"), _parameter("fieldManager"), _parameter("fieldValidation")]
_LIST_PARAMETERS = [
    _parameter("allowWatchBookmarks", "boolean"),
    _parameter("continue"),
    _parameter("fieldSelector"),
    _parameter("labelSelector"),
    _parameter("limit", "integer"),
    _parameter("resourceVersion"),
    _parameter("timeoutSeconds", "integer"),
    _parameter("watch", "boolean"),
]


def _paths(served: Served, component: str | None, *, custom: bool) -> Iterator[tuple[str, Any]]:
    resource = served.resource
    collection = resource.path("{namespace}" if resource.namespaced else "")
    operations = _Operations(resource, component, custom=custom)
    verbs = set(served.verbs)
    yield collection, operations.some(verbs, {"get": "list", "post": "create", "delete": "deletecollection"})
    if resource.namespaced and "list" in verbs:
        yield resource.path(), operations.some({"list"}, {"get": "list"})
    if "get" in verbs:
        by_verb = {"get": "get", "put": "update", "patch": "patch", "delete": "delete"}
        yield f"{collection}/{{name}}", operations.some(verbs, by_verb)
        for below in served.subresources:
            if not below.group and below.kind == resource.kind:
                path = f"{collection}/{{name}}/{below.name}"
                yield path, operations.some(set(below.verbs), by_verb)


class _Operations:
    """The operation objects of one kind."""

    def __init__(self, resource: Resource, component: str | None, *, custom: bool) -> None:
        self._gvk = _gvk(resource)
        self._schema = {"$ref": _COMPONENTS + component} if component else {"type": "object"}
        self._patches = _PATCH_TYPES if custom else (*_PATCH_TYPES, _STRATEGIC)

    def some(self, allowed: set[str], by_method: Mapping[str, str]) -> dict[str, Any]:
        """A path item with the methods whose verb is allowed."""
        return {method: self._one(verb) for method, verb in by_method.items() if verb in allowed}

    def _one(self, verb: str) -> dict[str, Any]:
        action = {"create": "post", "update": "put"}.get(verb, verb)
        operation: dict[str, Any] = {
            "responses": {"200": {"description": "OK", "content": self._content("application/json")}},
            "x-kubernetes-action": action,
            _GVK: self._gvk,
        }
        if verb == "list":
            operation["parameters"] = _LIST_PARAMETERS
        elif verb in ("create", "update"):
            operation["parameters"] = _WRITE_PARAMETERS
            operation["requestBody"] = {"content": self._content("application/json"), "required": True}
        elif verb == "patch":
            operation["parameters"] = [*_WRITE_PARAMETERS, _parameter("force", "boolean")]
            bodies = {kind: {"schema": {"type": "object"}} for kind in self._patches}
            operation["requestBody"] = {"content": bodies, "required": True}
        elif verb in ("delete", "deletecollection"):
            operation["parameters"] = [_parameter("dryRun"), _parameter("propagationPolicy")]
        return operation

    def _content(self, media_type: str) -> dict[str, Any]:
        return {media_type: {"schema": self._schema}}
