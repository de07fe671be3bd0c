"""Scenarios on definitions of custom resources: which schemas are refused, and how rules fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from informers.objects import Object
from tests.definitions import definition as crd
from tests.informers.apiserver.scenarios.steps import Step

_TEXT = {"type": "string"}


def definition(spec: Any, **root: Any) -> Object:
    """A definition whose objects have this schema for their spec."""
    schema = {"type": "object", "properties": {"spec": spec}, **root}
    return crd("Thing", "rules.example.com", schema)


def _spec(**properties: Any) -> Object:
    return {"type": "object", "properties": properties}


def _rule(rule: str, **more: Any) -> Object:
    return {
        "type": "object",
        "properties": {"a": _TEXT},
        "x-kubernetes-validations": [{"rule": rule, **more}],
    }


def _ruled(rule: str, **properties: Any) -> Object:
    return {**_spec(**properties), "x-kubernetes-validations": [{"rule": rule}]}


def _whole(rule: str) -> Object:
    return {"x-kubernetes-validations": [{"rule": rule}]}


SCHEMAS: dict[str, Object] = {
    "fine": definition(_spec(a=_TEXT, b={"type": "integer", "default": 3})),
    "no type of a field": definition(_spec(a={})),
    "no type of the root": definition(_spec(), type=""),
    "root is no object": definition(_spec(), type="array"),
    "odd type": definition(_spec(a={"type": "text"})),
    "no items": definition(_spec(a={"type": "array"})),
    "no type of items": definition(_spec(a={"type": "array", "items": {}})),
    "unique items": definition(_spec(a={"type": "array", "items": _TEXT, "uniqueItems": True})),
    "properties and additional ones": definition(
        _spec(a={"type": "object", "properties": {"b": _TEXT}, "additionalProperties": _TEXT})
    ),
    "list map without keys": definition(
        _spec(a={"type": "array", "items": _spec(n=_TEXT), "x-kubernetes-list-type": "map"})
    ),
    "list map with optional key": definition(
        _spec(
            a={
                "type": "array",
                "items": _spec(n=_TEXT),
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["n"],
            }
        )
    ),
    "odd list type": definition(_spec(a={"type": "array", "items": _TEXT, "x-kubernetes-list-type": "bag"})),
    "wrong default": definition(_spec(a={"type": "integer", "default": "x"})),
    "default with unknown field": definition(_spec(a={**_spec(b=_TEXT), "default": {"c": 1}})),
    "type inside a junctor": definition(_spec(a={"type": "object", "anyOf": [{"type": "object"}]})),
    "metadata restricted": definition(
        _spec(), properties={"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}
    ),
    "no regular expression": definition(_spec(a={**_TEXT, "pattern": "["})),
    "rule that is none": definition(_rule("self.a ==")),
    "rule that is no condition": definition(_rule("self.a")),
    "rule about nothing": definition(_rule("self.nothing == 'x'")),
    "rule of two types": definition(_rule("self.a == 1")),
    "rule about nothing in items": definition(
        _ruled("self.l.all(one, one.b == 'x')", l={"type": "array", "maxItems": 3, "items": _spec(n=_TEXT)})
    ),
    "rule about map values": definition(
        _ruled("self.m['x'] == 'y'", m={"type": "object", "additionalProperties": {"type": "integer"}})
    ),
    "rule about times": definition(
        _ruled("self.t < timestamp('2026-01-01T00:00:00Z')", t={**_TEXT, "format": "date-time"})
    ),
    "rule about the whole": definition(_spec(a=_TEXT), **_whole("self.metadata.name.startsWith('x')")),
    "rule about the whole's labels": definition(_spec(a=_TEXT), **_whole("has(self.metadata.labels)")),
    "rule about renamed fields": definition(
        _ruled("self.a__dash__b == self.__in__", **{"a-b": _TEXT, "in": _TEXT})
    ),
    "rule about a list of lists": definition(
        _ruled(
            "self.l.all(one, one.all(two, two > 3))",
            l={
                "type": "array",
                "maxItems": 3,
                "items": {"type": "array", "maxItems": 3, "items": {"type": "integer"}},
            },
        )
    ),
    "rule about either": definition(
        _ruled("type(self.e) == int ? self.e > 3 : self.e == 'x'", e={"x-kubernetes-int-or-string": True})
    ),
    "message of a number": definition(_rule("self.a == 'x'", messageExpression="size(self.a)")),
    "costly rule": definition(
        _ruled("self.l.all(one, self.l.all(two, one == two))", l={"type": "array", "items": _TEXT})
    ),
    "costly rules in a list": definition(
        {
            "type": "object",
            "properties": {"l": {"type": "array", "items": _rule("self.a.matches('^x+$')")}},
        }
    ),
    "cheap rules in a list": definition(
        {"type": "object", "properties": {"l": {"type": "array", "items": _rule("self.a == 'x'")}}}
    ),
    "one loop": definition(_ruled("self.l.all(one, one != 'x')", l={"type": "array", "items": _TEXT})),
    "one loop over a map": definition(
        _ruled(
            "self.m.all(key, self.m[key] > 3)",
            m={"type": "object", "additionalProperties": {"type": "integer"}},
        )
    ),
    "one search": definition(_rule("self.a.matches('^x+$')")),
    "search in a loop": definition(
        _ruled("self.l.all(one, one.matches('^x+$'))", l={"type": "array", "items": _TEXT})
    ),
    "bounded search in a loop": definition(
        _ruled(
            "self.l.all(one, one.matches('^x+$'))",
            l={"type": "array", "maxItems": 64, "items": {**_TEXT, "maxLength": 64}},
        )
    ),
    "bounded loops": definition(
        _ruled(
            "self.l.all(one, self.l.exists_one(two, one == two))",
            l={"type": "array", "maxItems": 64, "items": {**_TEXT, "maxLength": 64}},
        )
    ),
    "loops over two lists": definition(
        _ruled(
            "self.l.all(one, self.k.exists(two, one.n == two.n))",
            l={"type": "array", "items": _spec(n=_TEXT)},
            k={"type": "array", "items": _spec(n=_TEXT)},
        )
    ),
    "unclosed group": definition(_spec(a={**_TEXT, "pattern": "(a"})),
    "nothing to repeat": definition(_spec(a={**_TEXT, "pattern": "*a"})),
    "range upside down": definition(_spec(a={**_TEXT, "pattern": "[z-a]"})),
    "closed too often": definition(_spec(a={**_TEXT, "pattern": "a)"})),
    "repeated twice": definition(_spec(a={**_TEXT, "pattern": "a**"})),
    "empty rule": definition(_rule("")),
    "good rule": definition(_rule("!has(self.a) || self.a.startsWith('x')", message="no x")),
}
"""What becomes of a definition."""


def scenarios() -> Iterator[tuple[str, list[Step]]]:
    """All of them by name."""
    for name, obj in SCHEMAS.items():
        yield f"definition: {name}", [Step("create", obj, manager="creator", query={"dryRun": "All"})]
