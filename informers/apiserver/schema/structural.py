"""Whether a schema is structural, as the schema of a custom resource has to be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from informers.apiserver.errors.causes import shown
from informers.apiserver.schema import filling
from informers.apiserver.schema.cel import CompileError, Rule, check_types
from informers.apiserver.schema.cost import check_costs
from informers.apiserver.schema.node import JUNCTORS, Compiler
from informers.apiserver.schema.patterns import PatternError, compiled
from informers.apiserver.schema.validation import Validation

_NEEDS_TYPE = {
    "root": "must not be empty at the root",
    "field": "must not be empty for specified object fields",
    "item": "must not be empty for specified array items",
}
_FORBIDDEN = ("$ref", "definitions", "dependencies", "id", "patternProperties", "$schema", "additionalItems")
_STRUCTURE_ONLY = (
    "type",
    "default",
    "additionalProperties",
    "nullable",
    "title",
    "description",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
)
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_LIST_TYPES = ("atomic", "set", "map")


def check_structural(raw: Mapping[str, Any]) -> list[str]:
    """Why a schema is no structural schema, one sentence each, led by the path inside the schema.

    An empty list means that it can be served.
    """
    problems = [f"{path}: {problem}" for path, problem in _fragment(raw, "", "root")]
    metadata = (raw.get("properties") or {}).get("metadata") or {}
    if set(metadata.get("properties") or ()) - {"name", "generateName"}:
        problems.append(
            "properties[metadata]: Forbidden: must not specify anything other than name and generateName, "
            "but metadata is implicitly specified"
        )
    if not problems:
        problems = [f"{path}: {problem}" for path, problem in check_costs(raw)]
    return problems


def _inside(path: str, step: str) -> str:
    return f"{path}.{step}" if path else step


def _fragment(raw: Mapping[str, Any], path: str, level: str) -> Iterator[tuple[str, str]]:
    kind = raw.get("type")
    either = raw.get("x-kubernetes-int-or-string")
    if not kind and not either and not raw.get("x-kubernetes-preserve-unknown-fields"):
        yield _inside(path, "type"), f"Required value: {_NEEDS_TYPE[level]}"
    elif kind and kind not in _TYPES:
        supported = ", ".join(f'"{one}"' for one in _TYPES)
        yield _inside(path, "type"), f'Unsupported value: "{kind}": supported values: {supported}'
    elif level == "root" and kind and kind != "object":
        yield _inside(path, "type"), f'Invalid value: "{kind}": must be object at the root'
    for word in _FORBIDDEN:
        if word in raw:
            yield _inside(path, word), f"Forbidden: {word} is not supported"
    if raw.get("uniqueItems"):
        yield (
            _inside(path, "uniqueItems"),
            "Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        )
    yield from _children(raw, path)
    yield from _list(raw, path)
    yield from _values(raw, path)
    for word in JUNCTORS:
        for position, below in enumerate(raw.get(word) or ()):
            yield from _junctor(below, _inside(path, f"{word}[{position}]"), bool(either))
    if isinstance(raw.get("not"), Mapping):
        yield from _junctor(raw["not"], _inside(path, "not"), False)


def _children(raw: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for name, below in (raw.get("properties") or {}).items():
        # In a map of Go structs a null is an empty one.
        yield from _fragment(below or {}, _inside(path, f"properties[{name}]"), "field")
    additional = raw.get("additionalProperties")
    here = _inside(path, "additionalProperties")
    if isinstance(additional, Mapping):
        yield from _fragment(additional, here, "field")
    elif additional is False:
        yield here, "Forbidden: additionalProperties cannot be set to false"
    if additional is not None and raw.get("properties"):
        yield here, "Forbidden: additionalProperties and properties are mutual exclusive"


def _list(raw: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    items = raw.get("items")
    if isinstance(items, Mapping):
        yield from _fragment(items, _inside(path, "items"), "item")
    elif raw.get("type") == "array":
        yield _inside(path, "items"), "Required value: must be specified"
    list_type = raw.get("x-kubernetes-list-type")
    here = _inside(path, "x-kubernetes-list-type")
    if list_type is None:
        return
    if list_type not in _LIST_TYPES:
        supported = ", ".join(f'"{one}"' for one in _LIST_TYPES)
        yield here, f'Unsupported value: "{list_type}": supported values: {supported}'
    if raw.get("type") != "array":
        yield _inside(path, "type"), "Invalid value: must be array if x-kubernetes-list-type is specified"
    if list_type != "map" or not isinstance(items, Mapping):
        return
    keys = raw.get("x-kubernetes-list-map-keys") or ()
    if not keys:
        yield (
            _inside(path, "x-kubernetes-list-map-keys"),
            "Required value: must not be empty if x-kubernetes-list-type is map",
        )
    properties = items.get("properties") or {}
    for key in keys:
        if key not in properties:
            yield (
                _inside(path, "x-kubernetes-list-map-keys"),
                f'Invalid value: "{key}": entries must all be names of item properties',
            )
        elif key not in (items.get("required") or ()) and "default" not in properties[key]:
            yield (
                _inside(path, f"items.properties[{key}].default"),
                "Required value: this property is in x-kubernetes-list-map-keys, "
                "so it must have a default or be a required property",
            )


def _values(raw: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    if pattern := raw.get("pattern"):
        try:
            compiled(pattern)
        except PatternError as error:
            why = f"must be a valid regular expression, but isn't: error parsing regexp: {error}"
            yield _inside(path, "pattern"), f'Invalid value: "{pattern}": {why}'
    for position, rule in enumerate(raw.get("x-kubernetes-validations") or ()):
        try:
            Rule(rule)
            check_types(rule, raw if path else {**raw, "x-kubernetes-embedded-resource": True})
        except CompileError as error:
            here = _inside(path, f"x-kubernetes-validations[{position}].{error.part}")
            if not error.expression:
                yield here, f"Required value: {error}"
            else:
                yield here, f"Invalid value: {_shown_rule(rule)}: {error}"
    if raw.get("default") is not None and raw.get("type"):
        node = Compiler().compile(raw)
        unknown: list[str] = []
        # A default is not itself filled in with the defaults of what is below it.
        value = filling.pruned(raw["default"], node, "", unknown)
        if unknown:
            problem = f"Invalid value: {shown(raw['default'])}: must not have unknown fields"
            yield _inside(path, "default"), problem
        for cause in Validation(False).of_value(value, node, ""):
            yield _inside(path, "default") + (f".{cause.field}" if cause.field else ""), cause.message


def _shown_rule(rule: Mapping[str, Any]) -> str:
    """A rule as servers show it: in the form they hold it in."""
    fields = {name: rule.get(name) or "" for name in ("rule", "message", "messageExpression")}
    fields |= {"reason": rule.get("reason"), "fieldPath": rule.get("fieldPath") or ""}
    fields["optionalOldSelf"] = rule.get("optionalOldSelf")
    held = {name[0].upper() + name[1:]: value for name, value in fields.items()}
    return json.dumps(held, separators=(",", ":"), ensure_ascii=False)


def _junctor(raw: Mapping[str, Any], path: str, either: bool) -> Iterator[tuple[str, str]]:
    for word in _STRUCTURE_ONLY:
        # Saying "an integer or a string" is the one use of a type inside a junctor.
        if word in raw and not (either and word == "type"):
            yield _inside(path, word), "Forbidden: must be empty to be structural"
    for name, below in (raw.get("properties") or {}).items():
        yield from _junctor(below or {}, _inside(path, f"properties[{name}]"), either)
    if isinstance(raw.get("items"), Mapping):
        yield from _junctor(raw["items"], _inside(path, "items"), either)
    for word in JUNCTORS:
        for position, below in enumerate(raw.get(word) or ()):
            yield from _junctor(below, _inside(path, f"{word}[{position}]"), either)
