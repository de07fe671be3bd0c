"""OpenAPI v3 documents: what ``kubectl explain`` and kubectl's client-side checks read.

A document describes one group version: the schemas of its kinds with everything they refer to, and the paths
with just enough on them for clients to see which verbs, body types and parameters work. ``swagger.py`` makes
the one document of version 2 from the same paths and schemas.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from etl_operator.sandbox.http.documents.discovery import Served
from informers.objects import Object, Resource

COMPONENTS = "#/components/schemas/"
"""What a reference begins with."""
_DEFINITIONS = "#/definitions/"
GVK = "x-kubernetes-group-version-kind"
EMBEDDED = "x-kubernetes-embedded-resource"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
OBJECT_META = f"{_META}ObjectMeta"

_PATCH_TYPES = ("application/json-patch+json", "application/merge-patch+json")
_STRATEGIC = "application/strategic-merge-patch+json"
_APPLY = "application/apply-patch+yaml"


class Schemas(Protocol):
    """Where the schemas come from: the bundle, and the custom definitions."""

    def component(self, resource: Resource) -> str | None:
        """The component name of a kind, or ``None`` when it has no schema."""
        ...

    def definition(self, name: str) -> Mapping[str, Any]:
        """The schema of a component, references as ``#/definitions/<name>`` or in OpenAPI v3 form."""
        ...

    def custom(self, resource: Resource) -> Mapping[str, Any] | None:
        """The schema in a CustomResourceDefinition; ``None`` when the kind is not defined by one."""
        ...

    def defined(self, name: str) -> Resource | None:
        """The kind of a component that a CustomResourceDefinition defines."""
        ...


def index(documents: Iterable[tuple[str, str]]) -> Object:
    """``GET /openapi/v3``: one entry per document path and its hash, so that clients can cache forever."""
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
        paths.update(paths_of(served, name, custom=schemas.custom(served.resource) is not None))
    for name in references(paths):
        _collect(name, schemas, components)
    result = {
        "openapi": "3.0.0",
        "info": {"title": "etl-operator sandbox", "version": f"{group}/{version}".lstrip("/")},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(components.items()))},
    }
    return json.dumps(result, separators=(",", ":")).encode()


def with_kind(schema: Mapping[str, Any], resource: Resource) -> dict[str, Any]:
    """A custom resource's schema with what the server adds to it: type fields, metadata, the kind.

    The same fields, and that they are required, are added wherever an object is embedded.
    """
    completed = copy.deepcopy(dict(schema))
    _complete_embedded(completed)
    completed.setdefault("properties", {}).update(_type_and_metadata(OBJECT_META))
    completed[GVK] = [_gvk(resource)]
    return completed


def list_of(component: str, resource: Resource) -> dict[str, Any]:
    """The schema of a list of objects of a kind.

    :param component: that of the kind.
    """
    items = {"type": "array", "items": {"$ref": COMPONENTS + component}, "description": "The objects."}
    return {
        "description": f"A list of objects of the kind {resource.kind}.",
        "type": "object",
        "required": ["items"],
        "properties": {**_type_and_metadata(f"{_META}ListMeta"), "items": items},
        GVK: [{**_gvk(resource), "kind": f"{resource.kind}List"}],
    }


def _type_and_metadata(metadata: str) -> dict[str, Any]:
    return {
        "apiVersion": {
            "type": "string",
            "description": "The versioned schema of this representation of an object.",
        },
        "kind": {"type": "string", "description": "The resource this object represents."},
        "metadata": {"description": "Standard metadata.", "allOf": [{"$ref": COMPONENTS + metadata}]},
    }


def _complete_embedded(schema: dict[str, Any]) -> None:
    if schema.get(EMBEDDED) and schema.get("type") == "object":
        schema.setdefault("properties", {}).update(_type_and_metadata(OBJECT_META))
        required = schema.get("required") or []
        schema["required"] = [*required, *(one for one in ("kind", "apiVersion") if one not in required)]
    for below in subschemas(schema):
        _complete_embedded(below)


def subschemas(schema: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The schemas of what a value contains: its fields, items and values, one level down."""
    yield from (schema.get("properties") or {}).values()
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            yield schema[word]


def _gvk(resource: Resource) -> dict[str, str]:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _collect(name: str, schemas: Schemas, components: dict[str, Any]) -> None:
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in components:
            continue
        components[current] = converted = _converted(schemas.definition(current))
        waiting.extend(references(converted))


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
    target = {"$ref": COMPONENTS + str(value["$ref"]).removeprefix(_DEFINITIONS).removeprefix(COMPONENTS)}
    rest = {key: _converted(one) for key, one in value.items() if key != "$ref"}
    # OpenAPI 3.0 ignores what stands beside a reference, descriptions and merge keys included.
    return {**rest, "allOf": [target]} if rest else target


def references(value: Any) -> Iterator[str]:
    """The components a fragment refers to."""
    if isinstance(value, list):
        for one in value:
            yield from references(one)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            if key == "$ref" and isinstance(one, str):
                yield one.removeprefix(COMPONENTS)
            else:
                yield from references(one)


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


def paths_of(served: Served, component: str | None, *, custom: bool) -> Iterator[tuple[str, Any]]:
    """The paths of a resource, each with its operations.

    :param component: that of the kind, or ``None`` when it has no schema.
    :param custom: whether a CustomResourceDefinition defines the kind.
    """
    resource = served.resource
    collection = resource.path("{namespace}" if resource.namespaced else "")
    operations = _Operations(resource, component, custom=custom)
    verbs = set(served.verbs)
    yield collection, operations.some(verbs, {"get": "list", "post": "create", "delete": "deletecollection"})
    if resource.namespaced and "list" in verbs:
        yield resource.path(), operations.some({"list"}, {"get": "list"}, everywhere=True)
    if "get" in verbs:
        by_verb = {"get": "get", "put": "update", "patch": "patch", "delete": "delete"}
        yield f"{collection}/{{name}}", operations.some(verbs, by_verb, named=True)
        for below in served.subresources:
            if not below.group and below.kind == resource.kind:
                path = f"{collection}/{{name}}/{below.name}"
                yield path, operations.some(set(below.verbs), by_verb, named=True)


_STATUS = {"$ref": f"{COMPONENTS}{_META}Status"}
_DELETE_OPTIONS = {"$ref": f"{COMPONENTS}{_META}DeleteOptions"}


class _Operations:
    """The operation objects of one kind."""

    def __init__(self, resource: Resource, component: str | None, *, custom: bool) -> None:
        self._gvk = _gvk(resource)
        self._namespaced = resource.namespaced
        self._schema = {"$ref": COMPONENTS + component} if component else {"type": "object"}
        self._list = {"$ref": COMPONENTS + component + "List"} if component else {"type": "object"}
        self._patches = (*_PATCH_TYPES, *(() if custom else (_STRATEGIC,)), _APPLY)

    def some(
        self,
        allowed: set[str],
        by_method: Mapping[str, str],
        *,
        named: bool = False,
        everywhere: bool = False,
    ) -> dict[str, Any]:
        """A path item with the methods whose verb is allowed.

        :param named: whether the path is that of one object.
        :param everywhere: whether the path is that of all namespaces.
        """
        item: dict[str, Any] = {
            method: self._one(verb) for method, verb in by_method.items() if verb in allowed
        }
        inside = ["name"] if named else []
        if self._namespaced and not everywhere:
            inside.append("namespace")
        if inside:
            item["parameters"] = [{**_parameter(name), "in": "path", "required": True} for name in inside]
        return item

    def _one(self, verb: str) -> dict[str, Any]:
        action = {"create": "post", "update": "put"}.get(verb, verb)
        operation: dict[str, Any] = {
            "responses": {"200": {"description": "OK", "content": _content(self._answer(verb))}},
            "x-kubernetes-action": action,
            GVK: self._gvk,
        }
        if verb == "list":
            operation["parameters"] = _LIST_PARAMETERS
        elif verb in ("create", "update"):
            operation["parameters"] = _WRITE_PARAMETERS
            operation["requestBody"] = {"content": _content(self._schema), "required": True}
        elif verb == "patch":
            operation["parameters"] = [*_WRITE_PARAMETERS, _parameter("force", "boolean")]
            bodies = {kind: {"schema": {"type": "object"}} for kind in self._patches}
            operation["requestBody"] = {"content": bodies, "required": True}
        elif verb in ("delete", "deletecollection"):
            operation["parameters"] = [_parameter("dryRun"), _parameter("propagationPolicy")]
            operation["requestBody"] = {"content": _content(_DELETE_OPTIONS)}
        return operation

    def _answer(self, verb: str) -> Mapping[str, Any]:
        if verb in ("delete", "deletecollection"):
            return _STATUS
        return self._list if verb == "list" else self._schema


def _content(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
