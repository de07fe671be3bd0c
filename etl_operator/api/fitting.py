"""Values cut to what a definition allows: what is observed has no bounds, what is stored has. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from etl_operator.api.base import Model
from etl_operator.api.schema import inlined

_DROPPED: Any = object()


def fitted(model: type[Model], value: dict[str, Any]) -> dict[str, Any]:
    """The value as the definition made of ``model`` accepts it.

    Lists and texts that are too long are cut, numbers are kept within their bounds; what breaks a pattern or
    an enumeration is left out. A value that fits is returned as it is.

    :param value: plain data, by the names of the API.
    """
    try:
        model.model_validate(value)
    except ValidationError:
        cut: dict[str, Any] = _fit(value, inlined(model))
        return cut
    return value


def _fit(value: Any, schema: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return _fit_fields(value, schema)
    if isinstance(value, list | tuple):
        items = [_fit(item, schema.get("items") or {}) for item in value[: schema.get("maxItems")]]
        return [item for item in items if item is not _DROPPED]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return _fit_number(value, schema)
    return _fit_text(value, schema) if isinstance(value, str) else value


def _fit_fields(value: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    fields, others = schema.get("properties") or {}, schema.get("additionalProperties") or {}
    fitting = {name: _fit(one, fields.get(name, others)) for name, one in value.items()}
    kept = [(name, one) for name, one in fitting.items() if one is not _DROPPED]
    return dict(kept[: schema.get("maxProperties")])


def _fit_number(value: int | float, schema: Mapping[str, Any]) -> int | float:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and value < least:
        return int(least)
    if most is not None and value > most:
        return int(most)
    return value


def _fit_text(value: str, schema: Mapping[str, Any]) -> Any:
    longest = schema.get("maxLength")
    if longest is not None and len(value) > longest:
        value = f"{value[: longest - 1]}…"
    pattern, words = schema.get("pattern"), schema.get("enum")
    if pattern is not None and not re.search(pattern, value):
        return _DROPPED
    return _DROPPED if words is not None and value not in words else value
