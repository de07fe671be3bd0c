"""What the API server does with a custom resource before it stores it."""

from __future__ import annotations

from functools import cache
from typing import Any

from etl_operator.api.crds import schema_of
from informers.apiserver.schema import Schema, compile_schema
from informers.objects import Object, Resource


@cache
def served(resource: Resource) -> Schema:
    """The compiled schema of one of the five kinds."""
    return compile_schema(schema_of(resource))


def admitted(resource: Resource, obj: Object, old: Object | None = None) -> tuple[Object, list[str]]:
    """The object as it would be stored, and why it is refused: ``field: message`` each."""
    schema = served(resource)
    stored, _ = schema.pruned(schema.defaulted(obj))
    before: Any = None if old is None else schema.pruned(schema.defaulted(old))[0]
    return stored, [f"{cause.field}: {cause.message}" for cause in schema.validate(stored, before)]
