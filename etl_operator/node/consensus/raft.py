"""pysyncobj's Raft, with everything around its algorithm replaced.

What stays pysyncobj's: elections, replication, commitment, log compaction. What is replaced, and by what:

* journal and snapshots: `journal`, `snapshot` (its own are not flushed; snapshots are pickles);
* wire and sockets: `wire`, `transport` (its own are pickles over blocking DNS);
* applying entries: bytes straight to the state machine (its own unpickles method calls);
* standing for election: only after a majority said it would vote (its own raises the term of a healthy
  cluster whenever a node was out of touch).

pysyncobj offers no hooks for the last two and for the journal, so a few of its private names are used, all of
them in this file. `missing_names` tells whether the installed version still has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pysyncobj.syncobj as library
from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf
from pysyncobj.node import Node
from pysyncobj.serializer import Serializer
from pysyncobj.transport import Transport

from etl_operator.node.consensus.engine import Role
from etl_operator.node.consensus.journal import DiskJournal
from etl_operator.node.consensus.settings import Timing
from etl_operator.node.consensus.wire import MAX_COMMAND

_REGULAR = 0
_NEVER = 10.0**9
_PART = 2**20
"""Bytes of a part of a snapshot."""
_ROLES = {0: Role.FOLLOWER, 1: Role.CANDIDATE, 2: Role.LEADER}
_PRIVATE_METHODS = (
    "_SyncObj__doApplyCommand",
    "_SyncObj__connectedToAnyone",
    "_SyncObj__setCurrentTerm",
    "_SyncObj__setState",
)
_PRIVATE_ATTRIBUTES = (
    "_SyncObj__raftElectionDeadline",
    "_SyncObj__raftLeader",
    "_SyncObj__newAppendEntriesTime",
    "_SyncObj__transferInProgress",
    "_SyncObj__leaderCommitIndex",
    "_SyncObj__raftMatchIndex",
)


class _Settings(SyncObjConf):  # type: ignore[misc]
    def validate(self) -> None:
        """`Timing` has checked; pysyncobj's own check refuses a heartbeat of a third of the timeout."""


class LibraryTransport(Transport):  # type: ignore[misc]
    """pysyncobj's view of the transport: messages go to ``outgoing`` and come by the methods here."""

    def __init__(self, outgoing: Callable[[Node, dict[str, Any]], bool]) -> None:
        super().__init__(None, None, [])
        self._outgoing = outgoing

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        """Called by pysyncobj."""
        if message["type"] == "apply_command":
            # A proposal queued just before leadership was lost. Forwarding it could apply it twice.
            refusal = {"request_id": message.get("request_id"), "error": FAIL_REASON.NOT_LEADER}
            self._onMessageReceived(node, {"type": "apply_command_response", **refusal})
            return True
        return self._outgoing(node, message)

    def received(self, node: Node, message: dict[str, Any]) -> None:
        """A message of ``node`` has arrived."""
        self._onMessageReceived(node, message)

    def connected(self, node: Node, up: bool) -> None:
        """``node`` can, or can no longer, be sent to."""
        if up:
            self._onNodeConnected(node)
        else:
            self._onNodeDisconnected(node)


class _Snapshots(Serializer):  # type: ignore[misc]
    """Sends snapshots from memory; pysyncobj's own leaves the file open."""

    def __init__(self, file: str, *rest: Any) -> None:
        super().__init__(file, *rest)
        self._file = Path(file)
        self._sending: dict[Node, list[tuple[bytes, bool, bool]]] = {}

    def getTransmissionData(self, transmissionID: Node) -> tuple[bytes, bool, bool] | None:
        """The next part for a member: data, is it the first, is it the (empty) last."""
        if transmissionID not in self._sending:
            data = self._file.read_bytes()
            parts = [data[i : i + _PART] for i in range(0, len(data), _PART)]
            numbered = [(part, number == 0, False) for number, part in enumerate(parts)]
            self._sending[transmissionID] = [(b"", False, True), *reversed(numbered)]
        part = self._sending[transmissionID].pop()
        if not self._sending[transmissionID]:
            del self._sending[transmissionID]
        return part

    def cancelTransmisstion(self, id: Node) -> None:
        """The member is gone; start over when it is back."""
        self._sending.pop(id, None)


class Raft(SyncObj):  # type: ignore[misc]
    """One member. Not thread-safe; driven by `doTick` and the transport.

    :param apply: called with each committed command.
    :param may_stand: asked once the election timeout has passed, again and again until it says yes.
    :param serialize: writes a snapshot: file name, (last entry, entry before, members).
    :param deserialize: reads one: file name -> the same tuple.
    """

    def __init__(
        self,
        node_id: int,
        peers: Iterable[int],
        timing: Timing,
        journal: DiskJournal,
        transport: LibraryTransport,
        *,
        snapshot_file: Path,
        snapshot_every: int,
        apply: Callable[[bytes], object],
        may_stand: Callable[[], bool],
        serialize: Callable[[str, Any], None],
        deserialize: Callable[[str], tuple[Any, ...]],
    ) -> None:
        self._apply = apply
        self._may_stand = may_stand
        settings = _Settings(
            autoTick=False,
            raftMinTimeout=timing.election_min,
            raftMaxTimeout=max(timing.election_max, timing.election_min * 1.1),
            appendEntriesPeriod=timing.heartbeat,
            leaderFallbackTimeout=timing.election_max,
            # Above the largest entry: pysyncobj would pickle one that fills a batch.
            appendEntriesBatchSizeBytes=MAX_COMMAND + 1,
            commandsWaitLeader=False,
            # By number of entries only: a quiet cluster has no reason to write snapshots.
            logCompactionMinEntries=snapshot_every,
            logCompactionMinTime=_NEVER,
            fullDumpFile=str(snapshot_file),
            serializer=serialize,
            deserializer=deserialize,
        )
        with _parts(createJournal=lambda _: journal, Serializer=_Snapshots):
            others = [node(peer) for peer in peers]
            super().__init__(node(node_id), others, settings, nodeClass=Node, transport=transport)

    def propose(self, command: bytes, done: Callable[[object, int], None]) -> None:
        """Queue a command; ``done`` gets the answer and a ``FAIL_REASON``."""
        self._applyCommand(command, done, _REGULAR)

    def role(self) -> Role:
        """What this member does at the moment."""
        return _ROLES[self.getStatus()["state"]]

    def leader(self) -> int | None:
        """The leader this member follows, itself included; None without one."""
        leader = self._SyncObj__raftLeader
        return None if leader is None else int(leader.id)

    def match_index(self, peer: int) -> int:
        """On the leader: the last entry known to be stored by ``peer``."""
        return int(self._SyncObj__raftMatchIndex.get(node(peer), 0))

    def leader_commit(self) -> int:
        """The leader's commit index as last heard, this member's own if it leads; 0 before that."""
        return int(self._SyncObj__leaderCommitIndex or 0)

    def leaving_leader_called(self) -> bool:
        """The leader asked this member to take over."""
        return bool(self._SyncObj__transferInProgress)

    def stand_now(self) -> None:
        """Let the election timeout pass at once."""
        self._SyncObj__raftElectionDeadline = 0

    def replicate_now(self) -> None:
        """Do not wait for the next heartbeat with what is new."""
        self._SyncObj__newAppendEntriesTime = 0

    def adopt_term(self, term: int) -> None:
        """Follow in a later term that somebody else has reached."""
        if term > self.raftCurrentTerm:
            self._SyncObj__setCurrentTerm(term, None)
            self._SyncObj__setState(0)
            self._SyncObj__raftLeader = None

    def _SyncObj__doApplyCommand(self, command: bytes) -> object:
        return self._apply(command[1:]) if command[:1] == bytes([_REGULAR]) else None

    def _SyncObj__connectedToAnyone(self) -> bool:
        return self._may_stand()


def node(node_id: int) -> Node:
    """A member as pysyncobj names it: by id, so that votes and logs survive a change of address."""
    return Node(str(node_id))


@contextmanager
def _parts(**replacements: Any) -> Iterator[None]:
    """Have pysyncobj build a member from other parts than its own."""
    originals = {name: getattr(library, name) for name in replacements}
    vars(library).update(replacements)
    try:
        yield
    finally:
        vars(library).update(originals)


def missing_names(raft: Raft) -> list[str]:
    """Private names of pysyncobj this file relies on that the installed version lacks."""
    methods = [name for name in _PRIVATE_METHODS if not hasattr(SyncObj, name)]
    return methods + [name for name in _PRIVATE_ATTRIBUTES if name not in vars(raft)]
