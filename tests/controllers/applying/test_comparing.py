"""What counts as "already there"."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.applying.comparing import contains, digest, quantity

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(TREES)
def test_everything_contains_itself(tree: Any) -> None:
    assert contains(copy.deepcopy(tree), tree)


@given(st.dictionaries(st.text(max_size=4), TREES, max_size=4), st.dictionaries(st.text(max_size=4), TREES))
def test_fields_of_others_do_not_matter(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert contains({**theirs, **ours}, ours)


def test_a_changed_scalar_matters() -> None:
    assert not contains({"spec": {"replicas": 2}}, {"spec": {"replicas": 3}})


def test_a_missing_field_matters() -> None:
    assert not contains({"spec": {}}, {"spec": {"replicas": 3}})
    assert contains({}, {"labels": {}})


@pytest.mark.parametrize(
    ("observed", "desired", "same"),
    [
        ("1Gi", "1024Mi", True),
        ("0.1", "100m", True),
        ("1e3", "1k", True),
        ("1G", "1Gi", False),
        ("x", "x", True),
    ],
)
def test_quantities_are_compared_by_value(observed: str, desired: str, same: bool) -> None:
    assert contains({"limits": {"memory": observed}}, {"limits": {"memory": desired}}) is same


def test_quantities_only_where_quantities_are() -> None:
    assert not contains({"env": [{"name": "a", "value": "1.0"}]}, {"env": [{"name": "a", "value": "1"}]})


def test_lists_that_say_one_thing_twice_are_compared_as_wholes() -> None:
    once, twice = [{"name": "a", "value": "2"}], [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]
    assert contains({"env": twice}, {"env": twice})
    assert not contains({"env": once}, {"env": twice})
    assert not contains({"env": twice}, {"env": once})


def test_merged_lists_are_compared_by_key() -> None:
    ours = {"env": [{"name": "a", "value": "1"}]}
    assert contains({"env": [{"name": "injected"}, {"name": "a", "value": "1"}]}, ours)
    assert not contains({"env": [{"name": "injected"}]}, ours)


def test_other_lists_are_compared_whole() -> None:
    assert not contains({"args": ["a", "b"]}, {"args": ["a"]})
    assert not contains({"args": ["b", "a"]}, {"args": ["a", "b"]})


def test_server_defaults_are_not_ours() -> None:
    observed = {"ports": [{"name": "grpc", "port": 1, "nodePort": 3, "protocol": "TCP"}], "type": "ClusterIP"}
    assert contains(observed, {"ports": [{"name": "grpc", "port": 1}]})


def test_the_digest_ignores_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


@pytest.mark.parametrize("text", ["", "1Kib", "abc", "1 Gi"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        quantity(text)
