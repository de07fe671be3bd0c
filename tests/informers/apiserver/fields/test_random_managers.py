"""Server-side apply by random managers: what must hold whatever they say."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from informers.apiserver.errors import StatusError
from informers.apiserver.fields import Manager, apply, track
from informers.apiserver.fields.paths import FieldSet, element, from_v1, to_v1
from informers.apiserver.fields.walks import field_set
from informers.apiserver.schema import compile_schema
from informers.objects import Object

TEXT = {"type": "string"}
SCHEMA = compile_schema(
    {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "a": TEXT,
                    "b": TEXT,
                    "deep": {"type": "object", "properties": {"x": TEXT, "y": TEXT}},
                    "free": {"type": "object", "additionalProperties": TEXT},
                    "whole": {
                        "type": "object",
                        "x-kubernetes-map-type": "atomic",
                        "properties": {"x": TEXT, "y": TEXT},
                    },
                    "list": {"type": "array", "items": TEXT},
                    "set": {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"},
                    "map": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                        "items": {
                            "type": "object",
                            "required": ["name"],
                            "properties": {"name": TEXT, "v": TEXT, "w": TEXT},
                        },
                    },
                },
            }
        },
    }
)
NODE = SCHEMA.root
API = "rules.example.com/v1"
SCALAR = st.sampled_from(["1", "2"])


def fields(**strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[Object]:
    """Any subset of these fields."""
    return st.fixed_dictionaries({}, optional=strategies)


ITEM = st.fixed_dictionaries({"name": st.sampled_from("pqr")}, optional={"v": SCALAR, "w": SCALAR})
# Nobody owns an empty set or list map: that is how real servers do it, and tested elsewhere.
SPEC = fields(
    a=SCALAR,
    b=SCALAR,
    deep=fields(x=SCALAR, y=SCALAR),
    free=st.dictionaries(st.sampled_from("kl"), SCALAR),
    whole=fields(x=SCALAR, y=SCALAR),
    list=st.lists(SCALAR, max_size=2),
    set=st.lists(st.sampled_from("stu"), unique=True, min_size=1, max_size=3),
    map=st.lists(ITEM, unique_by=lambda one: one["name"], min_size=1, max_size=3),
)
MANAGERS = st.sampled_from(["one", "two", "three"])


def intent(spec: Object) -> Object:
    return {"apiVersion": API, "kind": "W", "metadata": {"name": "w"}, "spec": spec}


def applied(live: Object | None, name: str, spec: Object, *, force: bool = True) -> Object:
    before = copy.deepcopy(live)
    manager = Manager(name, "Apply", API)
    result = apply(live, intent(spec), SCHEMA, manager, force=force, now="2026-01-01T00:00:00Z")
    assert live == before
    # A map that loses everything while somebody owns the map itself becomes null, which servers refuse.
    assume("null" not in json.dumps(result))
    return result


def owned(obj: Object | None) -> dict[str, FieldSet]:
    """Who owns what, appliers only."""
    entries = (obj or {}).get("metadata", {}).get("managedFields", [])
    return {one["manager"]: from_v1(one["fieldsV1"]) for one in entries if one["operation"] == "Apply"}


def present(obj: Object) -> FieldSet:
    return field_set({"spec": obj.get("spec", {})}, NODE)


def value_at(obj: Any, path: tuple[str, ...]) -> Any:
    """The value a path leads to; ``None`` when there is none."""
    node, value = NODE, obj
    for part in path:
        if part.startswith("f:"):
            value = value.get(part[2:]) if isinstance(value, dict) else None
            child = node.child(part[2:])
        else:
            found = [one for one in value or () if element(node, one) == part]
            value, child = (found[0] if found else None), node.items
        assert child is not None
        node = child
    return value


STEPS = st.lists(st.tuples(MANAGERS, SPEC), min_size=1, max_size=5)


@given(STEPS)
@settings(max_examples=150)
def test_what_was_applied_last_is_there(steps: list[tuple[str, Object]]) -> None:
    live: Object | None = None
    for name, spec in steps:
        live = applied(live, name, spec)
        wanted = field_set({"spec": spec}, NODE)
        assert owned(live).get(name, frozenset()) == wanted
        for path in wanted:
            sent = value_at(intent(spec), path)
            found = value_at(live, path)
            # An empty map says that there is one, not that it is empty.
            assert found is not None if isinstance(sent, dict | list) else found == sent


@given(STEPS, MANAGERS, SPEC)
@settings(max_examples=150)
def test_what_is_dropped_goes_unless_somebody_else_owns_it(
    steps: list[tuple[str, Object]], name: str, spec: Object
) -> None:
    live: Object | None = None
    for other, theirs in steps:
        live = applied(live, other, theirs)
    before = owned(live)
    after = applied(live, name, spec)
    dropped = before.get(name, frozenset()) - field_set({"spec": spec}, NODE)
    kept_by_others = frozenset().union(*(paths for who, paths in owned(after).items() if who != name))
    for path in dropped:
        covered = any(
            other[: len(path)] == path for other in kept_by_others | owned(after).get(name, frozenset())
        )
        if not covered:
            assert value_at(after, path) is None, path
    # What nobody gave up is as it was.
    untouched = frozenset().union(*before.values()) - dropped - field_set({"spec": spec}, NODE)
    for path in untouched & kept_by_others:
        value = value_at(live, path)
        if not isinstance(value, dict | list):
            assert value_at(after, path) == value


@given(STEPS)
@settings(max_examples=150)
def test_nobody_owns_what_is_not_there(steps: list[tuple[str, Object]]) -> None:
    live: Object | None = None
    for name, spec in steps:
        live = applied(live, name, spec)
        for paths in owned(live).values():
            for path in paths:
                assert value_at(live, path) is not None, path


@given(STEPS)
def test_applying_again_changes_nothing(steps: list[tuple[str, Object]]) -> None:
    live: Object | None = None
    for name, spec in steps:
        live = applied(live, name, spec)
    assert live is not None
    name, spec = steps[-1]
    assert applied(live, name, spec, force=False) is live


@given(STEPS, MANAGERS, SPEC)
@settings(max_examples=150)
def test_conflicts_are_exactly_the_values_of_others_that_would_change(
    steps: list[tuple[str, Object]], name: str, spec: Object
) -> None:
    live: Object | None = None
    for other, theirs in steps:
        live = applied(live, other, theirs)
    forced = applied(live, name, spec)
    lost = [
        (who, path)
        for who, paths in owned(live).items()
        if who != name
        for path in paths - owned(forced).get(who, frozenset())
        if value_at(forced, path) is not None
    ]
    try:
        applied(live, name, spec, force=False)
    except StatusError as refusal:
        assert refusal.code == 409
        assert lost
        named = {
            cause["message"].removeprefix("conflict with ").strip('"') for cause in refusal.details["causes"]
        }
        assert named == {who for who, _ in lost}
    else:
        assert not lost


@given(STEPS, MANAGERS, SPEC)
def test_an_update_takes_what_it_changes(steps: list[tuple[str, Object]], name: str, spec: Object) -> None:
    live: Object | None = None
    for other, theirs in steps:
        live = applied(live, other, theirs)
    assert live is not None
    new = {**live, "spec": spec}
    after = track(live, new, SCHEMA, Manager(name, "Update", API), now="2026-01-01T00:00:01Z")
    assert after["spec"] == spec
    for who, paths in owned(after).items():
        for path in paths:
            value = value_at(after, path)
            assert value is not None
            if not isinstance(value, dict | list):
                assert value == value_at(live, path), (who, path)


@given(SPEC)
def test_sets_of_fields_survive_being_written_down(spec: Object) -> None:
    paths = present(intent(spec))
    assert from_v1(to_v1(paths)) == paths


@pytest.mark.parametrize("schema", [SCHEMA, None])
def test_without_a_schema_lists_are_one_value(schema: Any) -> None:
    manager = Manager("one", "Apply", API)
    live = apply(None, intent({"set": ["s"], "a": "1"}), schema, manager, force=False, now="t")
    other = Manager("two", "Apply", API)
    spec = {"set": ["t"]}
    if schema is not None:
        assert apply(live, intent(spec), schema, other, force=False, now="t")["spec"]["set"] == ["s", "t"]
        return
    with pytest.raises(StatusError, match=r'conflict with "one": \.spec\.set'):
        apply(live, intent(spec), schema, other, force=False, now="t")
