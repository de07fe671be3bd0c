"""Scenarios on definitions of custom resources: which schemas are refused, and how rules fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from informers.objects import Object
from tests.apiserver_rules.scenarios import Step

_TEXT = {"type": "string"}


def definition(spec: Any, **root: Any) -> Object:
    """A definition whose objects have this schema for their spec."""
    schema = {"type": "object", "properties": {"spec": spec}, **root}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.rules.example.com"},
        "spec": {
            "group": "rules.example.com",
            "scope": "Namespaced",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [version],
        },
    }


def _spec(**properties: Any) -> Object:
    return {"type": "object", "properties": properties}


def _rule(rule: str, **more: Any) -> Object:
    return {
        "type": "object",
        "properties": {"a": _TEXT},
        "x-kubernetes-validations": [{"rule": rule, **more}],
    }


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
    "empty rule": definition(_rule("")),
    "good rule": definition(_rule("!has(self.a) || self.a.startsWith('x')", message="no x")),
}
"""What becomes of a definition."""


def scenarios() -> Iterator[tuple[str, list[Step]]]:
    """All of them by name."""
    for name, obj in SCHEMAS.items():
        yield f"definition: {name}", [Step("create", obj, manager="creator", query={"dryRun": "All"})]
