"""What a node asks of its consensus engine, and what an engine asks of the replicated state machine.

Errors, as a tree::

    ConsensusError
    ├── NotLeader           not proposed; another node may take it
    ├── OutcomeUnknown      proposed, but whether it will be applied is not known
    │   ├── CommitTimeout       no majority answered in time
    │   ├── LeadershipLost      this node stopped leading before the commit
    │   └── Unanswered          another member was asked and gave no answer
    ├── ChangeRefused       a change of the members that cannot begin now; nothing was changed
    ├── NotReady            the state is not loaded yet
    ├── StorageError        the disk
    │   ├── StorageFull         no room for the entry; the node continues, the proposal failed
    │   ├── StorageCorrupt      what is on disk cannot be trusted; the node must not start
    │   └── StorageBusy         another process has the directory
    └── EngineFault         a bug; the process must end, and start again from what is on disk
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

from etl_operator.node.consensus.address import Address


class ConsensusError(Exception):
    """Base of everything an engine raises."""


class NotLeader(ConsensusError):
    """The proposal was not made, or is known to be discarded: safe to retry on another node."""


class OutcomeUnknown(ConsensusError):
    """The proposal may or may not be applied later. Retry only what is idempotent."""


class CommitTimeout(OutcomeUnknown):
    """No majority stored the proposal in time."""


class LeadershipLost(OutcomeUnknown):
    """This node stopped leading before the proposal was committed."""


class Unanswered(OutcomeUnknown):
    """Another member was asked and gave no answer, or could not."""


class ChangeRefused(ConsensusError):
    """A change of the members was not begun: one is in progress, or it is not possible; the text says why."""


class NotReady(ConsensusError):
    """The node has not caught up with its cluster since it started (or was elected)."""


class StorageError(ConsensusError):
    """The disk failed. Unless a subclass says otherwise the node stops: memory and disk may differ."""


class StorageFull(StorageError):
    """No room. What was stored stays stored and memory equals it; the node keeps serving reads.

    A proposal that fails with this was not made.
    """


class StorageCorrupt(StorageError):
    """Stored data is damaged where acknowledged entries may be; the text says what to do."""


class StorageBusy(StorageError):
    """Another process uses the data directory."""


class EngineFault(ConsensusError):
    """The engine failed in a way nobody foresaw. Memory cannot be trusted any more; the disk can."""


class Role(Enum):
    """What a member does in its current term."""

    LEADER = "leader"
    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    LEARNER = "learner"
    """Receives the log, and neither votes nor counts for a majority."""
    UNKNOWN = "unknown"
    """Not heard of lately."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member as this node sees it."""

    node_id: int
    address: str
    """``host:port`` of its Raft listener, as configured."""
    role: Role
    healthy: bool
    """Heard of within the longest election timeout. This node itself always is."""
    match_index: int
    """Last log index known to be stored there: exact on the leader, as last reported elsewhere."""
    last_contact: float | None
    """Wall-clock seconds since 1970 of its last sign of life; None if there was none."""
    voter: bool = True
    """It votes and counts for a majority. False: a learner."""
    blank: bool = False
    """It says that its data directory is empty, and waits until it is added as a learner. Known to the leader
    only."""
    latecomer: bool = False
    """Blank, and started for a cluster that may never have had all its members: it did not lose anything."""


@dataclass(frozen=True, slots=True)
class Status:
    """One consistent look at the engine."""

    node_id: int
    leader_id: int | None
    role: Role
    term: int
    commit_index: int
    applied_index: int
    members: tuple[Member, ...]
    """Sorted by id: those of the log, or of the flags while the log names none. Without this node if it is
    not a member."""
    caught_up: bool
    """Everything acknowledged before this node started is applied here."""

    @property
    def has_quorum(self) -> bool:
        """A majority of the voters is healthy."""
        voters = [member for member in self.members if member.voter]
        return 2 * sum(member.healthy for member in voters) > len(voters)


@dataclass(frozen=True, slots=True)
class Expected:
    """The members as the flags say: what the leader makes the membership of the log equal to."""

    members: Mapping[int, Address]
    """All of them by id, this node included."""
    existing: bool = False
    """The cluster has had all its members. A node with an empty data directory then waits to be added as a
    learner; otherwise it may also found the cluster, with a majority of others that are empty."""
    replace_lost: bool = True
    """A voter that returns with an empty data directory is removed and added again."""


class StateMachine(Protocol):
    """The replicated state. Every method is deterministic and raises nothing."""

    def apply(self, command: bytes) -> object:
        """Apply a committed command and return what the proposer gets."""

    def snapshot(self) -> bytes:
        """The whole state."""

    def valid(self, data: bytes) -> bool:
        """Whether `restore` can take ``data``. Asked of what another node sent, before it is stored."""

    def restore(self, data: bytes) -> None:
        """Replace the whole state by what `snapshot` returned, here or on another node."""


class ConsensusEngine(Protocol):
    """A replicated log in front of a `StateMachine`. All runs on the event loop that called `start`."""

    async def start(self) -> None:
        """Open the storage and take part in the cluster.

        :raises StorageError: the data directory is not usable.
        :raises OSError: the listener cannot be bound.
        """

    async def stop(self) -> None:
        """Hand leadership over if this node leads, and leave. Idempotent."""

    async def propose(self, command: bytes, *, within: float = 5.0) -> object:
        """Replicate a command; returns the state machine's answer once it is committed and applied here.

        :param within: seconds until the outcome is reported as unknown.
        :raises ConsensusError: see the tree above.
        """

    async def read_barrier(self, *, within: float = 5.0) -> None:
        """Wait until local reads cannot miss what was acknowledged before this node started or was elected.

        :raises NotReady: after ``within`` seconds.
        """

    async def hand_over(self) -> None:
        """If this node leads, ask another member to; best effort, returns when that is settled."""

    async def ask(self, member: int, topic: str, body: bytes, *, within: float) -> bytes:
        """Ask another member something that the engine does not understand.

        :raises Unanswered: it gave no answer within so many seconds, or could not.
        """

    def answer(self, topic: str, handler: Callable[[int, bytes], Awaitable[bytes]]) -> None:
        """Answer other members' questions.

        :param handler: gets the member's id and the question; what it raises is the other's `Unanswered`.
        """

    def status(self) -> Status:
        """The present state, from memory."""

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever role, leader, term or readiness changed."""

    @property
    def flushes(self) -> int:
        """Writes to disk for proposals since the start, each of which can have many."""

    async def failed(self) -> ConsensusError:
        """Wait until the engine has stopped itself, and say why. The process must then end."""


@runtime_checkable
class MembershipEngine(ConsensusEngine, Protocol):
    """An engine whose members are those of its log, and become what the flags say while it runs.

    It owns a `membership.MembershipLoop`, which calls the last three methods on the leader.
    """

    async def hand_over(self, to: Collection[int] = ()) -> None:
        """If this node leads, ask another voter to; best effort, returns when that is settled.

        :param to: only one of these; any voter if empty.
        """

    def expect(self, expected: Expected) -> None:
        """The flags have changed, or were read again. The leader then changes one member at a time, as
        `membership.next_change` says.
        """

    async def add_learner(self, member: int, address: Address, *, within: float = 5.0) -> None:
        """Add a member that receives the log and does not vote. Returns once that is committed.

        :raises NotLeader: as `propose`.
        :raises ChangeRefused: it is a member, another change is in progress, or the leader has not committed
            an entry of its own term yet.
        :raises OutcomeUnknown: as `propose`.
        """

    async def promote(self, member: int, *, within: float = 5.0) -> None:
        """Make a learner a voter. Returns once that is committed.

        :raises ConsensusError: as `add_learner`; `ChangeRefused` also while it has not caught up.
        """

    async def remove(self, member: int, *, within: float = 5.0) -> None:
        """Remove a voter or a learner. Returns once that is committed.

        :raises ConsensusError: as `add_learner`; `ChangeRefused` also for the leader itself.
        """
