"""The state while a backup is restored: nothing changes before the last step, and then everything does."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_operator.node.control import state
from etl_operator.node.control.checkpoints import GroupRow, Saved, SourceRow
from etl_operator.node.control.restoring import BeginRestore, DropRestore, FinishRestore, RestorePart
from etl_operator.node.control.state import (
    CommitOffsets,
    Create,
    RaiseWatermarks,
    RouterState,
    SaveCheckpoint,
    SetEnabled,
)


def filled() -> RouterState:
    """A state with something of everything."""
    made = RouterState()
    made.run(state.NameCluster("old"))
    for number in range(3):
        made.run(Create(f"ns/p{number}", bytes([number]), 5.0))
    made.run(SetEnabled("ns/p1", True, 6.0))
    made.run(CommitOffsets([GroupRow("ns/p1", "s", 0, 7, 8, 9)], [SourceRow("s", 1, 3)]))
    made.run(RaiseWatermarks([SourceRow("s", 0, 4)]))
    made.run(SaveCheckpoint(Saved("ns/t", "c", b"data", [("s", 0, 1)], 1.0)))
    return made


def commands(content: bytes, *, overwrite: bool = False, part: int = 7) -> list[state.Command]:
    """A restore of this content."""
    digest = hashlib.sha256(content).digest()
    parts = [RestorePart("r", at, content[at : at + part]) for at in range(0, len(content), part)]
    return [BeginRestore("r", len(content), digest), *parts, FinishRestore("r", overwrite)]


def problems(into: RouterState, given: list[state.Command]) -> list[str]:
    """Run them as the log does; what was refused."""
    outcomes = [into.apply(state.encode(command)) for command in given]
    return [outcome.problem for outcome in outcomes if outcome.problem]


def test_everything_returns_but_the_id_of_the_cluster() -> None:
    source, target = filled(), RouterState()
    target.run(state.NameCluster("new"))
    changes: list[int] = []
    target.on_change = lambda: changes.append(len(target))
    assert problems(target, commands(source.content())) == []
    assert target.content() == source.content()
    assert target.cluster_id == "new"
    assert changes == [3]


def test_a_state_that_is_not_empty_is_kept_unless_it_may_be_replaced() -> None:
    source, target = filled(), RouterState()
    target.run(RaiseWatermarks([SourceRow("other", 0, 1)]))
    before = target.content()
    assert problems(target, commands(source.content())) == ["the cluster is not empty"]
    assert target.content() == before
    assert problems(target, [DropRestore("r"), *commands(source.content(), overwrite=True)]) == []
    assert target.content() == source.content()


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32), part=st.integers(1, 200), again=st.integers(1, 3))
def test_repeated_commands_and_snapshots_in_between_change_nothing(seed: int, part: int, again: int) -> None:
    chance = random.Random(seed)
    source, target = filled(), RouterState()
    given = commands(source.content(), part=part)
    for number, command in enumerate(given):
        for _ in range(chance.randint(1, again)):
            assert target.apply(state.encode(command)).problem == ""
        # An answer that got lost: all of it comes again.
        for earlier in chance.sample(given[: number + 1], min(2, number + 1)):
            assert target.apply(state.encode(earlier)).problem == ""
        if number < len(given) - 1:
            assert target.is_empty
        if chance.random() < 0.3:
            copy = RouterState()
            copy.restore(target.snapshot())
            target = copy
    assert target.content() == source.content()


@pytest.mark.parametrize("damage", ["part missing", "part changed", "wrong order", "too much", "no state"])
def test_what_is_not_whole_is_refused(damage: str) -> None:
    source, target = filled(), RouterState()
    given = commands(source.content())
    match damage:
        case "part missing":
            del given[-2]
        case "part changed":
            given[2] = RestorePart("r", 7, b"changed")
        case "wrong order":
            given[1], given[2] = given[2], given[1]
        case "too much":
            given.insert(-1, RestorePart("r", len(source.content()), b"more"))
        case "no state":
            given = commands(b"\xc1 no state")
    found = problems(target, given)
    assert found
    if damage != "too much":
        assert target.is_empty


def test_a_second_restore_takes_the_place_of_the_first() -> None:
    source, target = filled(), RouterState()
    first = commands(source.content())
    second = BeginRestore("other", 1, hashlib.sha256(b"x").digest())
    assert problems(target, [*first[:3], second, *first[3:]])[-1] == "another restore has begun"
    assert target.is_empty
    # What the first one leaves is not the second's.
    assert problems(target, [DropRestore("r"), RestorePart("other", 0, b"x")]) == []
    target.run(DropRestore("other"))
    assert target.snapshot() == RouterState().snapshot()
