"""``/openapi/v2``: one Swagger 2.0 document of everything served, for clients older than OpenAPI v3.

Version 2 cannot say all that version 3 can. What is left out of a custom resource's schema is what a real
server leaves out (``ToStructuralOpenAPIV2`` in k8s.io/apiextensions-apiserver), since kubectl cannot read it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from etl_operator.sandbox.http.documents.discovery import Served
from etl_operator.sandbox.http.documents.openapi import (
    COMPONENTS,
    GVK,
    Schemas,
    paths_of,
    references,
    subschemas,
    with_kind,
)
from informers.apiserver.schema.bundle import VERSION
from informers.objects import Resource

_DEFINITIONS = "#/definitions/"
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_ENCODINGS = ["application/json", "application/yaml"]
_UNKNOWN_TO_V2 = ("allOf", "anyOf", "oneOf", "not", "nullable", "default")


def document(resources: Iterable[Served], schemas: Schemas) -> bytes:
    """The document, encoded as JSON."""
    definitions: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    waiting: list[str] = []
    for served in resources:
        name = schemas.component(served.resource)
        if name is not None:
            waiting.append(name)
        custom = schemas.custom(served.resource) is not None
        for path, item in paths_of(served, name, custom=custom):
            waiting.extend(references(item))
            paths[path] = _path_item(item, custom=custom)
    while waiting:
        name = waiting.pop()
        if name not in definitions:
            schema = _definition(name, schemas)
            waiting.extend(references(schema))
            definitions[name] = _renamed(schema)
    return msgspec.json.encode(
        {
            "swagger": "2.0",
            "info": {"title": "etl-operator sandbox", "version": VERSION},
            "paths": dict(sorted(paths.items())),
            "definitions": dict(sorted(definitions.items())),
            "securityDefinitions": {
                "BearerToken": {
                    "description": "Bearer Token authentication",
                    "type": "apiKey",
                    "name": "authorization",
                    "in": "header",
                }
            },
            "security": [{"BearerToken": []}],
        }
    )


def _definition(name: str, schemas: Schemas) -> dict[str, Any]:
    resource = schemas.defined(name)
    if resource is None:
        return _converted(schemas.definition(name))
    schema = schemas.custom(resource)
    assert schema is not None
    return of_custom(schema, resource)


def of_custom(schema: Mapping[str, Any], resource: Resource) -> dict[str, Any]:
    """The definition of a custom resource's kind, references still in the form of version 3."""
    if schema.get(_PRESERVE):
        # kubectl takes fields for unknown as soon as one is known.
        completed = with_kind({"type": "object"}, resource)
        del completed["properties"]
        return completed
    simplified = copy.deepcopy(dict(schema))
    _simplify(simplified)
    return _converted(with_kind(simplified, resource), custom=True)


def _simplify(schema: dict[str, Any]) -> None:
    nullable, preserved = schema.get("nullable"), schema.get(_PRESERVE)
    below = list(subschemas(schema))
    values = schema.get("additionalProperties")
    for word in _UNKNOWN_TO_V2:
        schema.pop(word, None)
    if nullable or preserved:
        schema.pop("items", None)
        schema.pop("properties", None)
    kind = schema.get("type")
    if nullable or (preserved and kind == "object") or (kind == "array" and "items" not in schema):
        schema.pop("type", None)
    fields = schema.get("properties") or {}
    required = [one for one in schema.get("required") or () if not fields.get(one, {}).get("nullable")]
    if isinstance(values, dict) and values.get("nullable"):
        required = []
    schema.pop("required", None)
    if required:
        schema["required"] = required
    for one in below:
        _simplify(one)


def _converted(schema: Mapping[str, Any], *, custom: bool = False) -> dict[str, Any]:
    """A schema as version 2 has it.

    :param custom: whether a definition made it, whose extensions stay.
    """
    result = dict(schema)
    if len(result.get("allOf") or ()) == 1:
        # Version 2 has a description beside a reference.
        result.update(result.pop("allOf")[0])
    result.pop("default", None)
    if not custom:
        result.pop(_PRESERVE, None)
        if result.pop(_INT_OR_STRING, False):
            result.update({"type": "string", "format": "int-or-string"})
        if result.pop("oneOf", None):
            # A number is taken as well as the text that is the usual form.
            result["type"] = "string"
    if isinstance(result.get("properties"), Mapping):
        result["properties"] = {
            name: _converted(one, custom=custom) for name, one in result["properties"].items()
        }
    for word in ("items", "additionalProperties"):
        if isinstance(result.get(word), Mapping):
            result[word] = _converted(result[word], custom=custom)
    return result


def _renamed(value: Any) -> Any:
    if isinstance(value, list):
        return [_renamed(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: one.replace(COMPONENTS, _DEFINITIONS, 1)
        if key == "$ref" and isinstance(one, str)
        else _renamed(one)
        for key, one in value.items()
    }


def _path_item(item: Mapping[str, Any], *, custom: bool) -> dict[str, Any]:
    return {
        method: [_parameter(one) for one in operation]
        if method == "parameters"
        else _operation(operation, custom=custom)
        for method, operation in item.items()
    }


def _operation(operation: Mapping[str, Any], *, custom: bool) -> dict[str, Any]:
    parameters = [_parameter(one) for one in operation.get("parameters") or ()]
    consumes = _ENCODINGS if custom else ["*/*"]
    if body := operation.get("requestBody"):
        schema = next(iter(body["content"].values()))["schema"]
        said = {"name": "body", "in": "body", "schema": _renamed(schema)}
        parameters.insert(0, {**said, "required": True} if body.get("required") else said)
        if operation["x-kubernetes-action"] == "patch":
            consumes = list(body["content"])
    result = {
        "consumes": consumes,
        "produces": _ENCODINGS,
        "schemes": ["https"],
        "responses": {
            code: {
                "description": answer["description"],
                "schema": _renamed(answer["content"]["application/json"]["schema"]),
            }
            for code, answer in operation["responses"].items()
        },
        "x-kubernetes-action": operation["x-kubernetes-action"],
        GVK: operation[GVK],
    }
    return {**result, "parameters": parameters} if parameters else result


def _parameter(parameter: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: one for key, one in parameter.items() if key != "schema"}
    return {**rest, **parameter["schema"]}
