from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.pipeline.graph import build_config
from etl_operator.api import EtlPipeline
from etl_operator.node.data.conditions import ConditionError, PlanError, compiled
from etl_operator.node.data.graph import DeadLetters, Kind, plan_of
from etl_operator.router.pb import router_pb2
from tests.node.data.made import SINK, SOURCE, TRANSFORM, config, line, record, stage


def condition(**fields: Any) -> router_pb2.Condition:
    return router_pb2.Condition(**fields)


def matching(key: str, pattern: str) -> router_pb2.Condition:
    return condition(metadata_match=router_pb2.MetadataMatch(key=key, pattern=pattern))


def edge(before: str, after: str, when: router_pb2.Condition | None = None) -> router_pb2.Edge:
    return router_pb2.Edge(from_stage=before, to_stage=after, condition=when)


def refusal(pipeline: router_pb2.PipelineConfig) -> str:
    with pytest.raises(PlanError) as caught:
        plan_of(pipeline)
    return str(caught.value)


def broken(**changes: Any) -> router_pb2.PipelineConfig:
    made = line(transforms=["t"])
    for name, change in changes.items():
        if name == "stage":
            made.stages.append(change)
        elif name == "edge":
            made.edges.append(change)
        else:
            change(made)
    return made


REFUSED = [
    (broken(edge=edge("t", "t")), "edges: stages form a cycle: t"),
    (broken(edge=edge("t", "none")), "edges[2].to_stage: stage 'none' not found"),
    (broken(edge=edge("none", "t")), "edges[2].from_stage: stage 'none' not found"),
    (broken(edge=edge("out", "t")), "edges[2].from_stage: stage 'out' is a sink"),
    (broken(edge=edge("t", "src")), "edges[2].to_stage: stage 'src' is a source"),
    (broken(edge=edge("src", "t")), "edges[2]: duplicate edge from 'src' to 't'"),
    (broken(stage=stage("t", SINK)), "stages[3].id: duplicate stage 't'"),
    (broken(stage=stage("", SINK)), "stages[3].id: is required"),
    (broken(stage=stage("x", SINK, service="")), "stages[3].service_selector: selects no service"),
    (broken(stage=stage("x", SINK, parallelism=257)), "stages[3].parallelism: 257"),
    (broken(stage=router_pb2.Stage(id="x")), "stages[3].stage_type"),
    (broken(edge=edge("src", "out", condition())), "edges[2].condition: is empty"),
    (
        broken(edge=edge("src", "out", matching("k", "(("))),
        "edges[2].condition.metadata_match.pattern: is not",
    ),
    (broken(edge=edge("src", "out", matching("k", r"(a)\1"))), "edges[2].condition.metadata_match.pattern"),
    (
        broken(edge=edge("src", "out", matching("", "a"))),
        "edges[2].condition.metadata_match.key: is required",
    ),
    (
        broken(edge=edge("src", "out", condition(expression="record.x"))),
        "edges[2].condition.expression: does",
    ),
    (broken(edge=edge("src", "out", condition(expression="1 + 1"))), "must evaluate to true or false (BOOL)"),
    (broken(edge=edge("src", "out", condition(expression=""))), "edges[2].condition.expression: is required"),
    (
        broken(edge=edge("src", "out", condition(**{"not": router_pb2.NotCondition(condition=condition())}))),
        "edges[2].condition.not.condition: is empty",
    ),
    (
        broken(
            edge=edge(
                "src",
                "out",
                condition(
                    **{"and": router_pb2.AndCondition(conditions=[condition(always=""), matching("k", "[")])}
                ),
            )
        ),
        "edges[2].condition.and.conditions[1].metadata_match.pattern",
    ),
    (config("p", [stage("out", SINK)], []), "stages: at least one stage of type SOURCE is required"),
    (router_pb2.PipelineConfig(id="p"), "stages: at least one stage of type SOURCE is required"),
    (line(dlq="lost", max_retries="many"), "metadata[\"etl.router/dlq.max-retries\"]: 'many' is not"),
    (line(dlq="lost", max_retries="1001"), 'metadata["etl.router/dlq.max-retries"]'),
    (line(enabled="yes"), 'metadata["etl.router/dlq.enabled"]'),
]


@pytest.mark.parametrize(("pipeline", "words"), REFUSED)
def test_what_cannot_run_is_refused_with_its_field(pipeline: router_pb2.PipelineConfig, words: str) -> None:
    assert refusal(pipeline).startswith(words) or words in refusal(pipeline)


def test_a_dead_letter_sink_needs_a_stage_without_edges() -> None:
    made = line(dlq="lost")
    made.metadata["etl.router/dlq.sink"] = "out"
    assert refusal(made).startswith('metadata["etl.router/dlq.sink"]: no SINK stage without edges')


def test_targets_of_rules_are_checked_and_count_for_cycles() -> None:
    made = line(transforms=["t"])
    rule = made.stages[1].routing_rules.add(target_stages=["out", "gone"])
    assert refusal(made) == "stages[1].routing_rules[0].target_stages[1]: stage 'gone' not found"
    rule.target_stages[1] = "t"
    assert refusal(made) == "edges: stages form a cycle: t"
    del rule.target_stages[:]
    assert refusal(made) == "stages[1].routing_rules[0].target_stages: is required"


def test_what_only_follows_a_cycle_is_not_named_as_part_of_it() -> None:
    stages = [stage("s", SOURCE), stage("a", TRANSFORM), stage("b", TRANSFORM), stage("out", SINK)]
    made = config("p", stages, [("s", "a"), ("a", "b"), ("b", "a"), ("b", "out")])
    assert refusal(made) == "edges: stages form a cycle: a, b"


def pipeline(**spec: Any) -> router_pb2.PipelineConfig:
    return build_config(
        EtlPipeline.model_validate(
            {
                "apiVersion": "etl.router/v1",
                "kind": "EtlPipeline",
                "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
                "spec": {"source": "a", "sink": "z", **spec},
            }
        )
    )


@pytest.mark.parametrize(
    ("spec", "letters"),
    [
        ({}, DeadLetters()),
        ({"steps": ["b", "c"], "dlq": {"enabled": False, "sink": "d"}}, DeadLetters()),
        ({"dlq": {"enabled": True}}, DeadLetters(kept=True)),
        ({"dlq": {"enabled": True, "sink": "d"}}, DeadLetters(kept=True, sink="p-dlq")),
        # The pipeline's own sink takes the dead letters as well.
        ({"dlq": {"enabled": True, "sink": "z"}}, DeadLetters(kept=True, sink="p-dlq")),
        (
            {"dlq": {"enabled": True, "maxRetries": 0, "retryBackoffMs": 5, "maxRetryBackoffMs": 10}},
            DeadLetters(kept=True, attempts=1, backoff=0.005, longest_backoff=0.01),
        ),
    ],
)
def test_what_the_operator_sends_is_a_plan(spec: dict[str, Any], letters: DeadLetters) -> None:
    plan = plan_of(pipeline(**spec))
    assert plan.dead_letters == letters
    assert [stage.kind for stage in plan.stages.values()].count(Kind.SOURCE) == 1
    assert next(iter(plan.stages)) == "p-source"


def test_all_edges_that_hold_and_the_first_rule_that_does() -> None:
    made = config(
        "p",
        [stage("s", SOURCE), *(stage(name, SINK) for name in "abc")],
        [edge("s", "a"), edge("s", "b", condition(record_type="b")), edge("s", "c", matching("k", "^v"))],
    )
    source = plan_of(made).stages["s"]
    assert source.targets(record(1)) == ("a",)
    assert source.targets(record(1, kind="b", k="value")) == ("a", "b", "c")
    assert source.targets(record(1, k="no v")) == ("a",)
    rules = made.stages[0].routing_rules
    rules.add(condition=condition(record_type="b"), target_stages=["c"], priority=1)
    rules.add(condition=condition(record_type="b"), target_stages=["b", "a", "b"], priority=2)
    rules.add(condition=condition(record_type="b"), target_stages=["a"], priority=2)
    source = plan_of(made).stages["s"]
    assert source.targets(record(1, kind="b")) == ("b", "a")
    assert source.targets(record(1, kind="x")) == ("a",)
    assert source.only_target is None
    assert plan_of(line()).stages["src"].only_target == "out"


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("record.record_type == 'a'", True),
        ("record.id.sequence_number > 3u", True),
        ("'k' in record.metadata && record.metadata['k'].startsWith('v')", True),
        ("size(record.payload) == 0", False),
        ("has(record.event_time)", False),
    ],
)
def test_expressions_see_the_record(expression: str, holds: bool) -> None:
    found = compiled(condition(expression=expression), "c")
    assert found(record(5, kind="a", k="v1")) is holds


def test_an_expression_without_a_value_for_a_record_is_an_error_not_a_no() -> None:
    found = compiled(condition(expression="record.metadata['k'] == 'v'"), "edges[0].condition")
    with pytest.raises(ConditionError, match=r"^edges\[0\].condition.expression: .*k"):
        found(record(1))


def test_a_pattern_that_stops_a_backtracking_engine_does_not_stop_this_one() -> None:
    found = compiled(matching("k", "(x+x+)+y"), "c")
    assert not found(record(1, k="x" * 20_000))


def test_config_of_a_transform_comes_from_the_metadata() -> None:
    made = line(transforms=["t"])
    made.metadata["etl.router/config.t.mode"] = "fast"
    made.metadata["etl.router/config.out.mode"] = "slow"
    assert plan_of(made).stages["t"].config == {"mode": "fast"}


def test_neither_engine_is_loaded_before_it_is_needed() -> None:
    program = (
        "import sys; from tests.node.data.made import line; from etl_operator.node.data.graph import plan_of;"
        "plan_of(line()); assert not {'re2', 'cel_expr_python'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


NAMES = ["s", "a", "b", "c", "d"]


@given(st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES[1:])), max_size=10))
def test_a_plan_is_acyclic_and_ordered_or_refused(ways: set[tuple[str, str]]) -> None:
    made = config("p", [stage("s", SOURCE), *(stage(name, TRANSFORM) for name in NAMES[1:])], sorted(ways))
    reach = {name: {b for a, b in ways if a == name} for name in NAMES}
    for _ in NAMES:
        reach = {name: found.union(*(reach[n] for n in found)) for name, found in reach.items()}
    cyclic = {name for name in NAMES if name in reach[name]}
    if cyclic:
        named = refusal(made).removeprefix("edges: stages form a cycle: ").split(", ")
        assert cyclic <= set(named)
    else:
        order = list(plan_of(made).stages)
        assert sorted(order) == sorted(NAMES)
        assert all(order.index(a) < order.index(b) for a, b in ways)
