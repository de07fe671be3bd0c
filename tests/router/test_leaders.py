"""Who led when last seen."""

from __future__ import annotations

from etl_operator.router.leaders import Leaders


def test_a_leader_is_remembered_for_a_set_of_addresses_in_any_order() -> None:
    leaders = Leaders()
    leaders.remember(["a:1", "b:1"], "b:1")
    assert leaders.get(["b:1", "a:1"]) == "b:1"
    assert leaders.get(["a:1", "b:1", "c:1"]) is None


def test_only_the_leader_that_failed_is_forgotten() -> None:
    leaders = Leaders()
    leaders.remember(["a:1", "b:1"], "a:1")
    # Somebody else has found the successor meanwhile.
    leaders.remember(["a:1", "b:1"], "b:1")
    leaders.forget(["a:1", "b:1"], "a:1")
    assert leaders.get(["a:1", "b:1"]) == "b:1"
    leaders.forget(["a:1", "b:1"], "b:1")
    assert leaders.get(["a:1", "b:1"]) is None


def test_memory_is_bounded_and_keeps_what_is_used() -> None:
    leaders = Leaders(limit=2)
    leaders.remember(["a:1"], "a:1")
    leaders.remember(["b:1"], "b:1")
    assert leaders.get(["a:1"]) == "a:1"
    leaders.remember(["c:1"], "c:1")
    assert leaders.get(["a:1"]) == "a:1"
    assert leaders.get(["b:1"]) is None
