"""Defaults, pruning, ratcheting: what must hold for any object."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from informers.apiserver.schema import Schema, check_structural, compile_schema
from informers.apiserver.schema.bundle import builtin_schemas
from informers.objects import Object

TEXT = {"type": "string"}
RAW: Object = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "size": {"type": "integer", "minimum": 1, "default": 3},
                "mode": {**TEXT, "enum": ["a", "b"]},
                "nested": {
                    "type": "object",
                    "default": {"x": "1"},
                    "properties": {"x": TEXT, "y": {**TEXT, "default": "2"}},
                },
                "items": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"n": TEXT, "w": {"type": "integer", "default": 1}},
                    },
                },
                "free": {
                    "type": "object",
                    "additionalProperties": {"type": "object", "properties": {"k": TEXT}},
                },
                "open": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                    "properties": {"p": TEXT},
                },
                "maybe": {**TEXT, "nullable": True},
                "embedded": {
                    "type": "object",
                    "x-kubernetes-embedded-resource": True,
                    "x-kubernetes-preserve-unknown-fields": True,
                },
            },
        }
    },
}
SCHEMA = compile_schema(RAW)


def obj(**spec: Any) -> Object:
    return {"apiVersion": "e.com/v1", "kind": "T", "metadata": {"name": "t"}, "spec": spec}


def test_this_schema_may_be_served() -> None:
    assert check_structural(RAW) == []


def test_defaults() -> None:
    filled = SCHEMA.defaulted(obj(items=[{"n": "1"}, {"w": 7}]))["spec"]
    assert filled == {
        "size": 3,
        "nested": {"x": "1", "y": "2"},
        "items": [{"n": "1", "w": 1}, {"w": 7}],
    }
    # Nothing is made only to hold defaults.
    assert SCHEMA.defaulted({"metadata": {}}) == {"metadata": {}}


def test_nulls_give_way_to_defaults_or_go() -> None:
    filled = SCHEMA.defaulted(obj(size=None, mode=None, maybe=None, nested=None))["spec"]
    assert filled == {"size": 3, "maybe": None, "nested": {"x": "1", "y": "2"}}


def test_pruning_names_what_it_drops() -> None:
    kept, dropped = SCHEMA.pruned(
        obj(
            bogus=1,
            nested={"z": 1},
            items=[{"n": "1"}, {"q": 1}],
            free={"any": {"k": "1", "l": 2}},
            open={"p": "1", "q": {"r": [1]}},
            embedded={"apiVersion": "v1", "kind": "X", "metadata": {"name": "n", "odd": 1}, "data": {}},
        )
    )
    assert sorted(dropped) == [
        "spec.bogus",
        "spec.embedded.metadata.odd",
        "spec.free.any.l",
        "spec.items[1].q",
        "spec.nested.z",
    ]
    assert kept["spec"]["open"] == {"p": "1", "q": {"r": [1]}}
    assert kept["spec"]["items"] == [{"n": "1"}, {}]


def test_what_was_wrong_before_and_did_not_change_is_let_through() -> None:
    wrong = obj(mode="z", size=0)
    assert len(SCHEMA.validate(wrong)) == 2
    assert SCHEMA.validate(wrong, wrong) == []
    assert [one.field for one in SCHEMA.validate(obj(mode="z", size=-1), wrong)] == ["spec.size"]
    # List items without keys are compared as one list.
    broken = obj(items=[{"n": 1}])
    assert SCHEMA.validate(broken, broken) == []
    assert SCHEMA.validate(obj(items=[{"n": 1}, {"n": "2"}]), broken) != []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abknwxyp"), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from([*RAW["properties"]["spec"]["properties"], "bogus"])
SPECS = st.dictionaries(NAMES, JSON, max_size=5)


@given(SPECS)
def test_defaults_are_stable_and_leave_their_argument_alone(spec: Object) -> None:
    given_ = obj(**spec)
    before = copy.deepcopy(given_)
    once = SCHEMA.defaulted(given_)
    assert given_ == before
    assert SCHEMA.defaulted(once) == once


@given(SPECS)
def test_pruning_is_stable_and_leaves_its_argument_alone(spec: Object) -> None:
    given_ = obj(**spec)
    before = copy.deepcopy(given_)
    once, dropped = SCHEMA.pruned(given_)
    assert given_ == before
    assert SCHEMA.pruned(once) == (once, [])
    assert (once == given_) is (not dropped)


@given(SPECS, SPECS)
def test_validation_answers_anything_and_forgives_what_did_not_change(spec: Object, other: Object) -> None:
    new, old = obj(**spec), obj(**other)
    found = {(one.field, one.message) for one in SCHEMA.validate(new, old)}
    assert found <= {(one.field, one.message) for one in SCHEMA.validate(new)}
    assert SCHEMA.validate(new, new) == []


def test_every_built_in_schema_compiles_and_accepts_an_empty_object() -> None:
    for gvk, raw in builtin_schemas().items():
        schema = Schema(raw)
        assert schema.builtin
        assert schema.defaulted({"kind": gvk[2]}) == {"kind": gvk[2]}
        assert all(cause.reason == "FieldValueRequired" for cause in schema.validate({"kind": gvk[2]}))


RENAMED = "self.max__dash__size < 5 && self.__namespace__ == 'n' && self.a__dot__b == 'x'"


def test_fields_that_cannot_be_spelled_in_rules_are_renamed() -> None:
    schema = compile_schema(
        {
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "properties": {"max-size": {"type": "integer"}, "namespace": TEXT, "a.b": TEXT},
                    "x-kubernetes-validations": [
                        {"rule": RENAMED, "message": "no"},
                    ],
                }
            },
        }
    )
    assert schema.validate(obj(**{"max-size": 4, "namespace": "n", "a.b": "x"})) == []
    assert [one.message for one in schema.validate(obj(**{"max-size": 5, "namespace": "n", "a.b": "x"}))] == [
        "Invalid value: no"
    ]
