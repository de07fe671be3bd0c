"""The entries of ``Status.details.causes`` that several rules give."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from informers.apiserver.errors.status import Cause

_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode

__all__ = [
    "duplicate",
    "each_invalid",
    "forbidden",
    "immutable",
    "invalid",
    "not_negative",
    "required",
    "shown",
    "shown_inside",
    "unsupported",
]


def invalid(field: str, value: Any, detail: str) -> Cause:
    """A value that breaks a rule."""
    return Cause("FieldValueInvalid", f"Invalid value: {shown(value)}: {detail}", field)


def shown(value: Any) -> str:
    """A value as messages show it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _encode(value)


def shown_inside(**fields: Any) -> str:
    """A composite value as servers show it: in the form they hold it in, fields in their order."""
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def required(field: str, detail: str = "") -> Cause:
    """A field that must be there."""
    return Cause("FieldValueRequired", "Required value" + (f": {detail}" if detail else ""), field)


def forbidden(field: str, detail: str) -> Cause:
    """A field that must not be there, or not be changed."""
    return Cause("FieldValueForbidden", f"Forbidden: {detail}", field)


def duplicate(field: str, value: Any) -> Cause:
    """A value that must be unique and is not."""
    return Cause("FieldValueDuplicate", f"Duplicate value: {shown(value)}", field)


def unsupported(field: str, value: Any, supported: Iterable[str]) -> Cause:
    """A value that is none of a few."""
    names = ", ".join(f'"{one}"' for one in supported)
    text = f"Unsupported value: {shown(value)}: supported values: {names}"
    return Cause("FieldValueNotSupported", text, field)


def each_invalid(field: str, value: Any, problems: Iterable[str]) -> Iterator[Cause]:
    """One cause per problem with a value."""
    for problem in problems:
        yield invalid(field, value, problem)


def immutable(field: str, new: Any, old: Any) -> Iterator[Cause]:
    """A field that may not change."""
    if new != old:
        yield invalid(field, new, "field is immutable")


def not_negative(field: str, value: Any) -> Iterator[Cause]:
    """A number that may be zero."""
    if isinstance(value, int) and value < 0:
        yield invalid(field, value, "must be greater than or equal to 0")
