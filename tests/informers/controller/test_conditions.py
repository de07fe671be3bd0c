"""Conditions: sorted, and silent as long as nothing happens."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from informers.conditions import get_condition, remove_condition, set_condition

BEFORE, NOW = "2027-01-01T00:00:00Z", "2027-01-01T00:00:01Z"


def ready(status: str, reason: str = "Because", message: str = "", now: str = BEFORE) -> list[dict[str, Any]]:
    return set_condition([], "Ready", status, reason, message, 1, now)


def test_a_new_condition_has_everything_kubernetes_asks_for() -> None:
    assert ready("True", "Fine", "all is well") == [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Fine",
            "message": "all is well",
            "lastTransitionTime": BEFORE,
            "observedGeneration": 1,
        }
    ]


def test_the_transition_time_moves_with_the_status_and_with_nothing_else() -> None:
    items = ready("False", "Starting", "one of three")
    items = set_condition(items, "Ready", "False", "StillStarting", "two of three", 2, NOW)
    (found,) = items
    assert (found["reason"], found["message"], found["observedGeneration"]) == (
        "StillStarting",
        "two of three",
        2,
    )
    assert found["lastTransitionTime"] == BEFORE
    (found,) = set_condition(items, "Ready", "True", "Started", "", 2, NOW)
    assert found["lastTransitionTime"] == NOW


def test_what_is_gone_is_gone() -> None:
    items = set_condition(ready("True"), "Stalled", "True", "Why", "", 1, BEFORE)
    assert get_condition(items, "Stalled") is not None
    items = remove_condition(items, "Stalled")
    assert get_condition(items, "Stalled") is None
    assert remove_condition(items, "Stalled") == items


def test_a_message_never_outgrows_the_schema() -> None:
    (found,) = ready("False", message="x" * 40_000)
    assert len(found["message"]) == 32_768


TYPES = st.sampled_from(["Ready", "Reconciling", "Stalled", "Available"])
STATUSES = st.sampled_from(["True", "False", "Unknown"])


@given(st.lists(st.one_of(st.tuples(TYPES, STATUSES), st.tuples(TYPES, st.none())), max_size=20))
def test_whatever_is_set_and_removed_the_list_stays_a_sorted_map(
    steps: list[tuple[str, str | None]],
) -> None:
    items: list[dict[str, Any]] = []
    expected: dict[str, str] = {}
    since: dict[str, str] = {}
    for second, (kind, status) in enumerate(steps):
        now = f"2027-01-01T00:00:{second:02d}Z"
        untouched = copy.deepcopy(items)
        before = items
        if status is None:
            items = remove_condition(items, kind)
            expected.pop(kind, None)
        else:
            if expected.get(kind) != status:
                since[kind] = now
            items = set_condition(items, kind, status, "Reason", "", 1, now)
            expected[kind] = status
        assert before == untouched
        assert [item["type"] for item in items] == sorted(expected)
        for item in items:
            assert item["status"] == expected[item["type"]]
            assert item["lastTransitionTime"] == since[item["type"]]
