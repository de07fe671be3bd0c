"""What is asked of a real server and of the embedded one, to compare their answers.

A scenario is a list of steps on one object. ``record.py`` plays them on a real server and writes its
answers down; ``test_real_answers.py`` plays them on the embedded one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from informers.apiserver.kinds.table import builtin_types
from informers.apiserver.schema.bundle import builtin_schemas
from informers.objects import Object, Resource

NAMESPACE = "rules-check"

_CONTENT = {
    "apply": "application/apply-patch+yaml",
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
_METHODS = {"create": "POST", "update": "PUT", "delete": "DELETE", "get": "GET"}
_IDENTITY = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r'|(?<=\\":\\")\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ'
    r'|(?<=resourceVersion\\":\\")\d+'
)
_VOLATILE = ("uid", "resourceVersion", "creationTimestamp", "selfLink")
_CONTROLLERS = "kube-controller-manager"
_CONTROLLED = ("Deployment", "Job", "StatefulSet")
_WRITTEN_BY_CONTROLLERS = (
    "collisionCount",
    "conditions",
    "currentRevision",
    "observedGeneration",
    "startTime",
    "updateRevision",
)
_ASKER = ("username", "uid", "groups", "extra")
# Given by each server in its own way.
_GIVEN = ("clusterIP", "clusterIPs", "nodePort")


@dataclass(frozen=True, slots=True)
class Step:
    """One request.

    :param how: a key of the tables above.
    """

    how: str
    body: Any = None
    manager: str = ""
    force: bool = False
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)


@cache
def _builtin_resources() -> Mapping[tuple[str, str], Resource]:
    types = (one.resource for versions in builtin_types().values() for one in versions)
    return {(one.api_version, one.kind): one for one in types}


def resource_of(obj: Object) -> Resource:
    """The resource of a scenario's object."""
    group, _, version = obj["apiVersion"].rpartition("/")
    kind = obj["kind"]
    found = _builtin_resources().get((obj["apiVersion"], kind))
    return found or Resource(group, version, kind.lower() + "s", kind)


def request(obj: Object, step: Step) -> tuple[str, str, dict[str, str], Any, str]:
    """Method, path, query, body and content type of a step on an object."""
    resource = resource_of(obj)
    name = "" if step.how == "create" else obj["metadata"]["name"]
    namespace = NAMESPACE if resource.namespaced else ""
    query = dict(step.query)
    if step.manager:
        query["fieldManager"] = step.manager
    if step.force:
        query["force"] = "true"
    method = _METHODS.get(step.how, "PATCH")
    path = resource.path(namespace, name, step.subresource)
    return method, path, query, step.body, _CONTENT.get(step.how, "application/json")


def comparable(code: int, answer: Any) -> Object:
    """An answer without what differs from run to run."""
    if code >= 400:
        details = answer.get("details") or {}
        causes = sorted(
            [
                [cause.get("reason"), cause.get("field"), _without_identity(cause.get("message") or "")]
                for cause in details.get("causes") or ()
            ],
            key=str,
        )
        message = _without_identity(answer["message"])
        if causes and code == 422:
            # The rest repeats the causes, in no promised order.
            message = message.partition(" is invalid: ")[0]
        return {"code": code, "reason": answer.get("reason") or "", "message": message, "causes": causes}
    if answer.get("kind") == "Status":
        return {"code": code}
    result = {key: value for key, value in answer.items() if key != "metadata"}
    metadata = {key: value for key, value in answer["metadata"].items() if key not in _VOLATILE}
    if "managedFields" in metadata:
        metadata["managedFields"] = [
            {key: value for key, value in entry.items() if key != "time"}
            for entry in metadata["managedFields"]
            if entry["manager"] != _CONTROLLERS
        ]
        # They are ordered by the second, which passes where it will.
        metadata["managedFields"].sort(key=lambda entry: (entry["operation"], entry["manager"]))
    if answer["kind"] == "CertificateSigningRequest":
        for name in _ASKER:
            result["spec"].pop(name, None)
    if answer["kind"] in _CONTROLLED:
        # Controllers of a real cluster may have been there between two steps.
        metadata.pop("annotations", None)
        status = result.get("status") or {}
        result["status"] = {key: value for key, value in status.items() if key not in _WRITTEN_BY_CONTROLLERS}
    return {"code": code, "object": _without_given({**result, "metadata": metadata})}


def _without_identity(message: str) -> str:
    """A sentence without what differs from run to run: identities, times, the order of findings."""
    first, *lines = message.split("\n")
    if first.endswith("errors:"):
        message = "\n".join([first, *sorted(lines)])
    return _IDENTITY.sub("…", message)


def _without_given(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_given(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without_given(below)
        for key, below in value.items()
        if not (key in _GIVEN and below not in ("None", ["None"]))
    }


def widget(**content: Any) -> Object:
    """A custom resource of the scenarios' own kind."""
    return {"apiVersion": "rules.example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, **content}


def builtin(api_version: str, kind: str, **content: Any) -> Object:
    """An object of a built-in kind."""
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, **content}


_TEXT = {"type": "string"}
WIDGETS: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.rules.example.com"},
    "spec": {
        "group": "rules.example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
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
                                        "rule": "!has(oldSelf.fixed) || has(self.fixed) && "
                                        "self.fixed == oldSelf.fixed",
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
                    }
                },
            }
        ],
    },
}


def scenarios() -> Iterator[tuple[str, list[Step]]]:
    """Every scenario by name."""
    from tests.informers.apiserver.scenarios import (
        asked_of_builtins,
        asked_of_definitions,
        asked_of_passive,
        asked_of_widgets,
    )

    yield from asked_of_definitions.scenarios()
    yield from asked_of_widgets.scenarios()
    yield from asked_of_builtins.scenarios()
    yield from asked_of_passive.scenarios()


def object_of(steps: list[Step]) -> Object:
    """The object a scenario is about."""
    body: Object = steps[0].body
    return body


def is_builtin(obj: Object) -> bool:
    """Whether the kind of an object is built in."""
    group, _, version = obj["apiVersion"].rpartition("/")
    return (group, version, obj["kind"]) in builtin_schemas()
