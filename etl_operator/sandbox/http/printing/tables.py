"""Answers in other shapes: tables for people, and metadata alone for caches."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etl_operator.sandbox.http.printing.cells import NAME, Column
from etl_operator.sandbox.http.printing.columns import BUILT_IN, DEFAULT
from etl_operator.sandbox.http.printing.duration import age
from etl_operator.sandbox.http.printing.jsonpath import PathError, find
from informers.apiserver.errors import StatusError
from informers.objects import Object, Resource

_META_V1 = "meta.k8s.io/v1"
_INCLUDE = ("None", "Metadata", "Object")


def include_object(query_value: str) -> str:
    """The ``includeObject`` parameter: ``None``, ``Metadata`` (default) or ``Object``.

    :raises StatusError: 400 for another value.
    """
    value = query_value or "Metadata"
    if value not in _INCLUDE:
        raise StatusError(400, "BadRequest", f"unrecognized includeObject value: {value!r}")
    return value


class TableMaker:
    """Makes tables of one kind.

    :param resource: with its group and plural finds the columns of built-in kinds.
    :param printer_columns: ``additionalPrinterColumns`` of a custom resource, or empty.
    :param include: what each row carries beside its cells, see :func:`include_object`.
    """

    def __init__(
        self, resource: Resource, printer_columns: Sequence[Mapping[str, Any]], include: str
    ) -> None:
        self._columns = columns(resource.group, resource.plural, printer_columns)
        # Items of lists come without it, and a row's object stands alone.
        self._kind = {"apiVersion": resource.api_version, "kind": resource.kind}
        self._include = include

    def table(
        self, objects: Sequence[Object], metadata: Mapping[str, Any], now: float, *, headers: bool = True
    ) -> Object:
        """A ``Table``; ``headers`` off leaves the column definitions out, as later watch events do."""
        return {
            "kind": "Table",
            "apiVersion": _META_V1,
            "metadata": dict(metadata),
            "columnDefinitions": [column.definition() for column in self._columns] if headers else [],
            "rows": [self._row(obj, now) for obj in objects],
        }

    def _row(self, obj: Object, now: float) -> Object:
        row: Object = {"cells": [column.cell(obj, now) for column in self._columns]}
        if self._include == "Object":
            row["object"] = {**self._kind, **obj}
        elif self._include == "Metadata":
            row["object"] = partial(obj)
        return row


def partial(obj: Object) -> Object:
    """Only the metadata of an object."""
    return {"kind": "PartialObjectMetadata", "apiVersion": _META_V1, "metadata": obj["metadata"]}


def partial_list(objects: Sequence[Object], metadata: Mapping[str, Any]) -> Object:
    """Only the metadata of a list's items."""
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": _META_V1,
        "metadata": dict(metadata),
        "items": [partial(obj) for obj in objects],
    }


def columns(group: str, plural: str, printer_columns: Sequence[Mapping[str, Any]]) -> Sequence[Column]:
    """The columns of a kind."""
    if printer_columns:
        return (NAME, *(_custom(column) for column in printer_columns))
    return BUILT_IN.get((group, plural), DEFAULT)


def _custom(column: Mapping[str, Any]) -> Column:
    path, kind = column["jsonPath"], column["type"]
    convert = _CONVERT.get(kind, _as_text)

    def cell(obj: Object, now: float) -> Any:
        try:
            found = find(path, obj)
        except PathError:
            return None
        return convert(found[0], now) if found else None

    return Column(
        column["name"], cell, kind, wide=column.get("priority", 0) > 0, format=column.get("format", "")
    )


def _as_text(value: Any, _: float) -> Any:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))


def _as_integer(value: Any, _: float) -> Any:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _as_number(value: Any, _: float) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _as_boolean(value: Any, _: float) -> Any:
    return value if isinstance(value, bool) else None


def _as_date(value: Any, now: float) -> Any:
    return age(value, now) if isinstance(value, str) else None


_CONVERT: Mapping[str, Callable[[Any, float], Any]] = {
    "integer": _as_integer,
    "number": _as_number,
    "boolean": _as_boolean,
    "date": _as_date,
}
