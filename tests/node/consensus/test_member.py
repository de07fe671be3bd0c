"""One member: what peers send, and what a full disk does to it."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_operator.node.consensus import snapshot, wire
from etl_operator.node.consensus.disk import File
from etl_operator.node.consensus.engine import ConsensusError, NotLeader, Role, StorageFull
from etl_operator.node.consensus.journal import DiskJournal
from etl_operator.node.consensus.member import Member
from etl_operator.node.consensus.settings import Timing
from etl_operator.node.control.state import RouterState
from tests.node.model.disk import Disk

TIMING = Timing(0.15, 0.3, 0.05)


class Single:
    """Member 1 of three, or of one, on a simulated disk; what it sends is kept."""

    def __init__(self, *peers: int, snapshot_every: int = 1000) -> None:
        self.peers = peers
        self.snapshot_every = snapshot_every
        self.disk = Disk(random.Random(1))
        self.now = 100.0
        self.sent: list[tuple[int, wire.Message]] = []
        self.outcomes: list[object] = []
        # The directory of a founder: it has nothing yet, and lost nothing.
        journal = DiskJournal(Path("/data"), self.disk)
        journal.add(wire.NO_OP, 1, 0)
        journal.sync()
        journal.close()
        self.start()

    def start(self) -> None:
        self.state = RouterState()
        self.member = Member(
            1,
            self.peers,
            Path("/data"),
            self.state,
            timing=TIMING,
            snapshot_every=self.snapshot_every,
            clock=lambda: self.now,
            chance=random.Random(1),
            send=lambda peer, message: self.sent.append((peer, message)),
            wake=lambda: None,
            failed=lambda error: None,
            files=self.disk,
        )
        self.raft = self.member.raft
        for peer in self.peers:
            self.member.connected(peer, True)
        self.member.tick()

    def restart(self) -> None:
        self.disk.power_cut()
        self.start()

    def hears(self, sender: int, message: wire.Message) -> list[wire.Message]:
        """Deliver, tick, and return what it sent to that member."""
        self.sent.clear()
        self.member.deliver(sender, message)
        self.member.tick()
        return [sent for peer, sent in self.sent if peer == sender]

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.member.tick()

    def propose(self, command: bytes = b"x") -> None:
        def done(result: object, error: ConsensusError | None) -> None:
            self.outcomes.append(error or result)

        self.raft.propose(command, done)
        self.member.tick()

    def lead(self) -> None:
        """Be elected by member 2."""
        self.passes(0.4)
        self.hears(2, wire.PreVoteGranted(term=self.raft.term + 1))
        self.hears(2, wire.ResponseVote(term=self.raft.term))
        assert self.raft.role is Role.LEADER

    @property
    def log(self) -> list[tuple[bytes, int, int]]:
        return self.member.journal[:]


def entries(first: int, last: int, term: int = 1) -> list[tuple[bytes, int, int]]:
    return [(wire.REGULAR + b"%d" % index, index, term) for index in range(first, last + 1)]


def append(
    previous: int, *, to: int, term: int = 1, of: int = 1, commit: int = 1, previous_term: int | None = None
) -> wire.AppendEntries:
    """Entries behind ``previous`` up to ``to``, of term ``of``, from the leader of ``term``."""
    before = previous_term if previous_term is not None else int(previous > 1)
    return wire.AppendEntries(
        term=term,
        commit_index=commit,
        prev_index=previous,
        prev_term=before,
        entries=entries(previous + 1, to, of),
    )


def stored(answers: list[wire.Message]) -> int:
    """Up to which entry the last answer vouches."""
    answer = answers[-1]
    assert isinstance(answer, wire.NextIndex)
    assert answer.success
    return answer.next_index - 1


def parts(last: int, term: int = 1, size: int = 10) -> list[wire.InstallSnapshot]:
    """A snapshot up to entry ``last``."""
    previous, end = entries(last - 1, last, term)
    data = snapshot.encode(snapshot.Snapshot(end, previous, RouterState().snapshot()))
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    messages = [(piece, number == 0, False) for number, piece in enumerate(pieces)]
    return [wire.InstallSnapshot(term=term, part=part) for part in [*messages, (b"", False, True)]]


# What was vouched for stays.


@pytest.mark.parametrize("commit", [1, 7])
def test_a_repeated_shorter_batch_removes_nothing(commit: int) -> None:
    single = Single(2, 3)
    assert stored(single.hears(2, append(1, to=7))) == 7
    assert stored(single.hears(2, append(7, to=7, commit=commit))) == 7
    assert stored(single.hears(2, append(1, to=3))) == 3
    assert [entry[1] for entry in single.log] == [1, 2, 3, 4, 5, 6, 7]
    single.restart()
    assert [entry[1] for entry in single.log] == [1, 2, 3, 4, 5, 6, 7]


def test_what_contradicts_the_leader_is_replaced_and_nothing_before_it() -> None:
    single = Single(2, 3)
    single.hears(2, append(1, to=7))
    assert stored(single.hears(3, append(1, to=4, term=2, of=1))) == 4
    assert len(single.log) == 7
    assert stored(single.hears(3, append(4, to=6, term=2, of=2))) == 6
    assert single.log[1:] == [*entries(2, 4), *entries(5, 6, 2)]
    single.restart()
    assert single.log[1:] == [*entries(2, 4), *entries(5, 6, 2)]


def test_entries_the_leader_has_not_compared_are_not_committed() -> None:
    single = Single(2, 3)
    single.hears(2, append(1, to=7))
    single.hears(3, append(1, to=3, term=2, commit=6))
    assert single.raft.commit == 3


def test_a_committed_entry_is_not_replaced_whoever_asks(caplog: pytest.LogCaptureFixture) -> None:
    single = Single(2, 3)
    single.hears(2, append(1, to=7, commit=5))
    assert single.hears(3, append(1, to=3, term=2, of=2, previous_term=0)) == []
    assert single.log[1:] == entries(2, 7)
    assert single.member.failure is None
    assert "refused to replace the committed entry 2" in caplog.text


def test_ordinary_operation_alarms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    single = Single(2, 3)
    for message in (
        append(1, to=7),
        append(7, to=7, commit=7),
        append(1, to=3, commit=7),
        append(1, to=7, commit=7),
    ):
        single.hears(2, message)
    single.hears(3, append(7, to=9, term=2, of=2, commit=7))
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


def test_a_snapshot_leaves_what_follows_it() -> None:
    single = Single(2, 3)
    single.hears(2, append(1, to=9, commit=2))
    for part in parts(6):
        answers = single.hears(2, part)
    assert stored(answers) == 6
    assert single.log == entries(5, 9)
    assert (single.raft.commit, single.raft.applied) == (6, 6)
    for part in parts(4):  # A late one.
        answers = single.hears(2, part)
    assert stored(answers) == 4
    single.restart()
    assert single.log == entries(5, 9)
    assert single.raft.applied == 6


def test_a_snapshot_replaces_what_contradicts_it() -> None:
    single = Single(2, 3)
    single.hears(2, append(1, to=9, commit=2))
    for part in parts(6, term=2):
        single.hears(3, part)
    assert single.log == entries(5, 6, 2)
    single.restart()
    assert single.log == entries(5, 6, 2)


def test_a_snapshot_with_a_lost_part_is_asked_for_again() -> None:
    single = Single(2, 3)
    first, _, *rest = parts(9)
    answers = [single.hears(2, part)[-1] for part in (first, *rest)]
    assert answers[-1] == wire.NextIndex(term=1, next_index=2, reset=True, success=False)
    for part in parts(9):
        answers = single.hears(2, part)
    assert stored(answers) == 9


# A full disk.


def test_a_lone_leader_refuses_writes_while_its_disk_is_full_and_goes_on() -> None:
    single = Single()
    single.propose()
    single.disk.full = True
    single.propose(b"y")
    assert isinstance(single.outcomes[-1], StorageFull)
    assert single.raft.role is Role.LEADER
    assert single.member.readable()
    single.disk.full = False
    single.propose(b"z")
    assert not isinstance(single.outcomes[-1], ConsensusError)
    assert [command for command, _, _ in single.log[2:]] == [b"\0x", b"\0z"]  # What was refused is not there.
    assert single.member.failure is None


@pytest.mark.parametrize("peers", [(2, 3), (2,)])
def test_a_leader_with_a_full_disk_asks_another_to_lead_if_it_can(peers: tuple[int, ...]) -> None:
    single = Single(*peers)
    single.lead()
    last = single.raft._log.last
    single.hears(2, wire.NextIndex(term=single.raft.term, next_index=last + 1, reset=False, success=True))
    single.disk.full = True
    single.sent.clear()
    single.propose()
    assert isinstance(single.outcomes[-1], StorageFull)
    # Of two members none could lead without this one's vote, which it could not store.
    assert ((2, wire.TimeoutNow(term=single.raft.term)) in single.sent) is (len(peers) == 2)
    assert single.raft.role is Role.LEADER


@pytest.mark.parametrize(
    "later",
    [
        wire.RequestVote(term=9, last_log_index=50, last_log_term=8),
        wire.StaleTerm(term=9),
        append(1, to=3, term=9, of=9, previous_term=0),
        parts(9, term=9)[0],
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_leader_that_cannot_store_a_later_term_leads_neither_term(later: wire.Message) -> None:
    single = Single(2, 3)
    single.lead()
    term = single.raft.term
    single.disk.full = True
    assert single.hears(3, later) == []
    assert single.raft.role is Role.FOLLOWER
    assert (single.raft.term, single.member.journal.getCurrentTerm()) == (term, term)
    assert [entry[1:] for entry in single.log[1:]] == [(2, term)]
    single.passes(0.1)
    assert not [message for _, message in single.sent if isinstance(message, wire.AppendEntries)]
    single.disk.full = False
    single.hears(3, later)
    assert single.raft.term == 9
    assert single.member.failure is None
    single.restart()
    assert single.raft.term == 9


def test_a_vote_that_cannot_be_stored_is_not_given() -> None:
    single = Single(2, 3)
    single.hears(2, wire.StaleTerm(term=3))
    single.disk.full = True
    ask = wire.RequestVote(term=3, last_log_index=1, last_log_term=0)
    assert single.hears(2, ask) == []
    single.disk.full = False
    assert single.hears(3, ask) == [wire.ResponseVote(term=3)]
    assert single.hears(2, ask) == []
    single.restart()
    assert single.hears(2, ask) == []
    assert single.hears(3, ask) == [wire.ResponseVote(term=3)]  # The first answer may have been lost.


def test_a_candidate_that_cannot_store_its_term_stays_in_the_old_one() -> None:
    single = Single(2, 3)
    single.disk.full = True
    single.passes(0.4)
    single.hears(2, wire.PreVoteGranted(term=1))
    assert (single.raft.term, single.raft.role) == (0, Role.FOLLOWER)
    assert not [message for _, message in single.sent if isinstance(message, wire.RequestVote)]


def test_a_candidate_without_room_for_its_first_entry_does_not_lead() -> None:
    single = Single(2, 3)
    single.passes(0.4)
    single.hears(2, wire.PreVoteGranted(term=1))
    single.disk.full = True
    single.hears(2, wire.ResponseVote(term=1))
    assert single.raft.role is Role.FOLLOWER
    assert len(single.log) == 1
    assert single.member.failure is None


def test_a_follower_with_a_full_disk_says_how_far_it_got() -> None:
    single = Single(2, 3)
    single.hears(2, append(1, to=4))
    single.disk.full = True
    assert single.hears(2, append(2, to=9, commit=9)) == [
        wire.NextIndex(term=1, next_index=5, reset=True, success=True)
    ]
    assert single.raft.commit == 4
    single.disk.full = False
    assert stored(single.hears(2, append(4, to=9, commit=9))) == 9


def test_a_snapshot_that_finds_no_room_changes_nothing() -> None:
    single = Single(2, 3)
    single.hears(2, append(1, to=4, commit=4))
    single.disk.full = True
    for part in parts(20):
        single.hears(2, part)
    assert single.member.failure is None
    assert single.log[1:] == entries(2, 4)
    assert single.raft.applied == 4
    single.disk.full = False
    single.passes(2.0)
    for part in parts(20):
        answers = single.hears(2, part)
    assert stored(answers) == 20
    assert single.raft.applied == 20


def test_a_log_that_cannot_be_shortened_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    single = Single(snapshot_every=10)
    for number in range(7):
        single.propose(b"%d" % number)
    open_file = single.disk.open

    def no_room_for_a_journal(name: str, *, empty: bool = False) -> File:
        if name == "journal.new":
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_file(name, empty=empty)

    single.disk.open = no_room_for_a_journal  # type: ignore[method-assign]
    for number in range(7, 12):
        single.propose(b"%d" % number)
    assert single.member.failure is None
    assert single.raft.role is Role.LEADER
    assert len(single.outcomes) == len(single.log[2:]) == 12
    assert "journal keeps growing" in caplog.text
    single.disk.open = open_file  # type: ignore[method-assign]
    single.passes(11.0)
    assert single.log[0][1] > 1
    applied = single.raft.applied
    single.restart()
    single.passes(0.1)
    assert single.raft.applied >= applied


def test_a_member_starts_on_a_full_disk_behind_a_snapshot_it_just_received() -> None:
    single = Single(2, 3)
    single.hears(2, append(1, to=4, commit=2))
    single.raft._log.start_at = lambda previous, last: (_ for _ in ()).throw(StorageFull("full"))  # type: ignore[method-assign]
    for part in parts(20):
        single.hears(2, part)
    assert single.raft.applied == 2
    single.restart()
    assert single.raft.applied == 20


# What peers send.

VALUES = st.integers(-1, 9) | st.sampled_from([2**62, 2**62 - 1, 2**63, -(2**63), 2**64 - 1])
ENTRIES = st.lists(
    st.tuples(st.sampled_from([b"", b"\0", b"\1", b"\2", b"\0\xff"]), VALUES, VALUES), max_size=3
)
SNAPSHOTS = st.builds(
    snapshot.Snapshot,
    last=st.tuples(st.binary(max_size=2), VALUES, VALUES),
    previous=st.tuples(st.binary(max_size=2), VALUES, VALUES),
    state=st.just(RouterState().snapshot()) | st.binary(max_size=9),
).map(snapshot.encode)
FRAMES = st.one_of(
    st.builds(wire.Beat, term=VALUES, role=st.text(max_size=3), match_index=VALUES),
    st.builds(wire.PreVote, term=VALUES, last_log_index=VALUES, last_log_term=VALUES),
    st.builds(wire.RequestVote, term=VALUES, last_log_index=VALUES, last_log_term=VALUES),
    st.builds(wire.NextIndex, term=VALUES, next_index=VALUES, reset=st.booleans(), success=st.booleans()),
    st.builds(
        wire.AppendEntries,
        term=VALUES,
        commit_index=VALUES,
        prev_index=VALUES,
        prev_term=VALUES,
        entries=ENTRIES,
    ),
    st.builds(
        append, st.integers(0, 9), to=st.integers(0, 12), term=VALUES, of=st.integers(0, 3), commit=VALUES
    ),
    st.builds(
        wire.InstallSnapshot,
        term=VALUES,
        part=st.none() | st.tuples(SNAPSHOTS | st.binary(max_size=9), st.booleans(), st.booleans()),
    ),
    st.builds(
        wire.InstallSnapshot, term=st.integers(0, 9), part=st.tuples(SNAPSHOTS, st.just(True), st.just(True))
    ),
    *[
        st.builds(kind, term=VALUES)
        for kind in (wire.PreVoteGranted, wire.StaleTerm, wire.ResponseVote, wire.TimeoutNow)
    ],
).map(lambda message: msgspec.msgpack.encode(message))


@given(
    frames=st.lists(
        st.tuples(st.sampled_from([2, 3]), FRAMES, st.sampled_from([0.0, 0.1, 0.4])), max_size=12
    ),
    leads=st.booleans(),
)
@settings(max_examples=300)
def test_nothing_a_peer_sends_ends_a_member(frames: list[tuple[int, bytes, float]], leads: bool) -> None:
    single = Single(2, 3, snapshot_every=3)
    if leads:
        single.lead()
    committed: dict[int, int] = {}
    for sender, frame, pause in frames:
        try:
            message = wire.decode(frame)
        except wire.WireError:
            continue
        single.hears(sender, message)
        single.passes(pause)
        assert single.member.failure is None
        for index, term in committed.items():
            assert single.member.journal.term_at(index) in (None, term)
        committed.update({index: term for _, index, term in single.log if index <= single.raft.commit})
    single.restart()
    assert single.member.failure is None


def test_proposals_of_a_member_that_does_not_lead_are_refused() -> None:
    single = Single(2, 3)
    single.propose()
    assert isinstance(single.outcomes[-1], NotLeader)
