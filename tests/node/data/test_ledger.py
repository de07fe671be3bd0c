from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from etl_operator.node.data.ledger import Cohort, Ledger, Tally, Ticket, Verdict
from etl_operator.node.data.ranges import Ranges


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30))), st.integers(0, 31))
def test_ranges_are_a_set(steps: list[tuple[bool, int]], bound: int) -> None:
    ranges, model = Ranges(), set[int]()
    for adds, number in steps:
        if adds:
            ranges.add(number)
            model.add(number)
        else:
            ranges.discard(number)
            model.discard(number)
    assert {n for first, last in ranges for n in range(first, last + 1)} == model
    assert all(last + 1 < first for (_, last), (first, _) in zip(ranges, list(ranges)[1:], strict=False))
    assert ranges.below(bound) == max((n for n in model if n < bound), default=None)
    assert bool(ranges) is bool(model)
    assert [n in ranges for n in range(32)] == [n in model for n in range(32)]
    if model:
        assert (ranges.lowest, ranges.highest) == (min(model), max(model))


def test_bounded_ranges_forget_the_lowest() -> None:
    ranges = Ranges(most=2)
    for number in (9, 5, 7, 3):
        ranges.add(number)
    assert list(ranges) == [(7, 7), (9, 9)]


@given(st.sets(st.integers(0, 30)), st.integers(-1, 31))
def test_ranges_lose_all_up_to_a_number(numbers: set[int], bound: int) -> None:
    ranges = Ranges()
    for number in numbers:
        ranges.add(number)
    ranges.discard_to(bound)
    assert {n for first, last in ranges for n in range(first, last + 1)} == {n for n in numbers if n > bound}


POSITIONS = st.lists(st.integers(0, 8), min_size=1, max_size=5)


class OnePartition(RuleBasedStateMachine):
    """A ledger against a model that remembers every position."""

    def __init__(self) -> None:
        super().__init__()
        self.flying: dict[int, tuple[Tally, int, Verdict]] = {}
        self.loose: list[Tally] = []
        self.settled: list[Tally] = []
        self.ledger = Ledger(self.settled.append)
        self.delivered: set[int] = set()
        self.rejected: set[int] = set()
        self.lost: set[int] = set()
        self.waiting: dict[Ticket, list[int]] = {}
        self.answered: list[Ticket] = []
        self.committed = 0
        self.highest = 0
        self.cohorts: list[Cohort] = []
        self.ended: list[Cohort] = []

    @property
    def open_positions(self) -> set[int]:
        return {p for one in self.cohorts for p in range(one.first, one.last + 1)} | self.flying.keys()

    @precondition(lambda self: self.highest < 40)
    @rule(gap=st.integers(-1, 2), count=st.integers(1, 4))
    def arrive_together(self, gap: int, count: int) -> None:
        ticket = Ticket(count, 1, self.answered.append)
        first = max(self.highest + gap, 1)
        cohort = self.ledger.admit_all(first, ticket, count, self.ended.append)
        assert (cohort is None) is (first <= self.highest)
        if cohort is not None:
            self.highest = cohort.last
            self.cohorts.append(cohort)
            self.waiting[ticket] = list(range(first, first + count))

    @precondition(lambda self: self.cohorts)
    @rule(data=st.data())
    def finish_together(self, data: st.DataObject) -> None:
        cohort = data.draw(st.sampled_from(self.cohorts))
        self.cohorts.remove(cohort)
        self.delivered.update(range(cohort.first, cohort.last + 1))
        cohort.finish()
        cohort.finish()

    @precondition(lambda self: self.cohorts)
    @rule(data=st.data())
    def part(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.cohorts)).tallies()
        self._note_parted()

    def _note_parted(self) -> None:
        for cohort in [one for one in self.cohorts if not one.is_whole]:
            self.cohorts.remove(cohort)
            for tally in cohort.tallies():
                self.flying[tally.position] = (tally, 1, Verdict.ACCEPTED)

    @rule(positions=POSITIONS)
    def arrive(self, positions: list[int]) -> None:
        ticket = Ticket(len(positions), 1, self.answered.append)
        self.waiting[ticket] = positions
        for number, position in enumerate(positions):
            known = position and (position in self.open_positions or position in self.delivered)
            tally = self.ledger.admit(position, ticket, number)
            self.highest = max(self.highest, position)
            self._note_parted()
            assert (tally is None) is bool(known)
            if tally is None:
                if position not in self.flying:
                    assert ticket.verdicts[number] is Verdict.DUPLICATE
            elif position:
                self.flying[position] = (tally, 1, Verdict.ACCEPTED)
                self.lost.discard(position)
                self.rejected.discard(position)
            else:
                self.loose.append(tally)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), copies=st.integers(1, 3))
    def split(self, data: st.DataObject, copies: int) -> None:
        position = data.draw(st.sampled_from(sorted(self.flying)))
        tally, left, worst = self.flying[position]
        tally.more(copies)
        self.flying[position] = (tally, left + copies, worst)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), verdict=st.sampled_from([Verdict.ACCEPTED, Verdict.REJECTED]))
    def finish(self, data: st.DataObject, verdict: Verdict) -> None:
        position = data.draw(st.sampled_from(sorted(self.flying)))
        tally, left, worst = self.flying.pop(position)
        worst = max(worst, verdict)
        tally.finish(verdict, "no" if verdict is Verdict.REJECTED else "")
        assert tally.open is (left > 1)
        if left > 1:
            self.flying[position] = (tally, left - 1, worst)
        elif worst is Verdict.ACCEPTED:
            self.delivered.add(position)
        else:
            self.delivered.discard(position)
            self.rejected.add(position)

    @precondition(lambda self: self.loose)
    @rule()
    def finish_one_without_a_position(self) -> None:
        self.loose.pop().finish()

    @precondition(lambda self: self.flying)
    @rule()
    def let_go(self) -> None:
        for position, (tally, _, _) in self.flying.items():
            tally.let_go()
            tally.finish()
            self.lost.add(position)
            self.delivered.discard(position)
        self.flying.clear()

    @rule(position=st.integers(0, 40))
    def passed_elsewhere(self, position: int) -> None:
        filled = {one for one in self.lost if one <= position}
        assert self.ledger.passed_elsewhere(position) is bool(filled)
        self.lost -= filled

    @invariant()
    def commits_what_has_no_gap_before_it(self) -> None:
        decided = self.delivered | self.rejected
        bound = min(self.open_positions | self.lost, default=100)
        self.committed = max(self.committed, max((p for p in decided if p < bound), default=0))
        assert self.ledger.committed == self.committed
        assert self.ledger.hole == min(self.lost, default=0)

    @invariant()
    def counts_what_is_open(self) -> None:
        assert self.ledger.open == len(self.open_positions) + len(self.loose)
        assert len(set(map(id, self.ended))) == len(self.ended)
        assert not any(cohort in self.ended for cohort in self.cohorts)
        for position in range(self.highest + 2):
            clear = not self.loose and not any(p <= position for p in self.open_positions | self.lost)
            assert self.ledger.is_clear(position) is clear
        assert not any(tally.open for tally in self.settled)
        assert len(set(map(id, self.settled))) == len(self.settled)

    @invariant()
    def answers_a_batch_once_and_only_when_all_of_it_is_decided(self) -> None:
        assert len(set(map(id, self.answered))) == len(self.answered)
        for ticket, positions in self.waiting.items():
            under_way = any(p in self.open_positions for p in positions) or (
                0 in positions and any(self._waits(tally, ticket) for tally in self.loose)
            )
            assert not (ticket in self.answered and any(self._holds(p, ticket) for p in positions))
            if not under_way:
                assert ticket in self.answered

    def _holds(self, position: int, ticket: Ticket) -> bool:
        return position in self.flying and self._waits(self.flying[position][0], ticket)

    @staticmethod
    def _waits(tally: Tally, ticket: Ticket) -> bool:
        return any(waiter is ticket for waiter, _ in tally._waiters)


TestOnePartition = OnePartition.TestCase


def test_the_worst_verdict_of_several_pipelines_holds() -> None:
    answered: list[Ticket] = []
    ticket = Ticket(3, 2, answered.append)
    ticket.settle(0, Verdict.DUPLICATE)
    ticket.settle(0, Verdict.ACCEPTED)
    ticket.settle(1, Verdict.ACCEPTED)
    ticket.settle(1, Verdict.REJECTED, "spent")
    ticket.settle(2, Verdict.DUPLICATE)
    assert not answered
    ticket.settle(2, Verdict.DUPLICATE)
    assert answered == [ticket]
    assert ticket.verdicts == [Verdict.ACCEPTED, Verdict.REJECTED, Verdict.DUPLICATE]
    assert ticket.errors == {1: "spent"}
    assert not ticket.is_let_go


def test_a_rejected_record_that_comes_again_is_processed_again() -> None:
    ledger = Ledger(lambda tally: None)
    first = ledger.admit(1, Ticket(1, 1, lambda t: None), 0)
    assert first is not None
    first.finish(Verdict.REJECTED, "no")
    assert ledger.committed == 1
    assert ledger.admit(1, Ticket(1, 1, lambda t: None), 0) is not None
