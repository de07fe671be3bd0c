from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from etl_operator.node.control import state
from etl_operator.node.control.checkpoints import GroupRow, Position, Saved, SourceRow, global_watermark
from etl_operator.node.control.state import (
    CommitOffsets,
    Create,
    Delete,
    RaiseWatermarks,
    RouterState,
    SaveCheckpoint,
    SetEnabled,
)

GROUPS = st.sampled_from(["p1", "p2", "else"])
SOURCES = st.sampled_from(["s1", "s2"])
PARTITIONS = st.integers(0, 1)
VALUES = st.integers(0, 20)


class Moving(RuleBasedStateMachine):
    """Two copies, one of which travels through snapshots, against plain dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.copy = RouterState(), RouterState()
        self.groups: dict[str, dict[Any, int]] = {}
        self.sources: dict[Any, int] = {}
        self.marks: dict[Any, int] = {}
        self.enabled: set[str] = set()

    def both(self, command: state.Command) -> state.Outcome:
        outcome = self.state.apply(state.encode(command))
        assert self.copy.apply(state.encode(command)) == outcome
        return outcome

    @rule(group=st.sampled_from(["p1", "p2"]), enabled=st.booleans())
    def run(self, group: str, enabled: bool) -> None:
        self.both(Create(group, b"", 0.0))
        self.both(SetEnabled(group, enabled, 0.0))
        (self.enabled.add if enabled else self.enabled.discard)(group)

    @rule(group=GROUPS)
    def delete(self, group: str) -> None:
        self.both(Delete(group))
        self.groups.pop(group, None)
        self.enabled.discard(group)

    @rule(group=GROUPS, source=SOURCES, partition=PARTITIONS, value=VALUES)
    def commit(self, group: str, source: str, partition: int, value: int) -> None:
        self.both(CommitOffsets([GroupRow(group, source, partition, value)], []))
        key = (source, partition)
        own = self.groups.setdefault(group, {})
        own[key] = max(own.get(key, 0), value)
        found = [
            positions[key]
            for name, positions in self.groups.items()
            if key in positions and name in self.enabled
        ]
        if found:
            self.sources[key] = max(self.sources.get(key, 0), min(found))

    @rule(source=SOURCES, partition=PARTITIONS, value=VALUES)
    def commit_source(self, source: str, partition: int, value: int) -> None:
        self.both(CommitOffsets([], [SourceRow(source, partition, value)]))
        key = (source, partition)
        self.sources[key] = max(self.sources.get(key, 0), value)

    @rule(source=SOURCES, partition=PARTITIONS, value=VALUES)
    def mark(self, source: str, partition: int, value: int) -> None:
        key = (source, partition)
        rises = value > self.marks.get(key, -1)
        assert self.both(RaiseWatermarks([SourceRow(source, partition, value)])).changed is rises
        self.marks[key] = max(self.marks.get(key, -1), value)

    @rule(service=SOURCES, data=st.binary(max_size=3))
    def save(self, service: str, data: bytes) -> None:
        self.both(SaveCheckpoint(Saved(service, "c", data, [("s1", 0, 3)], 1.5)))
        assert self.state.checkpoints.saved[service].data == data

    @rule()
    def travel(self) -> None:
        arrived = RouterState()
        assert arrived.valid(self.copy.snapshot())
        arrived.restore(self.copy.snapshot())
        self.copy = arrived

    @invariant()
    def equal(self) -> None:
        assert self.state.snapshot() == self.copy.snapshot()
        checkpoints = self.copy.checkpoints
        assert {k: p.value for k, p in checkpoints.sources.items()} == self.sources
        assert {k: p.value for k, p in checkpoints.watermarks.items()} == self.marks
        found = {g: {k: p.value for k, p in rows.items()} for g, rows in checkpoints.groups.items()}
        assert found == self.groups


TestMoving = Moving.TestCase
TestMoving.settings = settings(max_examples=40)


def test_a_snapshot_of_an_earlier_version_is_taken() -> None:
    old = msgspec.msgpack.encode(["cluster", [["ns/p", b"config", True, 3, 1.0, 2.0]]])
    found = RouterState()
    assert found.valid(old)
    found.restore(old)
    pipeline = found.get("ns/p")
    assert pipeline is not None
    assert (found.cluster_id, pipeline.version, pipeline.drain) == ("cluster", 3, True)
    assert found.checkpoints.rows == 0


def test_a_command_of_an_earlier_version_is_applied() -> None:
    found = RouterState()
    found.apply(state.encode(Create("ns/p", b"", 1.0)))
    assert found.apply(msgspec.msgpack.encode(["enable", "ns/p", True, 2.0])).found
    pipeline = found.get("ns/p")
    assert pipeline is not None
    assert (pipeline.enabled, pipeline.drain) == (True, True)


def test_how_a_pipeline_is_disabled_is_kept_without_a_new_time() -> None:
    found = RouterState()
    for command in (
        Create("p", b"", 1.0),
        SetEnabled("p", True, 2.0),
        SetEnabled("p", False, 3.0, drain=True),
        SetEnabled("p", False, 4.0, drain=False),
    ):
        found.apply(state.encode(command))
    pipeline = found.get("p")
    assert pipeline is not None
    assert (pipeline.enabled, pipeline.drain, pipeline.updated_at) == (False, False, 3.0)


@given(st.lists(st.tuples(st.tuples(SOURCES, PARTITIONS), st.builds(Position, VALUES, VALUES))))
def test_the_global_watermark_is_the_earliest(rows: list[tuple[tuple[str, int], Position]]) -> None:
    lowest = global_watermark(rows)
    if lowest is None:
        assert not rows
    else:
        assert lowest[1].seconds == min(position.seconds for _, position in rows)
