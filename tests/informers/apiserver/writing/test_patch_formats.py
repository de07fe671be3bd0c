from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from informers.apiserver.errors import StatusError
from informers.apiserver.schema import compile_schema
from informers.apiserver.schema.bundle import builtin_schemas
from informers.apiserver.writing.patch_formats import json_patch, merge_patch, strategic_merge
from informers.objects import Object

STATEFUL_SET = compile_schema(builtin_schemas()["apps", "v1", "StatefulSet"]).root
POD = compile_schema(builtin_schemas()["", "v1", "Pod"]).root
SERVICE = compile_schema(builtin_schemas()["", "v1", "Service"]).root


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # The examples of RFC 7386, appendix A.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
MAPS = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(below) for key, below in value.items() if below is not None}
    return value


@given(MAPS, MAPS)
def test_merge_patch_is_idempotent_and_leaves_its_arguments_alone(target: Object, patch: Object) -> None:
    before = copy.deepcopy((target, patch))
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once
    assert (target, patch) == before


@given(MAPS, MAPS)
def test_a_merge_patch_can_turn_anything_into_anything_without_nulls(target: Object, wanted: Object) -> None:
    target, wanted = without_nulls(target), without_nulls(wanted)

    def difference(old: Any, new: Any) -> Any:
        if not (isinstance(old, dict) and isinstance(new, dict)):
            return new
        changes = {key: None for key in old if key not in new}
        return changes | {key: difference(old.get(key), value) for key, value in new.items()}

    assert merge_patch(target, difference(target, wanted)) == wanted


def test_json_patch() -> None:
    target: Object = {"a": [1, 2], "b": {"c": "d"}}
    operations = [
        {"op": "test", "path": "/b/c", "value": "d"},
        {"op": "add", "path": "/a/-", "value": 3},
        {"op": "remove", "path": "/b/c"},
        {"op": "copy", "from": "/a/0", "path": "/b/x~1y"},
        {"op": "move", "from": "/a/1", "path": "/b/z"},
        {"op": "replace", "path": "/a/0", "value": 9},
    ]
    assert json_patch(target, operations) == {"a": [9, 3], "b": {"x/y": 1, "z": 2}}
    assert target == {"a": [1, 2], "b": {"c": "d"}}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "test", "path": "/missing", "value": 2},
        {"op": "remove", "path": "/missing"},
        {"op": "replace", "path": "/missing", "value": 1},
        {"op": "add", "path": "/missing/below", "value": 1},
        {"op": "add", "path": "/a/b/c", "value": 1},
        {"op": "add", "path": "/list/7", "value": 1},
        {"op": "add", "path": "/a"},
        {"op": "add", "value": 1},
        {"op": "paint", "path": "/a"},
        {"path": "/a"},
        {"op": "replace", "path": "", "value": 3},
        {"op": "add", "path": "no-slash", "value": 1},
        {"op": 7, "path": "/a", "value": 1},
        {"op": "add", "path": 7, "value": 1},
    ],
)
def test_a_failing_operation_is_422(operation: Object) -> None:
    with pytest.raises(StatusError) as refusal:
        json_patch({"a": 1, "list": []}, [operation])
    assert (refusal.value.code, refusal.value.reason) == (422, "Invalid")


@pytest.mark.parametrize("operations", [{}, None, "x", [1], [[{}]]])
def test_what_is_no_list_of_operations_is_400(operations: Any) -> None:
    with pytest.raises(StatusError) as refusal:
        json_patch({}, operations)
    assert (refusal.value.code, refusal.value.reason) == (400, "BadRequest")


def test_too_many_operations_are_413() -> None:
    with pytest.raises(StatusError) as refusal:
        json_patch({}, [{"op": "add", "path": "/a", "value": 1}] * 10_001)
    assert refusal.value.code == 413
    assert refusal.value.message == (
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
    )


def pod(*containers: Object, **spec: Any) -> Object:
    return {"spec": {"containers": list(containers), **spec}}


def merged(live: Object, patch: Object) -> Object:
    before = copy.deepcopy((live, patch))
    result = strategic_merge(live, patch, POD)
    assert (live, patch) == before
    return result


def test_items_are_merged_by_their_key_and_nulls_remove() -> None:
    live = pod({"name": "a", "image": "a:1", "tty": True}, {"name": "b", "image": "b:1"})
    patch = pod({"name": "b", "image": "b:2"}, {"name": "a", "tty": None})
    assert merged(live, patch) == pod({"name": "b", "image": "b:2"}, {"name": "a", "image": "a:1"})


def test_new_items_come_after_what_they_have_no_order_with() -> None:
    live = pod({"name": "a"}, {"name": "b"})
    assert merged(live, pod({"name": "c"})) == pod({"name": "c"}, {"name": "a"}, {"name": "b"})
    assert merged(live, pod({"name": "b"}, {"name": "c"})) == pod({"name": "a"}, {"name": "b"}, {"name": "c"})


def test_directives_delete_and_replace() -> None:
    live = pod({"name": "a"}, {"name": "b"}, nodeSelector={"x": "1"}, securityContext={"runAsUser": 1})
    assert merged(live, pod({"name": "a", "$patch": "delete"}))["spec"]["containers"] == [{"name": "b"}]
    assert merged(live, pod({"name": "c"}, {"$patch": "replace"}))["spec"]["containers"] == [{"name": "c"}]
    whole = {
        "spec": {"nodeSelector": {"$patch": "replace", "y": "2"}, "securityContext": {"$patch": "delete"}}
    }
    assert merged(live, whole)["spec"]["nodeSelector"] == {"y": "2"}
    assert merged(live, whole)["spec"]["securityContext"] == {}


def test_directives_that_meet_nothing_leave_no_trace() -> None:
    patch = {"spec": {"nodeSelector": {"a": None, "b": "1"}, "volumes": [{"name": "v", "$patch": "delete"}]}}
    assert merged({}, patch) == {"spec": {"nodeSelector": {"b": "1"}, "volumes": []}}
    assert merged({"spec": {}}, {"spec": {"nodeSelector": {"$patch": "delete"}}}) == {"spec": {}}


def test_set_element_order_decides_the_order() -> None:
    live = pod({"name": "a"}, {"name": "b"}, {"name": "server"})
    patch = {
        "spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}],
            "containers": [{"name": "c", "image": "c:1"}],
        }
    }
    names = [one["name"] for one in merged(live, patch)["spec"]["containers"]]
    assert names == ["c", "b", "a", "server"]


def test_set_element_order_alone_moves_items() -> None:
    live = pod({"name": "a"}, {"name": "b"})
    patch = {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}
    assert merged(live, patch) == pod({"name": "b"}, {"name": "a"})


def test_retain_keys_clears_the_others() -> None:
    live = {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}
    patch = {
        "spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]}
    }
    assert merged(live, patch) == {"spec": {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}}


def test_values_are_deleted_from_primitive_lists() -> None:
    live: Object = {"metadata": {"finalizers": ["a", "b", "c"]}}
    patch: Object = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "finalizers": ["d"]}}
    assert merged(live, patch) == {"metadata": {"finalizers": ["d", "a", "c"]}}


def test_lists_without_a_strategy_are_replaced() -> None:
    live = pod({"name": "a", "command": ["x", "y"]})
    assert merged(live, pod({"name": "a", "command": ["z"]})) == pod({"name": "a", "command": ["z"]})
    assert strategic_merge({"a": [1]}, {"a": [2]}, None) == {"a": [2]}


def test_keys_may_be_numbers() -> None:
    live = {"spec": {"ports": [{"port": 80, "nodePort": 30000}, {"port": 81}]}}
    patch = {"spec": {"ports": [{"port": 80, "name": "http"}]}}
    ports = strategic_merge(live, patch, SERVICE)["spec"]["ports"]
    assert ports == [{"port": 80, "nodePort": 30000, "name": "http"}, {"port": 81}]


@pytest.mark.parametrize(
    ("patch", "code", "message"),
    [
        ({"spec": {"$retainKeys": "x"}}, 400, "invalid patch format of retainKeys"),
        ({"spec": {"$retainKeys": ["a"], "b": 1}}, 400, "invalid patch format of retainKeys"),
        ({"spec": {"$setElementOrder/containers": 1}}, 400, "invalid patch format of setElementOrder list"),
        ({"metadata": {"$deleteFromPrimitiveList": []}}, 400, "invalid patch format of primitive list"),
        ({"spec": {"$patch": "paint"}}, 500, "unknown patch type: paint"),
        (pod({"image": "x"}), 500, "does not contain declared merge key: name"),
        (
            pod(
                {"name": "b"},
                {"name": "a"},
                **{"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}]},
            ),
            500,
            "The order in patch list",
        ),
    ],
)
def test_malformed_strategic_patches(patch: Object, code: int, message: str) -> None:
    with pytest.raises(StatusError) as refusal:
        merged({"metadata": {}, **pod({"name": "a"})}, patch)
    assert refusal.value.code == code
    assert message in refusal.value.message


CONTAINERS = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("abcd")}, optional={"image": st.sampled_from("xy")}),
    unique_by=lambda one: one["name"],
    max_size=4,
)


@given(CONTAINERS, CONTAINERS)
def test_a_strategic_patch_is_idempotent_and_keeps_its_order(live: list[Any], patch: list[Any]) -> None:
    once = merged(pod(*live), pod(*patch))
    names = [one["name"] for one in once["spec"]["containers"]]
    assert sorted(names) == sorted({one["name"] for one in (*live, *patch)})
    wanted = [one["name"] for one in patch]
    assert [name for name in names if name in wanted] == wanted
    assert merged(once, pod(*patch)) == once


def test_a_three_way_patch_as_clients_compute_it() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    live = {"spec": {"replicas": 3, "template": pod({"name": "node", "image": "n:1", "env": env})}}
    patch = {
        "spec": {
            "template": {
                "spec": {
                    "$setElementOrder/containers": [{"name": "node"}],
                    "containers": [
                        {
                            "name": "node",
                            "image": "n:2",
                            "$setElementOrder/env": [{"name": "B"}],
                            "env": [{"name": "A", "$patch": "delete"}],
                        }
                    ],
                }
            }
        }
    }
    result = strategic_merge(live, patch, STATEFUL_SET)["spec"]
    assert result["replicas"] == 3
    assert result["template"]["spec"]["containers"] == [
        {"name": "node", "image": "n:2", "env": [{"name": "B", "value": "2"}]}
    ]
