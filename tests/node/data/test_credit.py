from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from etl_operator.node.data.credit import Amount, Budget, Level, Limits, Priority, level_of

LIMITS = Limits(Amount(100, 1000), Amount(60, 600), Amount(50, 800))
SOURCES = st.sampled_from(["s1", "s2", "s3"])
PIPELINES = st.sets(st.sampled_from(["p1", "p2"]), min_size=1)
AMOUNTS = st.builds(Amount, st.integers(1, 70), st.integers(1, 1200))


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.budget = Budget(LIMITS, lambda: self.now)
        self.taken: list[tuple[str, set[str], Amount]] = []

    @rule(source=SOURCES, pipelines=PIPELINES, amount=AMOUNTS)
    def arrive(self, source: str, pipelines: set[str], amount: Amount) -> None:
        admitted = self.budget.admits(source, pipelines, amount)
        if not any(other == source for other, _, _ in self.taken):
            assert admitted  # Whatever else is under way.
        if admitted:
            self.budget.take(source, pipelines, amount)
            self.taken.append((source, pipelines, amount))

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def decide(self, data: st.DataObject) -> None:
        self.budget.give_back(*self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1))))

    @rule(source=SOURCES, pipelines=PIPELINES, wanted=st.integers(0, 200), priority=st.sampled_from(Priority))
    def ask(self, source: str, pipelines: set[str], wanted: int, priority: Priority) -> None:
        grant = self.budget.grant(source, pipelines, wanted, priority)
        assert 0 <= grant.credits <= wanted
        assert grant.available >= 0
        if grant.credits:
            assert grant.credits + self.budget.used.records <= LIMITS.total.records

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def grants_stay_within_the_budget(self) -> None:
        assert self.budget.granted() <= LIMITS.total.records

    @invariant()
    def counts_what_is_under_way(self) -> None:
        assert self.budget.used == Amount(
            sum(amount.records for _, _, amount in self.taken),
            sum(amount.size for _, _, amount in self.taken),
        )

    @invariant()
    def each_source_exceeds_its_budget_by_one_batch_at_most(self) -> None:
        for source in ("s1", "s2", "s3"):
            own = [amount for other, _, amount in self.taken if other == source]
            if len(own) > 1:
                assert sum(amount.records for amount in own) <= LIMITS.source.records


TestLife = Life.TestCase


def test_levels_of_the_fuller_of_records_and_bytes() -> None:
    assert [level_of(share) for share in (0.59, 0.6, 0.7, 0.8, 0.95, 2)] == [
        Level.NONE,
        Level.LOW,
        Level.MEDIUM,
        Level.HIGH,
        Level.CRITICAL,
        Level.CRITICAL,
    ]
    budget = Budget(LIMITS, lambda: 0.0)
    budget.take("s1", ["p1"], Amount(1, 480))
    assert budget.level("s1", ["p1"]) is Level.HIGH
    assert budget.level("s2", ["p2"]) is Level.NONE


def test_an_important_request_gets_what_others_leave() -> None:
    budget = Budget(LIMITS, lambda: 0.0)
    assert budget.grant("s1", [], 1000) == (48, 0)
    assert budget.grant("s1", [], 1000, Priority.HIGH) == (54, 0)
    assert budget.grant("s1", [], 30, Priority.CRITICAL) == (30, 30)
    assert budget.grant("s2", ["p1"], 1000, Priority.CRITICAL) == (50, 0)
    assert budget.grant("s3", [], 1000, Priority.NORMAL) == (0, 0)


def test_records_that_arrive_use_the_grant_up() -> None:
    budget = Budget(LIMITS, lambda: 0.0)
    budget.grant("s1", [], 40)
    budget.take("s1", ["p1"], Amount(30, 1))
    assert budget.granted() == 10
    budget.take("s1", ["p1"], Amount(30, 1))
    assert budget.granted() == 0
