"""The custom kind of the scenarios: one field for every rule of a schema."""

from __future__ import annotations

from typing import Any

from informers.objects import Object
from tests.definitions import definition

_TEXT = {"type": "string"}
WIDGETS = definition(
    "Widget",
    "rules.example.com",
    {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "x-kubernetes-validations": [
                    {
                        "rule": "!has(self.low) || !has(self.high) || self.low <= self.high",
                        "message": "low must not be above high",
                    },
                    {
                        "rule": "!has(oldSelf.fixed) || has(self.fixed) && self.fixed == oldSelf.fixed",
                        "message": "fixed may not change",
                    },
                ],
                "properties": {
                    "a": _TEXT,
                    "b": _TEXT,
                    "size": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": 10,
                        "format": "int32",
                    },
                    "low": {"type": "integer"},
                    "high": {"type": "integer"},
                    "ratio": {
                        "type": "number",
                        "exclusiveMinimum": True,
                        "minimum": 0,
                    },
                    "even": {"type": "integer", "multipleOf": 2},
                    "fixed": _TEXT,
                    "once": {
                        **_TEXT,
                        "x-kubernetes-validations": [
                            {"rule": "self == oldSelf", "message": "once set, it stays"}
                        ],
                    },
                    "mode": {**_TEXT, "enum": ["Fast", "Slow"], "default": "Fast"},
                    "code": {**_TEXT, "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 5},
                    "when": {**_TEXT, "format": "date-time"},
                    "flag": {"type": "boolean"},
                    "maybe": {**_TEXT, "nullable": True},
                    "port": {"x-kubernetes-int-or-string": True},
                    "tags": {
                        "type": "array",
                        "items": _TEXT,
                        "x-kubernetes-list-type": "set",
                        "maxItems": 3,
                    },
                    "plain": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
                    "parts": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name", "kind"],
                        "maxItems": 10,
                        "items": {
                            "type": "object",
                            "required": ["name"],
                            "properties": {
                                "name": _TEXT,
                                "kind": {**_TEXT, "default": "std"},
                                "value": _TEXT,
                                "weight": {"type": "integer", "default": 1},
                                "locked": {
                                    **_TEXT,
                                    "maxLength": 9,
                                    "x-kubernetes-validations": [{"rule": "self == oldSelf"}],
                                },
                            },
                        },
                    },
                    "limits": {
                        "type": "object",
                        "additionalProperties": {"type": "integer"},
                        "maxProperties": 2,
                    },
                    "whole": {
                        "type": "object",
                        "x-kubernetes-map-type": "atomic",
                        "properties": {"x": _TEXT, "y": _TEXT},
                    },
                    "nested": {
                        "type": "object",
                        "default": {"need": "d"},
                        "required": ["need"],
                        "properties": {
                            "need": {**_TEXT, "default": "d"},
                            "deep": {"type": "object", "properties": {"v": _TEXT}},
                        },
                    },
                    "strict": {
                        "type": "object",
                        "required": ["one", "two"],
                        "properties": {"one": _TEXT, "two": _TEXT},
                    },
                    "ruled": {
                        "type": "object",
                        "properties": {
                            "min": {"type": "integer"},
                            "max": {"type": "integer"},
                            "names": {
                                "type": "array",
                                "maxItems": 5,
                                "items": {**_TEXT, "maxLength": 9},
                                "x-kubernetes-validations": [
                                    {
                                        "rule": "self.all(one, one.startsWith('n'))",
                                        "messageExpression": "'not ' + self[0]",
                                    },
                                ],
                            },
                            "kept": {
                                "type": "integer",
                                "x-kubernetes-validations": [
                                    {
                                        "rule": "self >= oldSelf",
                                        "reason": "FieldValueForbidden",
                                        "message": "it only grows",
                                    },
                                ],
                            },
                        },
                        "x-kubernetes-validations": [
                            {"rule": "self.min <= self.max"},
                            {
                                "rule": "self.min != 7",
                                "reason": "FieldValueDuplicate",
                                "fieldPath": ".min",
                                "message": "seven",
                            },
                            {
                                "rule": "self.min != 8",
                                "reason": "FieldValueRequired",
                                "fieldPath": ".max",
                                "message": "eight",
                            },
                        ],
                    },
                    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    "either": {
                        "type": "object",
                        "properties": {"p": _TEXT, "q": _TEXT},
                        "oneOf": [{"required": ["p"]}, {"required": ["q"]}],
                    },
                },
            },
            "status": {
                "type": "object",
                "properties": {
                    "phase": _TEXT,
                    "count": {"type": "integer"},
                    "conditions": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["type"],
                        "items": {
                            "type": "object",
                            "required": ["type"],
                            "properties": {"type": _TEXT, "status": _TEXT},
                        },
                    },
                },
            },
        },
    },
    subresources={"status": {}},
)


def widget(**content: Any) -> Object:
    """A custom resource of the scenarios' own kind."""
    return {"apiVersion": "rules.example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, **content}
