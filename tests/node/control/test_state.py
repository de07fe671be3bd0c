from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from etl_operator.node.control import state
from etl_operator.node.control.state import (
    Create,
    Delete,
    NameCluster,
    Outcome,
    RouterState,
    SetEnabled,
    Update,
)

IDS = st.sampled_from(["a/one", "a/two", "b/one"])
CONFIGS = st.binary(max_size=4)
TIMES = st.floats(0, 2e9, allow_nan=False)


class PipelineLife(RuleBasedStateMachine):
    """Two copies of the state, one of which travels through snapshots, against a plain model."""

    def __init__(self) -> None:
        super().__init__()
        self.state = RouterState()
        self.copy = RouterState()
        self.model: dict[str, tuple[bytes, bool, int]] = {}

    def both(self, command: state.Command) -> Outcome:
        outcome = self.state.apply(state.encode(command))
        assert self.copy.apply(state.encode(command)) == outcome
        return outcome

    @rule(pipeline=IDS, config=CONFIGS, now=TIMES)
    def create(self, pipeline: str, config: bytes, now: float) -> None:
        known = pipeline in self.model
        assert self.both(Create(pipeline, config, now)) == Outcome(known, 1)
        self.model[pipeline] = (config, False, 1)

    @rule(pipeline=IDS, config=CONFIGS, now=TIMES)
    def update(self, pipeline: str, config: bytes, now: float) -> None:
        outcome = self.both(Update(pipeline, config, now))
        if pipeline in self.model:
            _, enabled, version = self.model[pipeline]
            self.model[pipeline] = (config, enabled, version + 1)
            assert outcome == Outcome(True, version + 1)
        else:
            assert outcome == Outcome(False, 0)

    @rule(pipeline=IDS, enabled=st.booleans(), now=TIMES)
    def set_enabled(self, pipeline: str, enabled: bool, now: float) -> None:
        outcome = self.both(SetEnabled(pipeline, enabled, now))
        assert outcome.found is (pipeline in self.model)
        if pipeline in self.model:
            config, _, version = self.model[pipeline]
            self.model[pipeline] = (config, enabled, version)

    @rule(pipeline=IDS)
    def delete(self, pipeline: str) -> None:
        known = self.model.pop(pipeline, None) is not None
        assert self.both(Delete(pipeline)) == Outcome(known, 0)

    @rule(name=st.text(min_size=1, max_size=3))
    def name_cluster(self, name: str) -> None:
        before = self.state.cluster_id
        self.both(NameCluster(name))
        assert self.state.cluster_id == (before or name)

    @rule(garbage=st.binary(max_size=8))
    def unknown_command(self, garbage: bytes) -> None:
        before = self.state.snapshot()
        self.state.apply(b"\xc1" + garbage)
        assert self.state.snapshot() == before

    @rule()
    def travel(self) -> None:
        arrived = RouterState()
        arrived.run(Create("to/be/replaced", b"", 0))
        arrived.restore(self.copy.snapshot())
        self.copy = arrived

    @invariant()
    def agrees_with_the_model(self) -> None:
        for copy in (self.state, self.copy):
            assert {p.pipeline_id: (p.config, p.enabled, p.version) for p in copy} == self.model
            assert [p.pipeline_id for p in copy] == sorted(self.model)
        assert self.state.snapshot() == self.copy.snapshot()


TestPipelineLife = PipelineLife.TestCase
TestPipelineLife.settings = settings(max_examples=40, stateful_step_count=25)


def test_times_come_from_the_command() -> None:
    pipelines = RouterState()
    pipelines.run(Create("p", b"", 10.0))
    pipelines.run(SetEnabled("p", True, 20.0))
    pipelines.run(SetEnabled("p", True, 30.0))  # No change, no new time.
    found = pipelines.get("p")
    assert found is not None
    assert (found.created_at, found.updated_at) == (10.0, 20.0)


def test_a_command_that_cannot_be_read_changes_nothing() -> None:
    pipelines = RouterState()
    damaged = state.encode(Create("name", b"", 10.0)).replace(b"name", b"n\xff\xffe")
    assert pipelines.apply(damaged) == Outcome(found=False)
    assert pipelines.apply(b"") == Outcome(found=False)
    assert len(pipelines) == 0
