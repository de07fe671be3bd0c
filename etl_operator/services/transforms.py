"""The transforms ``filter`` and ``map``, with CEL expressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from etl_operator.router.pb.common_pb2 import Record
from etl_operator.services.cel import Expression, ExpressionError
from etl_operator.services.errors import StartError
from etl_operator.services.records import decode, encode
from etl_operator.services.transform import Transform


def _compiled(option: str, text: str, *, boolean: bool = False) -> Expression:
    try:
        return Expression(text, boolean=boolean)
    except ExpressionError as error:
        raise StartError(f"{option}: {error}") from error


class FilterTransform(Transform):
    """Passes on the records for which an expression is true.

    :param where: CEL; see :class:`~etl_operator.services.cel.Expression`.
    :raises StartError: the expression does not compile.
    """

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = _compiled("--where", where, boolean=True)

    def process(self, record: Record) -> Record | None:
        """:raises ExpressionError: the expression has no value for this record."""
        return record if self._where.value(record) else None


class MapTransform(Transform):
    """Sets fields to the values of expressions over the original record.

    :param assignments: ``FIELD=CEL`` each.
    :raises StartError: a field is unknown, or an expression does not compile.
    """

    def __init__(self, assignments: Sequence[str]) -> None:
        super().__init__()
        self._assignments = [_assignment(text) for text in assignments]

    def process(self, record: Record) -> Record:
        """:raises ValueError: an expression has no value for this record, or a value of the wrong type."""
        values = [(field, expression.value(record)) for field, expression in self._assignments]
        inside = [(field[1:], value) for field, value in values if field[0] == "payload" and len(field) > 1]
        if inside:
            payload = decode(record)
            for path, value in inside:
                _set_inside(payload, path, value)
            encode(record, payload)
        for field, value in values:
            _set(record, field, value)
        return record


def _assignment(text: str) -> tuple[list[str], Expression]:
    name, equals, expression = text.partition("=")
    field = name.strip().split(".")
    known = {"payload": len(field) >= 1, "metadata": len(field) > 1, "record_type": len(field) == 1}
    known["key"] = len(field) == 1
    if field[0] == "metadata":
        # Keys of metadata can contain dots.
        field = ["metadata", name.strip().partition(".")[2]]
    if not equals or not known.get(field[0]) or not all(field):
        raise StartError(
            f"--set {text!r} is not FIELD=CEL: FIELD must be payload, payload.NAME, metadata.NAME, "
            "record_type or key"
        )
    return field, _compiled(f"--set {name.strip()}", expression.strip())


def _set_inside(payload: Any, path: list[str], value: Any) -> None:
    place = payload
    for name in path[:-1]:
        if isinstance(place, dict):
            place = place.setdefault(name, {})
    if not isinstance(place, dict):
        raise ValueError(f"cannot set payload.{'.'.join(path)}: its parent is not a JSON object")
    place[path[-1]] = value


def _set(record: Record, field: list[str], value: Any) -> None:
    if field == ["payload"]:
        if isinstance(value, bytes | bytearray):
            record.payload = bytes(value)
        else:
            encode(record, value)
    elif field == ["key"]:
        if not isinstance(value, bytes | bytearray | str):
            raise ValueError(f"key must be bytes or a string, not {type(value).__name__}")
        record.key = value.encode() if isinstance(value, str) else bytes(value)
    elif field[0] in ("record_type", "metadata"):
        if not isinstance(value, str):
            name = ".".join(field)
            raise ValueError(f"{name} must be a string, not {type(value).__name__}; use string(...)")
        if field[0] == "record_type":
            record.record_type = value
        else:
            record.metadata[field[1]] = value
