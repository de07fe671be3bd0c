"""A ``PipelineConfig`` as a checked plan: stages, their targets, and what becomes of failed records. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from etl_operator.node.data.conditions import PlanError, Predicate, compiled
from etl_operator.router.pb import common_pb2, router_pb2

DLQ_PREFIX = "etl.router/dlq."
CONFIG_PREFIX = "etl.router/config."
"""Followed by a stage's id, a dot and a key: what a transform gets as ``transform_config``."""
MOST_STAGES = 256
MOST_LANES = 256
_MOST_RETRIES = 1000
_LONGEST_BACKOFF_MS = 86_400_000

_BALANCE = frozenset(router_pb2.LoadBalanceStrategy.values())


class Kind(Enum):
    """What a stage does."""

    SOURCE = "source"
    TRANSFORM = "transform"
    SINK = "sink"


_KINDS: Mapping[int, Kind] = {
    router_pb2.STAGE_TYPE_SOURCE: Kind.SOURCE,
    router_pb2.STAGE_TYPE_TRANSFORM: Kind.TRANSFORM,
    router_pb2.STAGE_TYPE_SINK: Kind.SINK,
}


@dataclass(frozen=True, slots=True)
class Selector:
    """Which services stand behind a stage: every criterion that is set must hold."""

    name: str
    group: str
    labels: Mapping[str, str]
    balance: int
    """A ``LoadBalanceStrategy``; unspecified is round robin."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A routing rule: the first that holds decides."""

    holds: Predicate
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Edge:
    """One way out; without a condition it is taken always."""

    target: str
    holds: Predicate | None


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage."""

    stage_id: str
    kind: Kind
    selector: Selector
    lanes: int
    """Ordered lanes, 1 or more."""
    rules: tuple[Rule, ...]
    edges: tuple[Edge, ...]
    config: Mapping[str, str]
    """``transform_config`` of its calls."""

    def targets(self, record: common_pb2.Record) -> tuple[str, ...]:
        """Stages that get a copy of ``record``, in order, each once; none if nothing holds.

        :raises ConditionError: a condition has no value for this record.
        """
        for rule in self.rules:
            if rule.holds(record):
                return rule.targets
        return tuple(edge.target for edge in self.edges if edge.holds is None or edge.holds(record))

    @property
    def only_target(self) -> str | None:
        """The stage that gets every record, whatever is in it; None if that depends on the record."""
        unconditional = not self.rules and len(self.edges) == 1 and self.edges[0].holds is None
        return self.edges[0].target if unconditional else None


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """What becomes of a record that failed."""

    kept: bool = False
    """False: the source gets REJECTED. True without a sink: the node keeps the record, within bounds."""
    sink: str | None = None
    """Id of the stage that takes dead letters."""
    attempts: int = 3
    """Failed calls before a record counts as failed; at least 1."""
    backoff: float = 0.1
    """Seconds before the second attempt; doubles with every one."""
    longest_backoff: float = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A pipeline that can run."""

    pipeline_id: str
    stages: Mapping[str, Stage]
    """By id, in an order in which every stage stands before its targets."""
    dead_letters: DeadLetters = field(default_factory=DeadLetters)

    @property
    def sources(self) -> Iterator[Stage]:
        """The stages where records come in."""
        return (stage for stage in self.stages.values() if stage.kind is Kind.SOURCE)


def plan_of(config: router_pb2.PipelineConfig) -> Plan:
    """The checked plan of a pipeline.

    :raises PlanError: the pipeline cannot run; names the field.
    """
    kinds = _checked_stages(config)
    edges = _edges(config, kinds)
    stages = {
        stage.id: _stage(i, stage, kinds, edges[stage.id], config) for i, stage in enumerate(config.stages)
    }
    if Kind.SOURCE not in kinds.values():
        raise PlanError("stages", "at least one stage of type SOURCE is required")
    letters = _dead_letters(config, stages)
    return Plan(config.id, _ordered(stages), letters)


def refusal(config: router_pb2.PipelineConfig) -> str:
    """Field and problem of a pipeline that cannot run; empty if it can."""
    try:
        plan_of(config)
    except PlanError as error:
        return str(error)
    return ""


def _checked_stages(config: router_pb2.PipelineConfig) -> dict[str, Kind]:
    if len(config.stages) > MOST_STAGES:
        raise PlanError("stages", f"{len(config.stages)} stages; the maximum is {MOST_STAGES}")
    kinds: dict[str, Kind] = {}
    for i, stage in enumerate(config.stages):
        where = f"stages[{i}]"
        if not stage.id:
            raise PlanError(f"{where}.id", "is required")
        if stage.id in kinds:
            raise PlanError(f"{where}.id", f"duplicate stage {stage.id!r}")
        if stage.stage_type not in _KINDS:
            raise PlanError(f"{where}.stage_type", "must be SOURCE, TRANSFORM or SINK")
        selector = stage.service_selector
        if not (selector.service_name or selector.group_id or selector.labels):
            raise PlanError(
                f"{where}.service_selector", "selects no service; set service_name, group_id or labels"
            )
        if selector.load_balance not in _BALANCE:
            raise PlanError(
                f"{where}.service_selector.load_balance", f"{selector.load_balance} is not a known strategy"
            )
        if stage.parallelism > MOST_LANES:
            raise PlanError(
                f"{where}.parallelism", f"{stage.parallelism} is greater than the maximum {MOST_LANES}"
            )
        kinds[stage.id] = _KINDS[stage.stage_type]
    return kinds


def _edges(config: router_pb2.PipelineConfig, kinds: Mapping[str, Kind]) -> dict[str, list[Edge]]:
    found: dict[str, list[Edge]] = {stage_id: [] for stage_id in kinds}
    for i, edge in enumerate(config.edges):
        where = f"edges[{i}]"
        if edge.from_stage not in kinds:
            raise PlanError(f"{where}.from_stage", f"stage {edge.from_stage!r} not found")
        if kinds[edge.from_stage] is Kind.SINK:
            raise PlanError(
                f"{where}.from_stage", f"stage {edge.from_stage!r} is a sink; a sink has no outgoing edges"
            )
        _check_target(edge.to_stage, f"{where}.to_stage", kinds)
        if any(other.target == edge.to_stage for other in found[edge.from_stage]):
            raise PlanError(where, f"duplicate edge from {edge.from_stage!r} to {edge.to_stage!r}")
        condition = compiled(edge.condition, f"{where}.condition") if edge.HasField("condition") else None
        found[edge.from_stage].append(Edge(edge.to_stage, condition))
    return found


def _check_target(target: str, where: str, kinds: Mapping[str, Kind]) -> None:
    if target not in kinds:
        raise PlanError(where, f"stage {target!r} not found")
    if kinds[target] is Kind.SOURCE:
        raise PlanError(where, f"stage {target!r} is a source; a source has no incoming edges")


def _stage(
    number: int,
    stage: router_pb2.Stage,
    kinds: Mapping[str, Kind],
    edges: list[Edge],
    config: router_pb2.PipelineConfig,
) -> Stage:
    prefix = f"{CONFIG_PREFIX}{stage.id}."
    selector = stage.service_selector
    return Stage(
        stage.id,
        kinds[stage.id],
        Selector(selector.service_name, selector.group_id, dict(selector.labels), int(selector.load_balance)),
        max(stage.parallelism, 1),
        _rules(number, stage, kinds),
        tuple(edges),
        {k.removeprefix(prefix): v for k, v in config.metadata.items() if k.startswith(prefix)},
    )


def _rules(number: int, stage: router_pb2.Stage, kinds: Mapping[str, Kind]) -> tuple[Rule, ...]:
    where = f"stages[{number}].routing_rules"
    if stage.routing_rules and kinds[stage.id] is Kind.SINK:
        raise PlanError(where, f"stage {stage.id!r} is a sink; a sink has no routing rules")
    found: list[tuple[int, Rule]] = []
    for i, rule in enumerate(stage.routing_rules):
        for j, target in enumerate(rule.target_stages):
            _check_target(target, f"{where}[{i}].target_stages[{j}]", kinds)
        if not rule.target_stages:
            raise PlanError(f"{where}[{i}].target_stages", "is required")
        condition = rule.condition if rule.HasField("condition") else router_pb2.Condition(always="")
        targets = tuple(dict.fromkeys(rule.target_stages))
        found.append((rule.priority, Rule(compiled(condition, f"{where}[{i}].condition"), targets)))
    # Ties stay in the order they are listed in.
    return tuple(rule for _, rule in sorted(found, key=lambda pair: -pair[0]))


def _ways(stage: Stage) -> set[str]:
    return {edge.target for edge in stage.edges}.union(*(rule.targets for rule in stage.rules))


def _ordered(stages: Mapping[str, Stage]) -> dict[str, Stage]:
    """Topological order; ties as listed."""
    entering = dict.fromkeys(stages, 0)
    for stage in stages.values():
        for target in _ways(stage):
            entering[target] += 1
    free = [stage_id for stage_id, count in entering.items() if not count]
    done: dict[str, Stage] = {}
    while free:
        stage_id = free.pop(0)
        done[stage_id] = stages[stage_id]
        for target in sorted(_ways(stages[stage_id])):
            entering[target] -= 1
            if not entering[target]:
                free.append(target)
    if len(done) < len(stages):
        left = ", ".join(sorted(_cycle(stages, done)))
        raise PlanError("edges", f"stages form a cycle: {left}")
    return done


def _cycle(stages: Mapping[str, Stage], done: Mapping[str, Stage]) -> set[str]:
    """Stages on a cycle: what is left after those are taken away, too, that only a cycle leads to."""
    left = {
        stage_id: _ways(stage) - done.keys() for stage_id, stage in stages.items() if stage_id not in done
    }
    while True:
        ends = [stage_id for stage_id, targets in left.items() if not targets & left.keys()]
        if not ends:
            return set(left)
        for stage_id in ends:
            del left[stage_id]


def _dead_letters(config: router_pb2.PipelineConfig, stages: Mapping[str, Stage]) -> DeadLetters:
    metadata = config.metadata
    kept = metadata.get(f"{DLQ_PREFIX}enabled", "false")
    if kept not in ("true", "false"):
        raise PlanError(_key("enabled"), f"{kept!r} is not true or false")
    if kept == "false":
        return DeadLetters()
    backoff = _number(config, "retry-backoff-ms", 100, 0, _LONGEST_BACKOFF_MS)
    longest = _number(config, "max-retry-backoff-ms", 30_000, 0, _LONGEST_BACKOFF_MS)
    return DeadLetters(
        kept=True,
        sink=_dead_letter_stage(config, stages),
        attempts=max(_number(config, "max-retries", 3, 0, _MOST_RETRIES), 1),
        backoff=backoff / 1000,
        longest_backoff=max(backoff, longest) / 1000,
    )


def _dead_letter_stage(config: router_pb2.PipelineConfig, stages: Mapping[str, Stage]) -> str | None:
    """The metadata names the service of the sink; the stage is the one without edges that selects it."""
    service = config.metadata.get(f"{DLQ_PREFIX}sink")
    if not service:
        return None
    entered = set().union(*(_ways(stage) for stage in stages.values())) if stages else set()
    found = [
        stage.stage_id
        for stage in stages.values()
        if stage.kind is Kind.SINK and stage.selector.name == service and stage.stage_id not in entered
    ]
    if not found:
        raise PlanError(_key("sink"), f"no SINK stage without edges selects the service {service!r}")
    # The operator's own comes last.
    return found[-1]


def _number(config: router_pb2.PipelineConfig, name: str, default: int, least: int, most: int) -> int:
    text = config.metadata.get(f"{DLQ_PREFIX}{name}")
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
        raise PlanError(_key(name), f"{text!r} is not an integer from {least} to {most}")
    return int(text)


def _key(name: str) -> str:
    return f'metadata["{DLQ_PREFIX}{name}"]'
