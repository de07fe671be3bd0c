"""Scenarios on a custom resource: schemas and field ownership."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from informers.objects import Object
from tests.informers.apiserver.scenarios.steps import Step
from tests.informers.apiserver.scenarios.widgets import widget

_UPDATE = "updater"


def _create(**spec: Any) -> Step:
    return Step("create", widget(spec=spec), manager=_UPDATE)


def _apply(manager: str, force: bool = False, **spec: Any) -> Step:
    return Step("apply", widget(spec=spec), manager=manager, force=force)


def _merge(**spec: Any) -> Step:
    return Step("merge", {"spec": spec}, manager=_UPDATE)


INVALID: dict[str, Object] = {
    "too small": {"size": 0},
    "too large": {"size": 11},
    "no int32": {"size": 2**40},
    "not an integer": {"size": 1.5},
    "integer as float": {"size": 2.0},
    "text for integer": {"size": "1"},
    "null where not allowed": {"a": None, "size": None},
    "null where allowed": {"maybe": None},
    "exclusive minimum": {"ratio": 0},
    "no multiple": {"ratio": 0.7, "even": 3},
    "number as integer": {"ratio": 1},
    "enum": {"mode": "Sideways"},
    "empty enum": {"mode": ""},
    "pattern": {"code": "ABC"},
    "too short": {"code": "a"},
    "too long": {"code": "abcdef"},
    "several at once": {"code": "ABCDEFG", "size": 0, "flag": "yes"},
    "no time": {"when": "yesterday"},
    "a time": {"when": "2026-01-01T00:00:00Z"},
    "text for boolean": {"flag": "true"},
    "int or text": {"port": 80},
    "text or int": {"port": "http"},
    "neither int nor text": {"port": True},
    "doubled tag": {"tags": ["a", "b", "a"]},
    "too many tags": {"tags": ["a", "b", "c", "d"]},
    "empty list": {"plain": []},
    "map for list": {"plain": {"a": 1}},
    "wrong items": {"plain": ["a", 1]},
    "doubled part": {"parts": [{"name": "a"}, {"name": "a", "kind": "std"}]},
    "part without its key": {"parts": [{"value": "x"}]},
    "defaults inside items": {"parts": [{"name": "a"}, {"name": "b", "weight": 3}]},
    "too many limits": {"limits": {"a": 1, "b": 2, "c": 3}},
    "wrong map values": {"limits": {"a": "x"}},
    "required": {"strict": {}},
    "one missing": {"strict": {"one": "1"}},
    "list for map": {"strict": []},
    "unknown fields": {"bogus": 1, "nested": {"extra": True}, "any": {"kept": [1, {"x": None}]}},
    "rule": {"low": 2, "high": 1},
    "rule and schema": {"low": 2, "high": 1, "size": 0},
    "rules that hold": {"ruled": {"min": 1, "max": 2, "names": ["n1"], "kept": 3}},
    "rule without message": {"ruled": {"min": 2, "max": 1}},
    "rule that cannot be answered": {"ruled": {"min": 2}},
    "rule with an expression": {"ruled": {"min": 1, "max": 1, "names": ["x", "n"]}},
    "rule with a place": {"ruled": {"min": 7, "max": 9}},
    "rule with another place": {"ruled": {"min": 8, "max": 9}},
    "one of": {"either": {"p": "1"}},
    "two of one": {"either": {"p": "1", "q": "2"}},
    "none of one": {"either": {}},
}
"""What becomes of a spec."""

CHANGES: dict[str, tuple[Object, Object]] = {
    "fixed stays": ({"fixed": "a"}, {"fixed": "a", "b": "x"}),
    "fixed changes": ({"fixed": "a"}, {"fixed": "b"}),
    "fixed goes": ({"fixed": "a"}, {"fixed": None}),
    "once is set": ({}, {"once": "a"}),
    "once changes": ({"once": "a"}, {"once": "b"}),
    "kept grows": ({"ruled": {"min": 1, "max": 1, "kept": 1}}, {"ruled": {"kept": 2}}),
    "kept shrinks": ({"ruled": {"min": 1, "max": 1, "kept": 2}}, {"ruled": {"kept": 1}}),
    "locked item": (
        {"parts": [{"name": "a", "locked": "x"}, {"name": "b", "locked": "y"}]},
        {"parts": [{"name": "b", "locked": "y"}, {"name": "a", "locked": "z"}]},
    ),
    "locked item is another": (
        {"parts": [{"name": "a", "locked": "x"}]},
        {"parts": [{"name": "c", "locked": "z"}]},
    ),
    "nothing changes": ({"a": "x"}, {"a": "x"}),
    "default comes back": ({"mode": "Slow"}, {"mode": None}),
    "nested default": ({"nested": {"need": "n"}}, {"nested": None}),
}
"""What becomes of a change, as a merge patch."""

OWNERSHIP: dict[str, list[Step]] = {
    "apply creates": [
        _apply("one", a="1", tags=["x"], parts=[{"name": "p", "value": "v"}], whole={"x": "1"})
    ],
    "apply twice": [_apply("one", a="1"), _apply("one", a="1")],
    "dropped field goes": [_apply("one", a="1", b="2"), _apply("one", a="1")],
    "co-owned field stays": [_apply("one", a="1", b="2"), _apply("two", b="2"), _apply("one", a="1")],
    "conflict": [_apply("one", a="1", b="2"), _apply("two", a="9", b="9")],
    "conflict with several": [
        _apply("one", a="1"),
        _apply("two", b="2"),
        _apply("three", a="9", b="9"),
    ],
    "conflict with an update": [_create(a="1"), _apply("one", a="2")],
    "conflict with a status": [
        _create(a="1"),
        Step("merge", {"status": {"phase": "P"}}, manager="s", subresource="status"),
        Step("apply", widget(status={"phase": "Q"}), manager="t", subresource="status"),
    ],
    "force takes over": [_apply("one", a="1", b="2"), _apply("two", force=True, a="9")],
    "force, then the first again": [
        _apply("one", a="1", b="2"),
        _apply("two", force=True, a="9"),
        _apply("one", a="1", b="2"),
    ],
    "same value is shared": [_create(a="1"), _apply("one", a="1")],
    "update steals": [_apply("one", a="1", b="2"), _merge(a="9")],
    "update removes": [_apply("one", a="1", b="2"), _merge(a=None)],
    "set": [_apply("one", tags=["a", "b"]), _apply("two", tags=["b", "c"]), _apply("one", tags=["a"])],
    "set order": [_apply("one", tags=["a", "b"]), _apply("one", tags=["b", "a"])],
    "set shrinks": [_apply("one", tags=["a", "b", "c"]), _apply("one", tags=["c"])],
    "set emptied": [_apply("one", tags=["a"]), _apply("one", tags=[])],
    "nothing but an empty set": [_apply("one", tags=[]), _apply("one", tags=[])],
    "nothing but an empty map": [_apply("one", limits={}), _apply("one", limits={})],
    "empty list map dropped": [_apply("one", a="1", parts=[]), _apply("one")],
    "empty atomic list dropped": [_apply("one", a="1", whole={}, limits={}), _apply("one")],
    "empty everything": [Step("apply", widget(), manager="one"), Step("apply", widget(), manager="one")],
    "list map": [
        _apply("one", parts=[{"name": "a", "value": "1"}]),
        _apply("two", parts=[{"name": "b", "value": "2"}]),
        _apply("one", parts=[{"name": "c", "kind": "std", "value": "3"}]),
    ],
    "list map item shared": [
        _apply("one", parts=[{"name": "a", "value": "1"}]),
        _apply("two", parts=[{"name": "a", "weight": 5}]),
        _apply("one"),
    ],
    "list map conflict": [
        _apply("one", parts=[{"name": "a", "value": "1"}]),
        _apply("two", parts=[{"name": "a", "value": "2"}]),
    ],
    "list map default key": [
        _apply("one", parts=[{"name": "a", "value": "1"}]),
        _apply("one", parts=[{"name": "a", "kind": "std", "value": "2"}]),
    ],
    "list map order": [
        _apply("one", parts=[{"name": "a"}, {"name": "b"}, {"name": "c"}]),
        _apply("two", parts=[{"name": "d"}, {"name": "b"}]),
        _apply("one", parts=[{"name": "c"}, {"name": "a"}]),
    ],
    "doubled keys": [_apply("one", parts=[{"name": "a"}, {"name": "a", "kind": "std"}])],
    "atomic map": [_apply("one", whole={"x": "1"}), _apply("two", whole={"y": "2"})],
    "atomic map forced": [_apply("one", whole={"x": "1"}), _apply("two", force=True, whole={"y": "2"})],
    "atomic list": [_apply("one", plain=[1, 2]), _apply("two", plain=[1, 2]), _apply("one", plain=[1])],
    "free map": [_apply("one", limits={"a": 1}), _apply("two", limits={"b": 2}), _apply("one")],
    "unknown subtree": [_apply("one", any={"k": {"x": 1}, "l": [1]}), _apply("one", any={"k": {"y": 2}})],
    "empty map": [_apply("one", nested={"deep": {}}), _apply("one", nested={})],
    "null": [_apply("one", a="1"), _apply("one", a=None)],
    "nothing left": [_apply("one", a="1"), _apply("one")],
    "unknown field": [_apply("one", bogus=1)],
    "wrong type": [_apply("one", tags="x", a=1)],
    "status is apart": [
        Step("apply", widget(spec={"a": "1"}, status={"phase": "P"}), manager="one"),
        Step(
            "apply",
            widget(status={"phase": "P", "conditions": [{"type": "Ready", "status": "True"}]}),
            manager="one",
            subresource="status",
        ),
        Step("merge", {"spec": {"a": "9"}, "status": {"count": 3}}, manager="two", subresource="status"),
        Step("merge", {"spec": {"b": "9"}, "status": {"count": 4}}, manager="two"),
        Step("apply", widget(status={"phase": "Q"}), manager="one", subresource="status"),
    ],
    "labels": [
        Step(
            "apply",
            {
                **widget(),
                "metadata": {
                    "name": "w",
                    "labels": {"l": "1"},
                    "annotations": {"k": "v"},
                    "finalizers": ["example.com/f"],
                },
            },
            manager="one",
        ),
        Step("merge", {"metadata": {"labels": {"m": "2"}, "finalizers": None}}, manager="two"),
        Step("apply", {**widget(), "metadata": {"name": "w", "labels": {"l": "1"}}}, manager="one"),
    ],
    "managed fields forgotten": [
        _apply("one", a="1"),
        Step("merge", {"metadata": {"managedFields": [{}]}}, manager="two"),
        _apply("one", b="2"),
    ],
    "managed fields may not be applied": [
        Step(
            "apply",
            {
                **widget(),
                "metadata": {
                    "name": "w",
                    "managedFields": [
                        {
                            "manager": "x",
                            "operation": "Apply",
                            "apiVersion": "v1",
                            "fieldsType": "FieldsV1",
                            "fieldsV1": {},
                        }
                    ],
                },
            },
            manager="one",
        ),
    ],
    "stale version": [
        _create(a="1"),
        Step("apply", {**widget(), "metadata": {"name": "w", "resourceVersion": "1"}}, manager="one"),
    ],
    "no manager": [Step("apply", widget(spec={"a": "1"}))],
    "server side dry run": [
        Step("apply", widget(spec={"a": "1"}), manager="one", query={"dryRun": "All"}),
        Step("get", None),
    ],
}
"""Who comes to own what."""

STRICT: dict[str, list[Step]] = {
    "strict": [
        Step("create", widget(spec={"bogus": 1, "nested": {"no": 1}}), query={"fieldValidation": "Strict"})
    ],
    "strict patch": [
        _create(a="1"),
        Step("merge", {"spec": {"bogus": 1}}, query={"fieldValidation": "Strict"}),
    ],
    "json patch": [_create(a="1"), Step("json", [{"op": "replace", "path": "/spec/a", "value": "2"}])],
    "failed test": [_create(a="1"), Step("json", [{"op": "test", "path": "/spec/a", "value": "2"}])],
    "json patch nowhere": [_create(a="1"), Step("json", [{"op": "remove", "path": "/spec/zz"}])],
    "update without version": [_create(a="1"), Step("update", widget(spec={"a": "2"}))],
    "create with version": [Step("create", {**widget(), "metadata": {"name": "w", "resourceVersion": "7"}})],
    "bad name": [Step("create", {**widget(), "metadata": {"name": "W_"}})],
    "bad labels": [
        Step(
            "create",
            {
                **widget(),
                "metadata": {"name": "w", "labels": {"a b": "x", "c": "-"}, "annotations": {"_": "v"}},
            },
        )
    ],
    "bad owner": [
        Step(
            "create",
            {
                **widget(),
                "metadata": {
                    "name": "w",
                    "ownerReferences": [{"apiVersion": "a/b/c", "kind": "Pod", "name": "p", "uid": "u"}],
                },
            },
        )
    ],
    "bad finalizer": [Step("create", {**widget(), "metadata": {"name": "w", "finalizers": ["a b"]}})],
}
"""Other things that are refused, or not."""


def scenarios() -> Iterator[tuple[str, list[Step]]]:
    """All of them by name."""
    for name, spec in INVALID.items():
        yield f"schema: {name}", [_create(**spec)]
    for name, (before, change) in CHANGES.items():
        yield f"change: {name}", [_create(**before), _merge(**change)]
    for name, steps in OWNERSHIP.items():
        yield f"ownership: {name}", steps
    for name, steps in STRICT.items():
        yield f"request: {name}", steps
