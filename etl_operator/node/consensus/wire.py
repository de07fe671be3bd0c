"""The Raft wire format: length-prefixed MessagePack of the messages below, and nothing else.

pysyncobj's own wire is pickle, where a peer's bytes are a program. Here they are data of a known shape, or an
error. Bytes in, messages out; no I/O.

A connection carries messages one way, from the node that dialled. It opens with `Hello`, answered by
`Welcome`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import msgspec

MAX_COMMAND = 8 * 2**20
"""Bytes of a command. Larger ones are refused when proposed."""
MAX_FRAME = 2 * MAX_COMMAND + 2**20
"""Bytes of a frame: a full batch, which may exceed `MAX_COMMAND` by one entry."""
MAX_FIRST_FRAME = 4096
"""Bytes of the opening frame: a stranger cannot make a node allocate more."""

_LENGTH = struct.Struct(">I")
_REGULAR, _NO_OP = 0, 1


class WireError(Exception):
    """The bytes are not a message of this protocol."""


class _Base(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, kw_only=True):
    pass


class Hello(_Base, tag="hello"):
    """Who dials, and whom it wants to reach: addresses are reused, names may be stale."""

    sender: int
    receiver: int
    cluster: str
    """The cluster's id as the sender knows it; empty when it has not joined one yet."""


class Welcome(_Base, tag="welcome"):
    """The answer to `Hello`. A ``problem`` ends the connection."""

    problem: str = ""


class Beat(_Base, tag="beat"):
    """A sign of life to every peer, for the status."""

    term: int
    role: str
    match_index: int


class PreVote(_Base, tag="pre_vote"):
    """May I stand for election in ``term``? Changes nothing at the receiver."""

    term: int
    last_log_index: int
    last_log_term: int


class PreVoteGranted(_Base, tag="pre_vote_granted"):
    """You may, in ``term``."""

    term: int


class StaleTerm(_Base, tag="stale_term"):
    """What you sent is of an older term than mine, which is ``term``."""

    term: int


class RequestVote(_Base, tag="request_vote"):
    """pysyncobj: vote for me."""

    term: int
    last_log_index: int
    last_log_term: int


class ResponseVote(_Base, tag="response_vote"):
    """pysyncobj: you have my vote."""

    term: int


class AppendEntries(_Base, tag="append_entries"):
    """pysyncobj: a heartbeat, maybe with entries."""

    term: int
    commit_index: int
    prev_index: int
    prev_term: int
    entries: list[tuple[bytes, int, int]]


class InstallSnapshot(_Base, tag="install_snapshot"):
    """pysyncobj: a part of a snapshot, or none yet."""

    term: int
    part: tuple[bytes, bool, bool] | None
    """Data, is it the first part, is it the (empty) last part."""


class NextIndex(_Base, tag="next_node_idx"):
    """pysyncobj: the answer to the two above."""

    term: int
    """The term being answered. pysyncobj leaves it out and could take a late answer for a new one."""
    next_index: int
    reset: bool
    success: bool


class TimeoutNow(_Base, tag="timeout_now"):
    """pysyncobj: stand for election at once; I am leaving."""

    term: int


Message = (
    Hello
    | Welcome
    | Beat
    | PreVote
    | PreVoteGranted
    | StaleTerm
    | RequestVote
    | ResponseVote
    | AppendEntries
    | InstallSnapshot
    | NextIndex
    | TimeoutNow
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """A frame."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


def frame_length(head: bytes, *, limit: int = MAX_FRAME) -> int:
    """The length of the body behind a four-byte head.

    :raises WireError: it exceeds ``limit``.
    """
    (length,) = _LENGTH.unpack(head)
    if length > limit:
        raise WireError(f"a frame of {length} bytes exceeds {limit}")
    return int(length)


def decode(body: bytes) -> Message:
    """The message in a frame's body.

    :raises WireError: it is none, or it carries a log entry of a kind this node never writes.
    """
    try:
        message = _decoder.decode(body)
    except ValueError as error:
        raise WireError(str(error)) from error
    if isinstance(message, AppendEntries):
        for command, _, _ in message.entries:
            # pysyncobj unpickles the other kinds.
            if command[:1] not in (bytes([_REGULAR]), bytes([_NO_OP])):
                raise WireError("a log entry of an unknown kind")
    return message


def from_library(message: Mapping[str, Any], term: int) -> Message | None:
    """A message of pysyncobj as one of ours; None for those this node does not send.

    :param term: the sender's current term.
    """
    kind = message["type"]
    if kind == "append_entries" and "prevLogIdx" in message:
        return AppendEntries(
            term=message["term"],
            commit_index=message["commit_index"],
            prev_index=message["prevLogIdx"],
            prev_term=message["prevLogTerm"],
            entries=message["entries"],
        )
    if kind == "append_entries":
        return InstallSnapshot(term=message["term"], part=message["serialized"] or None)
    if kind == "next_node_idx":
        return NextIndex(
            term=term,
            next_index=message["next_node_idx"],
            reset=message["reset"],
            success=message["success"],
        )
    if kind == "request_vote":
        return RequestVote(
            term=message["term"],
            last_log_index=message["last_log_index"],
            last_log_term=message["last_log_term"],
        )
    if kind == "response_vote":
        return ResponseVote(term=message["term"])
    if kind == "timeout_now":
        return TimeoutNow(term=message["term"])
    return None


def to_library(message: Message) -> dict[str, Any] | None:
    """One of our messages as pysyncobj's; None for those it does not know."""
    match message:
        case AppendEntries():
            return {
                "type": "append_entries",
                "term": message.term,
                "commit_index": message.commit_index,
                "entries": message.entries,
                "prevLogIdx": message.prev_index,
                "prevLogTerm": message.prev_term,
            }
        case InstallSnapshot():
            # Commit index 0: until the snapshot is in, the receiver's own log may be another history, and
            # pysyncobj would commit it up to the leader's index.
            return {
                "type": "append_entries",
                "term": message.term,
                "commit_index": 0,
                "serialized": message.part,
            }
        case NextIndex():
            return {
                "type": "next_node_idx",
                "next_node_idx": message.next_index,
                "reset": message.reset,
                "success": message.success,
            }
        case RequestVote():
            return {
                "type": "request_vote",
                "term": message.term,
                "last_log_index": message.last_log_index,
                "last_log_term": message.last_log_term,
            }
        case ResponseVote():
            return {"type": "response_vote", "term": message.term}
        case TimeoutNow():
            return {"type": "timeout_now", "term": message.term}
        case _:
            return None
