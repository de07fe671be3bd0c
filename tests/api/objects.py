"""Objects of a schema, good ones and slightly spoiled ones, for hypothesis."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

Path = tuple[str | int, ...]

_ASCII = st.characters(min_codepoint=32, max_codepoint=126)
_QUANTITIES = ["10Gi", "500m", "1", "0", "0Gi", "1.5Gi", ".5Gi", "00.0", "2e3", "0e9", "5Mi", "20Gi", "1E"]
_STAMPS = ["2027-01-01T00:00:00Z", "2027-01-01t00:00:00.5+01:00"]
_NAMES = ["a", "prod", "my-cluster", "1a", "a.b", "a" * 45, "a" * 46, "default"]
_FREE = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(_ASCII, max_size=5),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text(_ASCII, max_size=5), below, max_size=3)
    ),
    max_leaves=5,
)
ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 3.0, 3.5, 2**31, 10**12),
    *("", "x", "X.Y_z", "a b", "é", "3", "true", "10Gi", "-1Gi", "*", "a:1", "a:0", "[::1]:65535", "a:65536"),
    *("x" * 64, "x" * 254, "x" * 33_000, "a\n", "2027-02-30T25:00:00Z"),
    *([], [None], ["x", "x"], [1], {}, {"x": None}, {"x": 1}, {"x": "y"}, {"name": "x"}),
    *({f"k{i}": "v" for i in range(65)}, ["x"] * 300, [{"name": "x"}, {"name": "x"}]),
]
"""Values that fit somewhere and spoil something elsewhere."""


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that obey a schema; rules may still be broken."""
    if schema.get("x-kubernetes-int-or-string"):
        return st.integers(0, 10**12) | st.sampled_from(_QUANTITIES)
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return st.dictionaries(st.text(_ASCII, max_size=5), _FREE, max_size=3)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema["type"]
    if kind == "boolean":
        return st.booleans()
    if kind == "integer":
        return _integers(schema)
    if kind == "string":
        return _texts(schema)
    if kind == "array":
        return st.lists(values(schema["items"]), max_size=min(schema["maxItems"], 3))
    if "additionalProperties" in schema:
        keys = st.text(_ASCII, max_size=8)
        return st.dictionaries(keys, values(schema["additionalProperties"]), max_size=3)
    return _fields(schema)


def _integers(schema: dict[str, Any]) -> st.SearchStrategy[int]:
    low, high = schema["minimum"], schema["maximum"]
    near = [n for n in (low, low + 1, 200, 8080, 50051, schema.get("default", low), high) if low <= n <= high]
    return st.sampled_from(near) | st.integers(low, high)


def _texts(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return st.sampled_from(_STAMPS)
    low, high = schema.get("minLength", 0), schema["maxLength"]
    if "pattern" in schema:
        body = schema["pattern"].removeprefix("^").removesuffix("$")
        made = st.from_regex(rf"\A(?:{body})\Z", alphabet=_ASCII)
        return made.filter(lambda text: low <= len(text) <= high)
    return st.text(_ASCII, min_size=low, max_size=min(high, 20))


@st.composite
def _fields(draw: st.DrawFn, schema: dict[str, Any]) -> dict[str, Any]:
    properties, required = schema["properties"], set(schema.get("required", ()))
    optional = sorted(set(properties) - required)
    chosen = draw(st.lists(st.sampled_from(optional), unique=True, max_size=5)) if optional else []
    return {name: draw(values(properties[name])) for name in (*sorted(required), *chosen)}


@st.composite
def objects(draw: st.DrawFn, api_version: str, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A whole object that obeys the schema of its kind."""
    body = {"spec": draw(values(schema["properties"]["spec"]))}
    if draw(st.booleans()):
        body["status"] = draw(values(schema["properties"]["status"]))
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": draw(st.sampled_from(_NAMES)), "namespace": "etl"},
        **body,
    }


@st.composite
def spoiled(draw: st.DrawFn, good: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    """An object with up to three random changes in its spec or status."""
    obj = copy.deepcopy(draw(good))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(
            st.sampled_from(_paths({key: obj[key] for key in ("spec", "status") if key in obj}) or [()])
        )
        if path:
            _change(draw, obj, path)
    return obj


def _change(draw: st.DrawFn, obj: dict[str, Any], path: Path) -> None:
    holder: Any = obj
    for step in path[:-1]:
        holder = holder[step]
    last: Any = path[-1]
    what = draw(st.sampled_from(["replace", "replace", "drop", "add", "double"]))
    if what == "replace":
        holder[last] = copy.deepcopy(draw(st.sampled_from(ODD)))
    elif what == "drop":
        del holder[last]
    elif isinstance(holder, list):
        holder.append(copy.deepcopy(holder[last]) if what == "double" else draw(st.sampled_from(ODD)))
    else:
        holder["unheardOf"] = 1


def _paths(value: Any, path: Path = ()) -> list[Path]:
    steps: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        steps = list(value.items())
    elif isinstance(value, list):
        steps = list(enumerate(value))
    found: list[Path] = [path] if path else []
    for step, below in steps:
        found += _paths(below, (*path, step))
    return found
