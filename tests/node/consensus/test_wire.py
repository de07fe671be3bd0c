from __future__ import annotations

import pickle

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from etl_operator.node.consensus import wire

COUNTS = st.integers(0, 2**62)
ENTRY = st.tuples(st.binary(max_size=20).map(lambda data: wire.REGULAR + data), st.integers(0, 3))


@st.composite
def append_entries(draw: st.DrawFn, least: int = 0) -> wire.AppendEntries:
    previous, term = draw(st.integers(0, 2**61)), draw(st.integers(0, 2**61))
    previous_term, entries = term, []
    for number, (command, step) in enumerate(draw(st.lists(ENTRY, min_size=least, max_size=3))):
        term += step
        entries.append((command, previous + 1 + number, term))
    return wire.AppendEntries(
        term=term + draw(st.integers(0, 3)),
        commit_index=draw(COUNTS),
        prev_index=previous,
        prev_term=previous_term,
        entries=entries,
    )


MESSAGES: st.SearchStrategy[wire.Message] = st.one_of(
    append_entries(),
    append_entries(least=1),
    st.builds(wire.PreVote, term=COUNTS, last_log_index=COUNTS, last_log_term=COUNTS),
    st.builds(wire.RequestVote, term=COUNTS, last_log_index=COUNTS, last_log_term=COUNTS),
    st.builds(
        wire.NextIndex,
        term=COUNTS,
        next_index=st.integers(1, 2**62),
        reset=st.booleans(),
        success=st.booleans(),
    ),
    st.builds(
        wire.InstallSnapshot,
        term=COUNTS,
        part=st.none() | st.tuples(st.binary(max_size=9), st.booleans(), st.booleans()),
    ),
    *[
        st.builds(kind, term=COUNTS)
        for kind in (wire.PreVoteGranted, wire.StaleTerm, wire.ResponseVote, wire.TimeoutNow)
    ],
)


def over_the_wire(message: wire.Message) -> wire.Message:
    frame = wire.encode(message)
    assert wire.frame_length(frame[:4]) == len(frame) - 4
    return wire.decode(frame[4:])


@given(MESSAGES)
def test_messages_arrive_as_they_were_sent(message: wire.Message) -> None:
    assert over_the_wire(message) == message


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A message with a byte that is another one; often a message still."""
    body = bytearray(wire.encode(draw(MESSAGES))[4:])
    body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    return bytes(body)


@given(st.binary(max_size=64) | damaged())
@example(wire.encode(wire.StaleTerm(term=5))[4:-1] + b"\x07")
def test_any_bytes_are_a_message_or_an_error(body: bytes) -> None:
    try:
        message = wire.decode(body)
    except wire.WireError:
        return
    assert over_the_wire(message) == message


@pytest.mark.parametrize(
    "body",
    [
        pickle.dumps({"type": "append_entries"}),
        msgspec.msgpack.encode({"type": "apply_command", "command": b"\x00"}),
        msgspec.msgpack.encode({"type": "stale_term", "term": "3"}),
        msgspec.msgpack.encode({"type": "stale_term", "term": 3, "more": 1}),
        wire.encode(wire.Welcome(problem="xyz"))[4:].replace(b"xyz", b"x\xff\xff"),
        b"\x91" * 100_000,
        msgspec.msgpack.encode({"type": "stale_term"}),
        msgspec.msgpack.encode({"type": "stale_term", "term": -1}),
        msgspec.msgpack.encode({"type": "stale_term", "term": 2**63}),
    ],
)
def test_what_is_not_of_the_protocol_is_refused(body: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(body)


def batch(*entries: tuple[bytes, int, int], prev_index: int = 4, prev_term: int = 2) -> wire.AppendEntries:
    return wire.AppendEntries(
        term=3, commit_index=1, prev_index=prev_index, prev_term=prev_term, entries=list(entries)
    )


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (batch(prev_index=-1), ">= 0"),
        (batch((b"\0", -5, 2)), ">= 1"),
        (batch((b"\0", 5, -2)), ">= 0"),
        (batch((b"\0", 2**62 + 1, 2), prev_index=2**62), "<="),
        (batch((b"\0", 7, 2)), "entry 7 follows entry 4"),
        (batch((b"\0", 5, 2), (b"\0", 5, 2)), "entry 5 follows entry 5"),
        (batch((b"\0", 5, 1)), "outside 2 to 3"),
        (batch((b"\0", 5, 4)), "outside 2 to 3"),
        (batch((b"\0" * (wire.MAX_COMMAND + 1), 5, 2)), "exceeds"),
        (wire.NextIndex(term=1, next_index=0, reset=True, success=False), ">= 1"),
        (wire.RequestVote(term=1, last_log_index=-1, last_log_term=1), ">= 0"),
    ],
)
def test_what_no_correct_member_sends_is_refused(message: wire.Message, why: str) -> None:
    with pytest.raises(wire.WireError, match=why):
        over_the_wire(message)


@pytest.mark.parametrize("kind", [b"", b"\x02", b"\x03", b"\xff"])
def test_entries_the_library_would_unpickle_are_refused(kind: bytes) -> None:
    entry = (kind + pickle.dumps("anything"), 2, 1) if kind else (b"", 2, 1)
    message = batch(entry, prev_index=1, prev_term=0)
    with pytest.raises(wire.WireError, match="kind"):
        over_the_wire(message)


def test_a_frame_longer_than_its_limit_is_refused_by_its_head() -> None:
    frame = wire.encode(wire.Welcome(problem="x" * 5000))
    with pytest.raises(wire.WireError, match="exceeds"):
        wire.frame_length(frame[:4], limit=wire.MAX_FIRST_FRAME)
