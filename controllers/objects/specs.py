"""Specs and statuses as they are found. Pure.

A definition that is looser than the models, or an object that was stored under an older one, lets any value
in. Whoever needs a valid spec validates it; reading one must not fail, least of all when the object is to go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etl_operator.api.validation import validate
from informers.objects import Object
from informers.views.typed import read_spec, read_status
from informers.views.view import View

_NOTHING: Mapping[str, Any] = {}


def spec_of(obj: Object) -> Mapping[str, Any]:
    """The spec as the user wrote it; empty when it is no object."""
    return section(obj, "spec")


def status_of(obj: Object) -> Mapping[str, Any]:
    """The status as it is; empty when there is none."""
    return section(obj, "status")


def spec_in(view: View) -> Mapping[str, Any]:
    """Like :func:`spec_of`, where nothing else of the object is of interest."""
    try:
        return read_spec(view, dict[str, Any])
    except ValueError:
        return _NOTHING


def status_in(view: View) -> Mapping[str, Any]:
    """Like :func:`status_of`, where nothing else of the object is of interest."""
    try:
        return read_status(view, dict[str, Any]) or _NOTHING
    except ValueError:
        return _NOTHING


def section(part: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object in a field; empty when there is none."""
    found = part.get(name)
    return found if isinstance(found, Mapping) else _NOTHING


def text(part: Mapping[str, Any], name: str) -> str:
    """The text in a field; "" when there is none."""
    found = part.get(name)
    return found if isinstance(found, str) else ""


def texts(part: Mapping[str, Any], name: str) -> list[str]:
    """The texts of the list in a field."""
    found = part.get(name)
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def number(part: Mapping[str, Any], name: str, default: int, most: int) -> int:
    """The integer in a field; ``default`` when there is none, or none of 0 to ``most``."""
    found = part.get(name)
    valid = isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= most
    return int(found) if valid and found is not None else default


def problems(obj: Object) -> str:
    """What is wrong with the spec by the models of this operator, in one line; "" when it is valid.

    Unknown fields are no problem: a newer definition may have them.
    """
    found = validate({**obj, "status": None})
    broken = [one for one in found if one.field.startswith("spec") and one.message != "unknown field"]
    return "; ".join(str(one) for one in broken[:5])
