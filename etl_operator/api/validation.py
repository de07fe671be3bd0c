"""What the API server would say about a manifest, without one: fields, rules and changes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from etl_operator.api.base import Model
from etl_operator.api.crds import KINDS, Kind, schema_of
from etl_operator.api.resources import API_VERSION, GROUP


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a manifest.

    :param field: its path, such as ``spec.steps[1]``; "" for the object as a whole.
    """

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def validate(obj: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> list[Problem]:
    """Everything wrong with an object of the five kinds; an empty list means it would be accepted.

    Unknown fields are problems here, as they are for ``kubectl apply``.

    :param old: the object it is to replace; some fields must not change.
    """
    kind = _kind_of(obj)
    if isinstance(kind, Problem):
        return [kind]
    unknown = [Problem(path, "unknown field") for path in _unknown(obj, schema_of(kind.resource), "")]
    try:
        new = kind.model.model_validate(obj)
    except ValidationError as error:
        return [*unknown, *_problems(error)]
    if old is None:
        return unknown
    return [*unknown, *_transitions(new, kind.model.model_validate(old), "")]


def _kind_of(obj: Mapping[str, Any]) -> Kind | Problem:
    api_version, name = obj.get("apiVersion"), obj.get("kind")
    if api_version != API_VERSION:
        return Problem("apiVersion", f"{api_version!r} is not {API_VERSION}")
    for kind in KINDS:
        if kind.resource.kind == name:
            return kind
    known = ", ".join(kind.resource.kind for kind in KINDS)
    return Problem("kind", f"{name!r} is no kind of {GROUP}: {known}")


def _problems(error: ValidationError) -> Iterator[Problem]:
    for one in error.errors(include_url=False):
        cause = (one.get("ctx") or {}).get("error")
        yield Problem(_path(one["loc"]), str(cause) if isinstance(cause, ValueError) else one["msg"])


def _path(location: Sequence[str | int]) -> str:
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path.removeprefix(".")


def _unknown(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Paths of the fields a schema does not have."""
    if isinstance(value, list):
        for position, item in enumerate(value):
            yield from _unknown(item, schema.get("items") or {}, f"{path}[{position}]")
    if not isinstance(value, Mapping) or "properties" not in schema:
        # A map, a free-form object, or the wrong type, which the model has something to say about.
        return
    for name, below in value.items():
        inner = f"{path}.{name}" if path else str(name)
        if name not in schema["properties"]:
            yield inner
        else:
            yield from _unknown(below, schema["properties"][name], inner)


def _transitions(new: Model, old: Model, path: str) -> Iterator[Problem]:
    """Broken rules about changes, of this model and of all below it."""
    for rule in new.transitions:
        if not rule.holds(new, old):
            yield Problem(path, rule.message)
    for name, field in type(new).model_fields.items():
        now, before = getattr(new, name), getattr(old, name)
        if isinstance(now, Model) and isinstance(before, Model):
            step = field.alias or name
            yield from _transitions(now, before, f"{path}.{step}" if path else step)
