"""What decoding into Go types and encoding again does to the JSON of built-in kinds on a real server.

Zero values of optional fields vanish, nulls vanish, structs that are no pointers appear even when empty,
quantities and times are written in one way. The table is written by ``make.py``.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from informers.apiserver.errors import StatusError
from informers.apiserver.values.gobase64 import rewritten
from informers.apiserver.values.quantity import canonical
from informers.objects import Object

VERSION = "1.37"

_TO_SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_ZONE = r"(?:Z|[-+]\d\d:\d\d)"
_SECONDS = re.compile(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?{_ZONE}", re.ASCII)
# Six digits, no fewer: a server refuses a micro time without them.
_MICROSECONDS = re.compile(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{6}}{_ZONE}", re.ASCII)
_ZEROS: dict[str, Any] = {"string": "", "bool": False, "int": 0, "float": 0.0, "bytes": ""}
_SHAPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "bool": bool,
    "int": int,
    "float": (int, float),
    "bytes": str,
    "quantity": (str, int, float),
    "time": str,
    "microtime": str,
    "list": list,
    "map": dict,
    "struct": dict,
}
_GO_NAMES = {
    "bytes": "[]uint8",
    "quantity": "resource.Quantity",
    "time": "v1.Time",
    "microtime": "v1.MicroTime",
}
_SCALARS = ("int", "bool", "string")
_NULLS = {
    ("", "Event"): ("eventTime", "firstTimestamp", "lastTimestamp"),
    ("events.k8s.io", "Event"): ("deprecatedFirstTimestamp", "deprecatedLastTimestamp"),
    ("rbac.authorization.k8s.io", "ClusterRole"): ("rules",),
    ("rbac.authorization.k8s.io", "Role"): ("rules",),
    ("discovery.k8s.io", "EndpointSlice"): ("endpoints", "ports"),
}
"""Lists and times nobody said "omit empty" of: they are null when there is nothing in them."""


@dataclass(slots=True)
class Field:
    """One field, list item or map value.

    :param kind: a scalar, ``list``, ``map`` or ``struct``.
    :param pointer: zero and absent are different things.
    :param optional: left out when zero, or when absent for a pointer.
    :param go: the type as Go names it.
    :param inner: what a list or map holds.
    """

    kind: str
    pointer: bool
    optional: bool
    go: str
    inner: Field | None = None
    struct: Struct | None = None


@dataclass(slots=True)
class Struct:
    """A Go struct.

    :param name: without its package.
    :param values: fields that hold a struct itself, so that they are always there.
    :param scalars: fields that are always there because nobody said "omit empty".
    """

    name: str
    fields: dict[str, Field] = field(default_factory=dict)
    values: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()


class _Table:
    def __init__(self) -> None:
        packed = files(__package__).joinpath(f"gotypes-{VERSION}.json.gz").read_bytes()
        raw = json.loads(gzip.decompress(packed))
        self._raw: dict[str, dict[str, str]] = raw["structs"]
        self._structs: dict[str, Struct] = {}
        self.kinds = {kind.rpartition("/")[::2]: self.struct(name) for kind, name in raw["kinds"].items()}

    def struct(self, name: str) -> Struct:
        known = self._structs.get(name)
        if known is not None:
            return known
        result = self._structs[name] = Struct(name.rpartition(".")[2])
        for key, spelled in self._raw[name].items():
            result.fields[key] = self._field(spelled)
        items = result.fields.items()
        result.values = tuple(key for key, one in items if one.kind == "struct" and not one.pointer)
        result.scalars = tuple(
            key for key, one in items if not one.optional and not one.pointer and one.kind in _SCALARS
        )
        return result

    def _field(self, spelled: str) -> Field:
        optional = not spelled.startswith("!")
        spelled = spelled.removeprefix("!")
        pointer = spelled.startswith("*")
        spelled = spelled.removeprefix("*")
        if spelled[:2] in ("[]", "{}"):
            inner = self._field(spelled[2:])
            if spelled[0] == "[":
                return Field("list", pointer, optional, "[]" + inner.go, inner=inner)
            return Field("map", pointer, optional, "map[string]" + inner.go, inner=inner)
        if spelled in self._raw:
            go = spelled.partition(".")[2]
            return Field("struct", pointer, optional, go, struct=self.struct(spelled))
        kind = next((one for one in ("int", "float") if spelled.startswith(one)), spelled)
        return Field(kind, pointer, optional, _GO_NAMES.get(spelled, spelled))


@cache
def _table() -> _Table:
    return _Table()


def struct_of(group: str, kind: str) -> Struct | None:
    """The type of a built-in kind, or ``None``.

    :param group: as in :func:`informers.apiserver.kinds.table.shape_of`.
    """
    return _table().kinds.get((group, kind))


def shaped(obj: Object, group: str, kind: str) -> Object:
    """A deep copy of an object as a real server would write it. ``metadata.managedFields`` is shared.

    :raises StatusError: 400 for what its Go type could not take.
    """
    struct = struct_of(group, kind)
    if struct is None:
        return obj
    try:
        return _shape_struct(obj, struct, in_status=False)
    except ValueError as error:
        version = str(obj.get("apiVersion", "")).rpartition("/")[2]
        message = f'{kind} in version "{version}" cannot be handled as a {kind}: {error}'
        raise StatusError(400, "BadRequest", message) from None


def with_nulls(obj: Object, group: str, kind: str) -> Object:
    """An object with nulls for what its Go type writes even when there is nothing in it."""
    missing = [key for key in _NULLS.get((group, kind), ()) if not obj.get(key)]
    return {**obj, **dict.fromkeys(missing)} if missing else obj


def _shape_struct(value: Object, struct: Struct, *, in_status: bool) -> Object:
    result: Object = {}
    for key, below in value.items():
        spec = struct.fields.get(key)
        if spec is None or key == "managedFields":
            # Not a field of the type: whether it may stay is the schema's business.
            if below is not None:
                result[key] = below
            continue
        if below is None:
            continue
        try:
            below = _shape(below, spec, in_status=in_status or key == "status")
        except _MisfitError as misfit:
            misfit.lead(key, struct.name)
            raise
        if not (spec.optional and _vanishes(below, spec)):
            result[key] = below
    for key in struct.values:
        if key not in result:
            below = struct.fields[key].struct
            assert below is not None
            result[key] = _shape_struct({}, below, in_status=in_status or key == "status")
    if in_status:
        # Elsewhere a value that must be there is asked for by the schema.
        for key in struct.scalars:
            result.setdefault(key, _ZEROS[struct.fields[key].kind])
    return result


def _vanishes(value: Any, spec: Field) -> bool:
    if spec.kind in ("list", "map"):
        return not value
    return not spec.pointer and spec.kind in _ZEROS and value == _ZEROS[spec.kind]


def _shape(value: Any, spec: Field, *, in_status: bool) -> Any:
    """A value that is not null."""
    wanted = _SHAPES.get(spec.kind)
    if wanted is not None and (
        not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool)
    ):
        raise _MisfitError(value, spec)
    bits = 31 if spec.go == "int32" else 63
    if spec.kind == "int" and not -(2**bits) <= value < 2**bits:
        raise _MisfitError(value, spec)
    if spec.kind == "struct":
        assert spec.struct is not None
        return _shape_struct(value, spec.struct, in_status=in_status)
    if spec.kind == "list":
        assert spec.inner is not None
        inner = spec.inner
        return [_zero(inner) if item is None else _shape(item, inner, in_status=in_status) for item in value]
    if spec.kind == "map":
        assert spec.inner is not None
        inner = spec.inner
        return {
            key: _zero(inner) if below is None else _shape(below, inner, in_status=in_status)
            for key, below in value.items()
            if below is not None or inner.kind in _ZEROS
        }
    writer = _WRITERS.get(spec.kind)
    return writer(value) if writer is not None else value


def _zero(spec: Field) -> Any:
    """What a null becomes where something has to stand."""
    if spec.kind == "struct" and spec.struct is not None:
        return _shape_struct({}, spec.struct, in_status=False)
    return _ZEROS.get(spec.kind, "0" if spec.kind == "quantity" else None)


class _MisfitError(ValueError):
    """A JSON value its Go type cannot take."""

    def __init__(self, value: Any, spec: Field) -> None:
        super().__init__()
        self._found = _json_kind(value)
        if spec.kind == "int" and self._found == "number":
            self._found += f" {value}"
        self._type = spec.go
        self._struct = ""
        self._path: list[str] = []

    def lead(self, key: str, struct: str) -> None:
        """Note one field on the way from the value up to the object."""
        self._path.insert(0, key)
        self._struct = self._struct or struct

    def __str__(self) -> str:
        where = ".".join([self._struct, *self._path])
        return f"json: cannot unmarshal {self._found} into Go struct field {where} of type {self._type}"


def _json_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _moment(value: str, pattern: re.Pattern[str], layout: str) -> datetime:
    if pattern.fullmatch(value):
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except ValueError:
            pass
    seconds = _TO_SECONDS.match(value)
    rest = value[seconds.end() :] if seconds else value
    wanted = layout[len("2006-01-02T15:04:05") : -len("Z07:00")] if seconds else "2006"
    raise ValueError(f'parsing time "{value}" as "{layout}": cannot parse "{rest}" as "{wanted or "Z07:00"}"')


def _time(value: str) -> str:
    return _moment(value, _SECONDS, "2006-01-02T15:04:05Z07:00").strftime("%Y-%m-%dT%H:%M:%SZ")


def _micro_time(value: str) -> str:
    moment = _moment(value, _MICROSECONDS, "2006-01-02T15:04:05.000000Z07:00")
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


_WRITERS: dict[str, Callable[[Any], Any]] = {
    "bytes": rewritten,
    "quantity": canonical,
    "time": _time,
    "microtime": _micro_time,
}
