"""Structural schemas, made of pydantic models: what a CustomResourceDefinition may contain, and what a server
makes of values by it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

_REFERENCE = "#/$defs/"
_UNSPOKEN = frozenset({"$defs", "$ref", "anyOf", "const", "title"})
"""Words of JSON schema that a structural schema must not have, or that say nothing to users."""


def structural_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """The ``openAPIV3Schema`` of a kind."""
    schema = dict(inlined(kind))
    # These three are the server's: saying more about metadata is forbidden in a structural schema.
    schema["properties"] = {**schema["properties"], "metadata": {"type": "object"}}
    schema["required"] = ["spec"]
    return schema


@cache
def inlined(model: type[BaseModel]) -> Mapping[str, Any]:
    """The schema of a model without references; optional fields have lost their null. Read-only."""
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return _fragment(raw, raw.get("$defs") or {})


def as_stored(value: Any, schema: Mapping[str, Any]) -> Any:
    """Decoded JSON as the server keeps it: without nulls, which only lists and free-form objects may hold,
    and with 3 for 3.0 where an integer belongs.

    :param schema: from :func:`inlined`.
    """
    if isinstance(value, list):
        return [as_stored(item, schema.get("items") or {}) for item in value]
    if isinstance(value, Mapping) and not schema.keys().isdisjoint(("properties", "additionalProperties")):
        fields, others = schema.get("properties") or {}, schema.get("additionalProperties") or {}
        return {
            name: as_stored(below, fields.get(name, others))
            for name, below in value.items()
            if below is not None
        }
    if schema.get("type") == "integer" and isinstance(value, float) and value.is_integer():
        # JSON has one kind of number.
        return int(value)
    return value


def _fragment(raw: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    merged = _merged(raw, definitions)
    result = {word: value for word, value in merged.items() if word not in _UNSPOKEN}
    if "properties" in merged:
        result["properties"] = {
            name: _fragment(below, definitions) for name, below in merged["properties"].items()
        }
    if isinstance(merged.get("items"), Mapping):
        result["items"] = _fragment(merged["items"], definitions)
        # The list has a description already, and big schemas have a price: clients fetch them all.
        result["items"].pop("description", None)
    additional = result.pop("additionalProperties", None)
    if isinstance(additional, Mapping):
        result["additionalProperties"] = _fragment(additional, definitions)
    if result.get("default", ...) is None:
        del result["default"]
    if "description" in result:
        result["description"] = " ".join(result["description"].split())
    return {word: result[word] for word in sorted(result, key=_position)}


def _position(word: str) -> tuple[int, str]:
    """What people look for first comes first; bulk comes last."""
    first, last = ("description", "type", "default"), ("properties", "items", "additionalProperties")
    if word in first:
        return first.index(word), ""
    return (len(first) + 1, "") if word in last else (len(first), word)


def _merged(raw: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The fragment with what it refers to; words beside the reference win."""
    merged = dict(raw)
    if "$ref" in raw:
        target = definitions[raw["$ref"].removeprefix(_REFERENCE)]
        merged = {**_merged(target, definitions), **merged}
    alternatives = [one for one in raw.get("anyOf") or () if one.get("type") != "null"]
    if alternatives:
        (only,) = alternatives
        merged = {**_merged(only, definitions), **merged}
    return merged
