"""The resend state machine: nothing is lost, nothing is sent twice without a reason, order is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_operator.router.pb.common_pb2 import Record, RecordId
from etl_operator.router.pb.source_pb2 import BackpressureSignal, BatchAck, CreditGrant, RecordAck
from etl_operator.services.outstanding import Outstanding, split

ACCEPTED, DUPLICATE, REJECTED = 1, 2, 3


def records(*numbers: int, partition: int = 0) -> list[Record]:
    return [Record(id=RecordId(source_id="s", partition=partition, sequence_number=n)) for n in numbers]


def acknowledged(batch_id: str, numbers: Sequence[int], status: int = ACCEPTED) -> BatchAck:
    acks = [
        RecordAck(record_id=RecordId(source_id="s", sequence_number=n), status=status)  # type: ignore[arg-type]
        for n in numbers
    ]
    return BatchAck(batch_id=batch_id, record_acks=acks)


def sent(outstanding: Outstanding, now: float = 0) -> list[str]:
    """Everything that is to be sent now."""
    batches = []
    while (batch := outstanding.next(now)) is not None:
        batches.append(batch.batch_id)
    return batches


def test_what_is_not_answered_when_a_stream_ends_is_sent_again_in_order() -> None:
    state = Outstanding()
    for number in (1, 2, 3):
        state.offer(f"b{number}", records(number))
    assert sent(state) == ["b1", "b2", "b3"]
    assert sent(state) == []
    assert state.answered(acknowledged("b2", [2])).accepted == 1
    state.opened()
    assert sent(state) == ["b1", "b3"]


def test_a_repeated_answer_and_one_for_nothing_decide_nothing() -> None:
    state = Outstanding()
    state.offer("b", records(1, 2))
    assert state.answered(acknowledged("b", [1, 2])).accepted == 0, "it was never sent"
    sent(state)
    assert state.answered(acknowledged("b", [1, 2])).accepted == 2
    for late in (acknowledged("b", [1, 2]), acknowledged("other", [1])):
        answer = state.answered(late)
        assert (answer.accepted, answer.duplicates, answer.rejected, answer.fault) == (0, 0, [], "")
    assert len(state) == state.records == 0


def test_an_answer_that_leaves_records_out_is_a_fault_and_only_these_come_again() -> None:
    state = Outstanding()
    state.offer("b", records(1, 2, 3))
    sent(state)
    answer = state.answered(acknowledged("b", [1, 3]))
    assert answer.accepted == 2
    assert "lacks 1 of 3 records" in answer.fault
    state.opened()
    batch = state.next(0)
    assert batch is not None
    assert [record.id.sequence_number for record in batch.records] == [2]


@pytest.mark.parametrize("status", [0, 77])
def test_a_status_that_says_nothing_is_no_answer(status: int) -> None:
    state = Outstanding()
    state.offer("b", records(1))
    sent(state)
    assert state.answered(acknowledged("b", [1], status)).fault
    assert state.records == 1


def test_rejected_and_duplicate_records_are_done() -> None:
    state = Outstanding()
    state.offer("b", records(1, 2, 3))
    sent(state)
    ack = acknowledged("b", [1], REJECTED)
    ack.record_acks[0].error_message = "malformed"
    ack.MergeFrom(acknowledged("", [2], DUPLICATE))
    ack.MergeFrom(acknowledged("", [3]))
    answer = state.answered(ack)
    assert [(record.id.sequence_number, text) for record, text in answer.rejected] == [(1, "malformed")]
    assert (answer.accepted, answer.duplicates, answer.fault, len(state)) == (1, 1, "", 0)


def test_a_pause_holds_back_and_drops_nothing() -> None:
    state = Outstanding()
    state.offer("b", records(1))
    state.pressed(BackpressureSignal(pause=True, resume_after_ms=2_000, recommended_batch_size=10), 100)
    assert (sent(state, 101), state.paused(101), state.wakes(101), state.recommended) == ([], True, 1, 10)
    assert sent(state, 102) == ["b"]
    state.offer("c", records(2))
    state.pressed(BackpressureSignal(pause=True), 102)
    assert (sent(state, 1e9), state.wakes(1e9)) == ([], None), "until the router says otherwise"
    state.pressed(BackpressureSignal(), 1e9)
    assert sent(state, 1e9) == ["c"]


def test_a_pause_ends_with_its_stream() -> None:
    state = Outstanding()
    state.offer("b", records(1))
    state.pressed(BackpressureSignal(pause=True), 0)
    state.opened()
    assert sent(state) == ["b"]


def test_credits_are_used_up_by_records_and_a_grant_replaces_the_last() -> None:
    state = Outstanding()
    for number in range(4):
        state.offer(f"b{number}", records(*range(number * 10 + 1, number * 10 + 11)))
    state.granted(CreditGrant(credits=15), 0, 30)
    assert sent(state) == ["b0", "b1"], "a batch beyond the credits is still answered"
    assert state.asks(0)
    state.granted(CreditGrant(credits=1), 0, 30)
    assert not state.asks(0)
    assert state.asks(30), "expired"
    assert sent(state, 30) == []
    state.granted(CreditGrant(credits=100), 30, -3600)
    assert sent(state, 30) == ["b2", "b3"], "the clock of the router is an hour behind"


def test_no_batch_is_empty_repeated_or_has_a_record_twice() -> None:
    state = Outstanding()
    state.offer("b", records(1))
    for batch_id, content in (("c", []), ("b", records(2)), ("d", records(3, 3))):
        with pytest.raises(ValueError, match="empty"):
            state.offer(batch_id, content)
    assert len(state) == 1


@given(sizes=st.lists(st.integers(0, 50), max_size=60), most=st.integers(1, 10), room=st.integers(1, 200))
def test_parts_keep_all_records_in_order_within_the_limits(sizes: list[int], most: int, room: int) -> None:
    whole = [Record(id=RecordId(sequence_number=n + 1), payload=b"x" * size) for n, size in enumerate(sizes)]
    parts = list(split(whole, most, room))
    assert [record for part in parts for record in part] == whole
    for part in parts:
        assert 1 <= len(part) <= most
        assert len(part) == 1 or sum(record.ByteSize() for record in part) <= room


# -- the whole machine against a router that crashes, forgets, answers in any order ------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(1, 4)),
        st.tuples(st.just("send"), st.integers(1, 5)),
        st.tuples(st.just("answer"), st.integers(0, 9)),
        st.tuples(st.just("answer twice"), st.integers(0, 9)),
        st.tuples(st.just("answer a part"), st.integers(0, 9)),
        st.tuples(st.just("lose an answer"), st.integers(0, 9)),
        st.tuples(st.just("reject"), st.integers(0, 9)),
        st.tuples(st.just("cut"), st.just(0)),
        st.tuples(st.just("pause"), st.integers(0, 3)),
        st.tuples(st.just("go on"), st.just(0)),
        st.tuples(st.just("grant"), st.integers(0, 12)),
        st.tuples(st.just("time"), st.integers(1, 3)),
    ),
    max_size=60,
)
WINDOW = 4


class Play:
    """One history."""

    def __init__(self) -> None:
        self.state = Outstanding(WINDOW)
        self.now = 0.0
        self.offered = 0
        self.batches = 0
        self.on_stream: dict[str, list[int]] = {}
        """Sent on this stream, not answered on it."""
        self.last_on_stream = 0
        self.arrived: Counter[int] = Counter()
        self.decided: Counter[int] = Counter()
        self.cuts = 0

    def step(self, what: str, number: int) -> None:
        match what:
            case "offer":
                if not self.state.full:
                    self.batches += 1
                    numbers = range(self.offered + 1, self.offered + number + 1)
                    self.state.offer(f"b{self.batches}", records(*numbers))
                    self.offered += number
            case "send":
                for _ in range(number):
                    self.send()
            case "cut":
                self.cut()
            case "pause":
                self.state.pressed(BackpressureSignal(pause=True, resume_after_ms=number * 1000), self.now)
            case "go on":
                self.state.pressed(BackpressureSignal(), self.now)
            case "grant":
                self.state.granted(CreditGrant(credits=number), self.now, 30)
            case "time":
                self.now += number
            case _:
                self.answer(what, number)

    def send(self) -> None:
        paused, asks = self.state.paused(self.now), self.state.asks(self.now)
        batch = self.state.next(self.now)
        if batch is None:
            return
        assert not paused
        assert not asks
        numbers = [record.id.sequence_number for record in batch.records]
        assert numbers[0] > self.last_on_stream, "within a stream numbers rise"
        assert numbers == sorted(numbers)
        self.last_on_stream = numbers[-1]
        assert batch.batch_id not in self.on_stream
        self.on_stream[batch.batch_id] = numbers
        assert len(self.on_stream) <= WINDOW
        self.arrived.update(numbers)

    def answer(self, what: str, number: int) -> None:
        if not self.on_stream:
            return
        batch_id = list(self.on_stream)[number % len(self.on_stream)]
        numbers = self.on_stream[batch_id]
        if what == "lose an answer":
            self.cut()
            return
        if what == "answer a part" and len(numbers) > 1:
            answer = self.state.answered(acknowledged(batch_id, numbers[:-1]))
            assert answer.fault
            self.decide(numbers[:-1], answer.accepted)
            self.cut()
            return
        status = REJECTED if what == "reject" else ACCEPTED
        answer = self.state.answered(acknowledged(batch_id, numbers, status))
        assert not answer.fault
        self.decide(numbers, answer.accepted + len(answer.rejected))
        if what == "answer twice":
            again = self.state.answered(acknowledged(batch_id, numbers))
            assert (again.accepted, again.fault) == (0, "")
        del self.on_stream[batch_id]

    def decide(self, numbers: list[int], counted: int) -> None:
        self.decided.update(numbers)
        assert counted == len(numbers)

    def cut(self) -> None:
        self.cuts += 1
        self.on_stream.clear()
        self.last_on_stream = 0
        self.state.opened()


@given(steps=STEPS)
@settings(max_examples=300)
def test_every_record_is_decided_once_whatever_happens(steps: list[tuple[str, int]]) -> None:
    play = Play()
    for what, number in steps:
        play.step(what, number)
        undecided = play.offered - len(play.decided)
        assert play.state.records == undecided
        assert len(play.state) <= WINDOW
    # The trouble ends: a stream that stays, a router that answers.
    play.cut()
    while len(play.state):
        play.send()
        play.answer("answer", 0)
    assert play.decided == Counter(range(1, play.offered + 1)), "each once, none forgotten"
    assert play.arrived.keys() == play.decided.keys()
    assert all(times <= 1 + play.cuts for times in play.arrived.values())
