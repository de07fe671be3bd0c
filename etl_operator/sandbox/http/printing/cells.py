"""Columns of what ``kubectl get`` shows, and the cells most kinds are made of. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from etl_operator.sandbox.http.printing.duration import age
from informers.objects import Object

NONE = "<none>"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``wide`` ones are shown with ``-o wide`` only."""

    name: str
    cell: Callable[[Object, float], Any]
    type: str = "string"
    wide: bool = False
    format: str = field(default="")

    def definition(self) -> dict[str, Any]:
        """The ``TableColumnDefinition`` shape."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": "",
            "priority": 1 if self.wide else 0,
        }


def at(*path: str, default: Any = NONE) -> Callable[[Object, float], Any]:
    """A cell that is the value at a path of fields."""

    def cell(obj: Object, _: float) -> Any:
        value: Any = obj
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return default if value is None or value == "" else value

    return cell


def meta(obj: Object) -> Mapping[str, Any]:
    """Its metadata."""
    metadata: Mapping[str, Any] = obj["metadata"]
    return metadata


def spec(obj: Object) -> Mapping[str, Any]:
    """Its spec, empty when it has none."""
    return dict(obj.get("spec") or {})


def status(obj: Object) -> Mapping[str, Any]:
    """Its status, empty when it has none."""
    return dict(obj.get("status") or {})


NAME = Column("Name", lambda obj, _: meta(obj)["name"], format="name")
AGE = Column("Age", lambda obj, now: age(meta(obj).get("creationTimestamp"), now))
CREATED_AT = Column("Created At", at("metadata", "creationTimestamp", default=""), type="date")


def text(name: str, *path: str, default: Any = NONE, wide: bool = False) -> Column:
    """A column that shows a field."""
    return Column(name, at(*path, default=default), wide=wide)


def number(name: str, *path: str, default: int = 0) -> Column:
    """A column that shows a whole number."""
    return Column(name, at(*path, default=default), type="integer")


def count(name: str, *fields: str) -> Column:
    """A column that shows how many entries the fields have together."""
    return Column(name, lambda obj, _: sum(len(obj.get(field) or ()) for field in fields))


def joined(values: Iterable[Any], none: str = NONE) -> str:
    """The values with commas, or ``none`` where there is none."""
    return ",".join(str(value) for value in values) or none


def first(values: Sequence[Any], limit: int, none: str = NONE) -> str:
    """The first values with commas, and how many more there are."""
    more = f" + {len(values) - limit} more..." if len(values) > limit else ""
    return joined(values[:limit], none) + more


def labels(wanted: Mapping[str, str] | None) -> str:
    """Labels, or a selector's, in the order of their keys."""
    return joined(f"{key}={value}" for key, value in sorted((wanted or {}).items()))


def selector(wanted: Mapping[str, Any] | None) -> str:
    """A label selector as kubectl writes it."""
    parts = [f"{key}={value}" for key, value in sorted(((wanted or {}).get("matchLabels") or {}).items())]
    for one in (wanted or {}).get("matchExpressions") or ():
        key, operator, values = one["key"], one["operator"], ",".join(sorted(one.get("values") or ()))
        shapes = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        parts.append(shapes.get(operator, f"!{key}"))
    return joined(parts)


def addresses(obj: Object) -> list[str]:
    """What a load balancer has given an object: addresses or names."""
    given = (status(obj).get("loadBalancer") or {}).get("ingress") or ()
    return [
        str(one.get("ip") or one.get("hostname")) for one in given if one.get("ip") or one.get("hostname")
    ]


_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def access_modes(modes: Iterable[str]) -> str:
    """Access modes of a volume, in their short forms."""
    return ",".join(_MODES.get(mode, mode) for mode in modes)
