"""A rough estimate of the cost of CEL rules, to refuse what a real server refuses by far.

A real server counts every operation of an expression for the largest value its schema allows. Here only
what makes costs explode is counted: how often a rule is evaluated, the loops inside it, and texts that are
searched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

LIMIT = 10_000_000
"""The cost a single rule may have."""

TOTAL_LIMIT = 100_000_000
"""The cost all rules of a schema may have together."""

PLAINLY = 100
"""Costs below so many times the limit are let through: the count is too rough to judge them."""

_REQUEST = 3 * 1024 * 1024
_TRAVERSAL = 0.1
# Only where a path begins: looking from inside of it as well would take the square of its length.
_PATH = r"(?<!\w)(?<!\w\.)([A-Za-z_][\w.]*)"
_LOOP = re.compile(_PATH + r"\.(?:all|exists|exists_one|map|filter)\(\s*([A-Za-z_]\w*)\s*,")
_SEARCH = re.compile(_PATH + r"\.(?:matches|contains|find|findAll|split|replace)\(")
_TYPE_SIZES = {"string": 2, "integer": 1, "number": 1, "boolean": 4, "array": 2, "object": 2}


class _Loop(NamedTuple):
    start: int
    end: int
    variable: str
    node: Mapping[str, Any]
    size: float


def size_of(raw: Mapping[str, Any]) -> float:
    """How many items, entries or characters a value of a schema can have."""
    for word in ("maxItems", "maxProperties", "maxLength"):
        if word in raw:
            return float(raw[word])
    if raw.get("type") == "array":
        return _REQUEST / (_least(raw.get("items") or {}) + 1)
    if raw.get("type") == "object":
        return _REQUEST / (_least(raw.get("additionalProperties") or {}) + 4)
    if raw.get("enum"):
        return max(len(str(one)) for one in raw["enum"])
    return float(_REQUEST) if raw.get("type") == "string" else 1.0


def _least(raw: Any) -> int:
    """Bytes of the smallest value, as JSON."""
    return _TYPE_SIZES.get(raw.get("type", ""), 1) if isinstance(raw, Mapping) else 1


def cost_of(expression: str, raw: Mapping[str, Any]) -> float:
    """The cost of evaluating a rule once on the largest value of its schema."""
    loops: list[_Loop] = []
    for found in _LOOP.finditer(expression):
        end = _closing(expression, found.end())
        target = _target(found[1], raw, [one for one in loops if one.start < found.start() < one.end])
        item = target.get("items") or ({"type": "string"} if target.get("type") == "object" else {})
        loops.append(_Loop(found.start(), end, found[2], item, size_of(target) if target else 1.0))

    def times(place: int) -> float:
        product = 1.0
        for one in loops:
            if one.start < place < one.end:
                product *= one.size
        return product

    total = max((times(one.end - 1) for one in loops), default=1.0)
    for found in _SEARCH.finditer(expression):
        around = [one for one in loops if one.start < found.start() < one.end]
        target = _target(found[1], raw, around)
        if target.get("type") == "string":
            total += times(found.start()) * size_of(target) * _TRAVERSAL
    return total


def _closing(expression: str, start: int) -> int:
    depth = 1
    for place in range(start, len(expression)):
        depth += {"(": 1, ")": -1}.get(expression[place], 0)
        if not depth:
            return place
    return len(expression)


def _target(chain: str, raw: Mapping[str, Any], around: list[_Loop]) -> Mapping[str, Any]:
    """The schema of what a chain of names leads to; empty when that cannot be told."""
    first, *names = chain.split(".")
    known = {"self": raw, "oldSelf": raw, **{one.variable: one.node for one in around}}
    found: Any = known.get(first) or {}
    for name in names:
        found = (found.get("properties") or {}).get(name) or {}
    return found if isinstance(found, Mapping) else {}


def costs(raw: Mapping[str, Any], path: str = "", often: float = 1.0) -> Iterator[tuple[str, float]]:
    """Path and cost of every rule of a schema."""
    for position, rule in enumerate(raw.get("x-kubernetes-validations") or ()):
        text = str(rule.get("rule") or "")
        yield f"{path}.x-kubernetes-validations[{position}].rule".lstrip("."), often * cost_of(text, raw)
    for name, below in (raw.get("properties") or {}).items():
        yield from costs(below, f"{path}.properties[{name}]", often)
    for word in ("items", "additionalProperties"):
        if isinstance(raw.get(word), Mapping):
            yield from costs(raw[word], f"{path}.{word}", often * size_of(raw))


_ADVICE = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and "
    "strings are declared)"
)


def check_costs(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Path and sentence for everything that is plainly too costly."""
    found = dict(costs(raw))
    much = f"by factor of more than {PLAINLY}x {_ADVICE}"
    for path, cost in found.items():
        if cost > LIMIT * PLAINLY:
            yield path, f"Forbidden: estimated rule cost exceeds budget {much}"
    if sum(found.values()) <= TOTAL_LIMIT * PLAINLY:
        return
    for path, cost in found.items():
        if cost > TOTAL_LIMIT:
            said = "Forbidden: contributed to estimated rule cost total exceeding cost limit for entire"
            yield path, f"{said} OpenAPIv3 schema"
    said = "Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds"
    yield "", f"{said} budget {much}"
