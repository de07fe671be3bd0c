"""Whether a schema has the shape of the Go type it is decoded into, all the way down."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

_NUMBER = (int, float)
_WHOLE = (int,)
_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("type", "format", "pattern", "title", "description", "id", "$ref", "$schema"), (str,)),
    **dict.fromkeys(("x-kubernetes-list-type", "x-kubernetes-map-type"), (str,)),
    **dict.fromkeys(("nullable", "uniqueItems", "exclusiveMinimum", "exclusiveMaximum"), (bool,)),
    **dict.fromkeys(("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"), (bool,)),
    "x-kubernetes-int-or-string": (bool,),
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), _NUMBER),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _WHOLE),
    **dict.fromkeys(("minProperties", "maxProperties"), _WHOLE),
    **dict.fromkeys(("enum", "required", "x-kubernetes-list-map-keys", "x-kubernetes-validations"), (list,)),
    **dict.fromkeys(("allOf", "anyOf", "oneOf"), (list,)),
    **dict.fromkeys(("properties", "patternProperties", "definitions", "not", "externalDocs"), (dict,)),
    "items": (dict, list),
    "additionalProperties": (dict, bool),
}
_MAPS = ("properties", "patternProperties", "definitions")
_TEXTS = ("required", "x-kubernetes-list-map-keys")


def misfit(raw: Any, path: str) -> str | None:
    """The path of the first value of a wrong type; ``None`` when everything fits. A null fits everywhere."""
    if raw is None:
        return None
    if not isinstance(raw, dict):
        return path
    for word, value in raw.items():
        kinds = _KINDS.get(word)
        here = f"{path}.{word}"
        if value is None or kinds is None:
            continue
        if not _fits(value, kinds):
            return here
        found = _inside(word, value, here)
        if found is not None:
            return found
    return None


def _fits(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int | float) and type(value) in kinds:
        # As large as int64 and float64 are.
        return -(2**63) <= value < 2**63 if kinds is _WHOLE else abs(value) <= sys.float_info.max
    return isinstance(value, kinds)


def _inside(word: str, value: Any, path: str) -> str | None:
    if word in _TEXTS:
        return None if all(isinstance(one, str) for one in value) else path
    if word == "externalDocs":
        texts = (value.get("description"), value.get("url"))
        return None if all(one is None or isinstance(one, str) for one in texts) else path
    if word == "x-kubernetes-validations":
        return None if all(isinstance(one, dict) for one in value) else path
    if word in _MAPS:
        parts = [(below, f"{path}.{name}") for name, below in value.items()]
    elif word in ("items", "additionalProperties", "not") and isinstance(value, dict):
        parts = [(value, path)]
    elif isinstance(value, list) and word != "enum":
        parts = [(below, f"{path}[{position}]") for position, below in enumerate(value)]
    else:
        return None
    return next((found for below, here in parts if (found := misfit(below, here)) is not None), None)
