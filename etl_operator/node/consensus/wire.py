"""The Raft wire format: length-prefixed MessagePack of the messages below, and nothing else.

What a peer sends is data of a known shape with values that are possible in Raft, or an error: what `decode`
returns can be handled without a further look at it. Bytes in, messages out; no I/O.

A connection carries messages one way, from the node that dialled. It opens with `Hello`, answered by
`Welcome`.
"""

from __future__ import annotations

import struct
from typing import Annotated

import msgspec

from etl_operator.node.consensus import configuration
from etl_operator.node.consensus.configuration import NO_OP as NO_OP
from etl_operator.node.consensus.configuration import REGULAR as REGULAR
from etl_operator.node.consensus.journal import MOST

MAX_COMMAND = 8 * 2**20
"""Bytes of a command. Larger ones are refused when proposed."""
MAX_FRAME = 2 * MAX_COMMAND + 2**20
"""Bytes of a frame: a full batch, which may exceed `MAX_COMMAND` by one entry."""
MAX_FIRST_FRAME = 4096
"""Bytes of the opening frame: a stranger cannot make a node allocate more."""

_LENGTH = struct.Struct(">I")

_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
_Positive = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
_Entry = tuple[bytes, _Positive, _Count]
"""Command, index, term."""


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


class Ask(_Base, tag="ask"):
    """In place of `Hello`: this connection is for one question beside Raft. Answered by `Welcome`; then a
    `Body` with the question goes one way, and one with the answer comes back.
    """

    sender: int
    receiver: int
    cluster: str
    topic: str


class Body(_Base, tag="body"):
    """A question or its answer, as bytes that only its topic understands."""

    data: bytes
    problem: str = ""
    """Why there is no answer."""


class Beat(_Base, tag="beat"):
    """A sign of life to every peer, for the status."""

    term: _Count
    role: str
    match_index: _Count


class PreVote(_Base, tag="pre_vote"):
    """May I stand for election in ``term``? Changes nothing at the receiver."""

    term: _Count
    last_log_index: _Count
    last_log_term: _Count


class PreVoteGranted(_Base, tag="pre_vote_granted"):
    """You may, in ``term``."""

    term: _Count


class StaleTerm(_Base, tag="stale_term"):
    """What you sent is of an older term than mine, which is ``term``."""

    term: _Count


class RequestVote(_Base, tag="request_vote"):
    """Vote for me."""

    term: _Count
    last_log_index: _Count
    last_log_term: _Count


class ResponseVote(_Base, tag="response_vote"):
    """You have my vote."""

    term: _Count


class AppendEntries(_Base, tag="append_entries"):
    """A heartbeat, maybe with entries."""

    term: _Count
    commit_index: _Count
    prev_index: _Count
    prev_term: _Count
    entries: list[_Entry]


class InstallSnapshot(_Base, tag="install_snapshot"):
    """A part of a snapshot, or none."""

    term: _Count
    part: tuple[bytes, bool, bool] | None
    """Data, is it the first part, is it the (empty) last part."""


class NextIndex(_Base, tag="next_node_idx"):
    """The answer to the two above."""

    term: _Count
    """The term being answered: a late answer must not count in another one."""
    next_index: _Positive
    """1 says that nothing is stored, not even the first entry, and that nothing will be before `Admit`: the
    data directory is empty. ``reset`` is false then if the node may be a founder that comes late."""
    reset: bool
    """Go on from ``next_index``, even if more was sent already."""
    success: bool
    """All before ``next_index`` is stored here and equals the leader's log."""


class Admit(_Base, tag="admit"):
    """To a node that says that it is blank: it is a learner since the committed entry ``since``."""

    term: _Count
    since: _Positive


class TimeoutNow(_Base, tag="timeout_now"):
    """Stand for election at once; I am leaving."""

    term: _Count


Message = (
    Hello
    | Welcome
    | Ask
    | Body
    | Beat
    | PreVote
    | PreVoteGranted
    | StaleTerm
    | RequestVote
    | ResponseVote
    | AppendEntries
    | InstallSnapshot
    | NextIndex
    | Admit
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

    :raises WireError: it is none, or it is one that no correct member sends.
    """
    try:
        message = _decoder.decode(body)
    except ValueError as error:
        raise WireError(str(error)) from error
    if isinstance(message, AppendEntries):
        _check(message)
    return message


def _check(message: AppendEntries) -> None:
    index, term = message.prev_index, message.prev_term
    for command, entry_index, entry_term in message.entries:
        if command[:1] not in (REGULAR, NO_OP):
            raise WireError("a log entry of an unknown kind")
        if command[:1] == NO_OP:
            _check_members(command[1:], entry_index)
        if len(command) > MAX_COMMAND:
            raise WireError(f"a log entry of {len(command)} bytes exceeds {MAX_COMMAND}")
        if entry_index != index + 1:
            raise WireError(f"log entry {entry_index} follows entry {index}")
        if not term <= entry_term <= message.term:
            raise WireError(
                f"log entry {entry_index} is of term {entry_term}, outside {term} to {message.term}"
            )
        index, term = entry_index, entry_term


def _check_members(data: bytes, index: int) -> None:
    try:
        configuration.decode(data)
    except ValueError as error:
        raise WireError(f"log entry {index} does not name members: {error}") from error
