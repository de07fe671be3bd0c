from __future__ import annotations

import pickle
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_operator.node.consensus import wire

COUNTS = st.integers(0, 2**40)
ENTRIES = st.lists(
    st.tuples(st.binary(max_size=20).map(lambda data: b"\x00" + data), COUNTS, COUNTS), max_size=3
)
LIBRARY_MESSAGES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("append_entries"),
            "term": COUNTS,
            "commit_index": COUNTS,
            "entries": ENTRIES,
            "prevLogIdx": COUNTS,
            "prevLogTerm": COUNTS,
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("request_vote"),
            "term": COUNTS,
            "last_log_index": COUNTS,
            "last_log_term": COUNTS,
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("next_node_idx"),
            "next_node_idx": COUNTS,
            "reset": st.booleans(),
            "success": st.booleans(),
        }
    ),
    st.fixed_dictionaries({"type": st.sampled_from(["response_vote", "timeout_now"]), "term": COUNTS}),
)


def over_the_wire(message: wire.Message) -> wire.Message:
    frame = wire.encode(message)
    assert wire.frame_length(frame[:4]) == len(frame) - 4
    return wire.decode(frame[4:])


@given(LIBRARY_MESSAGES)
def test_the_librarys_messages_arrive_as_they_were_sent(message: dict[str, Any]) -> None:
    ours = wire.from_library(message, term=7)
    assert ours is not None
    assert wire.to_library(over_the_wire(ours)) == message


def test_a_part_of_a_snapshot_commits_nothing() -> None:
    message = {
        "type": "append_entries",
        "term": 3,
        "commit_index": 99,
        "serialized": (b"part", True, False),
    }
    ours = wire.from_library(message, term=3)
    assert ours is not None
    assert wire.to_library(over_the_wire(ours)) == {**message, "commit_index": 0}


def test_an_answer_carries_the_term_it_answers() -> None:
    message = {"type": "next_node_idx", "next_node_idx": 1, "reset": False, "success": True}
    assert getattr(wire.from_library(message, term=42), "term", None) == 42


@given(st.binary(max_size=64))
def test_any_bytes_are_a_message_or_an_error(body: bytes) -> None:
    try:
        message = wire.decode(body)
    except wire.WireError:
        return
    assert isinstance(message, wire.Message)


@pytest.mark.parametrize(
    "body",
    [
        pickle.dumps({"type": "append_entries"}),
        msgspec.msgpack.encode({"type": "apply_command", "command": b"\x00"}),
        msgspec.msgpack.encode({"type": "stale_term", "term": "3"}),
        msgspec.msgpack.encode({"type": "stale_term", "term": 3, "more": 1}),
        wire.encode(wire.Welcome(problem="xyz"))[4:].replace(b"xyz", b"x\xff\xff"),
        b"\x91" * 100_000,
    ],
)
def test_what_is_not_of_the_protocol_is_refused(body: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(body)


@pytest.mark.parametrize("kind", [b"", b"\x02", b"\x03", b"\xff"])
def test_entries_the_library_would_unpickle_are_refused(kind: bytes) -> None:
    entry = (kind + pickle.dumps("anything"), 2, 1) if kind else (b"", 2, 1)
    message = wire.AppendEntries(term=1, commit_index=1, prev_index=1, prev_term=0, entries=[entry])
    with pytest.raises(wire.WireError, match="kind"):
        over_the_wire(message)


def test_a_frame_longer_than_its_limit_is_refused_by_its_head() -> None:
    frame = wire.encode(wire.Welcome(problem="x" * 5000))
    with pytest.raises(wire.WireError, match="exceeds"):
        wire.frame_length(frame[:4], limit=wire.MAX_FIRST_FRAME)
