"""One member of a Raft cluster (Ongaro, Ousterhout: In Search of an Understandable Consensus Algorithm).

Time, randomness and the network are passed in; the journal is the only state that outlives the object. Three
rules hold everywhere, and a full disk can interrupt any line:

* the disk changes before memory does, and both before a message says so;
* term and vote have no copy outside the journal, and the role of an earlier term is given up before a later
  term is stored, so there is no moment at which a leader has a term it was not elected in;
* an entry leaves the journal only if the leader of the present term has another one in its place, and never
  if it is committed.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Collection

from etl_operator.node.consensus import snapshot, wire
from etl_operator.node.consensus.election import Inquiry, answer
from etl_operator.node.consensus.engine import (
    ConsensusError,
    LeadershipLost,
    NotLeader,
    Role,
    StateMachine,
    StorageCorrupt,
    StorageError,
    StorageFull,
)
from etl_operator.node.consensus.journal import DiskJournal
from etl_operator.node.consensus.matching import contradiction, disagreement
from etl_operator.node.consensus.progress import Progress
from etl_operator.node.consensus.settings import Timing

log = logging.getLogger(__name__)

Done = Callable[[object, ConsensusError | None], None]
"""Gets the state machine's answer, or why there is none."""

_COMPACT_AGAIN = 10.0
"""Seconds until the log is shortened again after there was no room for it."""
_INSTALL_AGAIN = 1.0
"""Seconds until a snapshot is taken again after there was no room for one."""
_LARGEST_SNAPSHOT = 2**30
"""Bytes of a snapshot that are kept while it is received."""


class Raft:
    """One member. Not thread-safe; driven by `tick` and `receive`, soon after each by `tick` again.

    :param node_id: this member, as in ``peers``.
    :param peers: the other members.
    :param machine: gets the stored snapshot at once, and committed commands as they come.
    :param send: takes a message for a member; it may get lost.
    :param clock: monotonic seconds.
    :param snapshot_every: entries between two snapshots.
    :raises StorageError: what is stored cannot be used.
    """

    def __init__(
        self,
        node_id: int,
        peers: Collection[int],
        timing: Timing,
        journal: DiskJournal,
        machine: StateMachine,
        *,
        send: Callable[[int, wire.Message], object],
        clock: Callable[[], float],
        chance: random.Random,
        snapshot_every: int,
    ) -> None:
        self._id = node_id
        self._peers = list(peers)
        self._timing = timing
        self._log = journal
        self._machine = machine
        self._transmit = send
        self._clock = clock
        self._chance = chance
        self._snapshot_every = snapshot_every
        self._inquiry = Inquiry(len(self._peers) + 1, timing)
        self.role = Role.FOLLOWER
        self.leader: int | None = None
        """Whom this member follows, itself if it leads."""
        self.leader_heard = float("-inf")
        """When the leader last wrote."""
        self.leader_commit = 0
        """The leader's commit index as last heard, this member's own if it leads."""
        self.commit = self.applied = self._recover()
        self._votes: set[int] = set()
        self._called = False
        self._connected: set[int] = set()
        self._progress: dict[int, Progress] = {}
        self._next_beat = 0.0
        self._queue: deque[tuple[bytes, Done]] = deque()
        self._waiting: dict[int, tuple[int, Done]] = {}
        self._parts: bytearray | None = None
        self._compact_at = self._install_at = float("-inf")
        self._election_deadline = 0.0
        self._await_leader()

    @property
    def term(self) -> int:
        """The present term, as stored."""
        return self._log.getCurrentTerm()

    def match_index(self, peer: int) -> int:
        """On the leader: the last entry known to be stored by ``peer``."""
        progress = self._progress.get(peer)
        return progress.match if progress else 0

    def up_to_date(self) -> bool:
        """All is applied here up to an entry that the present leader has committed in its own term.

        Committed entries of earlier terms alone prove nothing: a new leader does not know yet how many more
        there are.
        """
        return self.applied >= self.leader_commit and self._log.term_at(self.leader_commit) == self.term

    def connected(self, peer: int, up: bool) -> None:
        """``peer`` can, or can no longer, be sent to."""
        if up:
            self._connected.add(peer)
            return
        self._connected.discard(peer)
        if progress := self._progress.get(peer):
            progress.start_over(progress.match + 1)

    def propose(self, command: bytes, done: Done) -> None:
        """Append a command with the next tick.

        ``done`` gets `StorageFull` or `NotLeader` if it was not appended, `LeadershipLost` if its fate is not
        known.
        """
        self._queue.append((wire.REGULAR + command, done))

    def transfer(self) -> None:
        """Ask a member that has the whole log to lead. Best effort."""
        ready = [p for p in self._connected if self.match_index(p) == self._log.last]
        if self.role is Role.LEADER and ready:
            self._transmit(ready[0], wire.TimeoutNow(term=self.term))

    def stand_now(self) -> None:
        """Let the election timeout pass at once."""
        self._election_deadline = float("-inf")

    # Time.

    def tick(self) -> None:
        """Do what is due.

        :raises StorageFull: something was left undone; roles, term, log and state are sound.
        :raises StorageError: memory and disk may differ; the object must not be used any more.
        """
        if self.role is not Role.LEADER:
            self._refuse_queue(NotLeader("not the leader"))
            if self._clock() > self._election_deadline and self._may_stand():
                self._stand()
        if self.role is Role.LEADER:
            self._lead_on()
        self._apply()
        self._compact()

    def _lead_on(self) -> None:
        full = self._append_queue()
        now = self._clock()
        if heartbeat := now >= self._next_beat:
            self._next_beat = now + self._timing.heartbeat
        for peer in self._peers:
            self._replicate(peer, heartbeat=heartbeat)
        # While the entries travel. A leader that does not have them on disk must not count itself.
        self._log.sync()
        self._advance_commit()
        silent_since = now - self._timing.election_max
        heard = sum(progress.answered > silent_since for progress in self._progress.values())
        if not self._majority(heard + 1):
            self._step_down()
        if full is not None:
            if self._majority(len(self._connected)):  # This one may have no room to vote.
                self.transfer()
            raise full

    def _append_queue(self) -> StorageFull | None:
        while self._queue:
            command, done = self._queue.popleft()
            index, term = self._log.last + 1, self.term
            try:
                self._log.add(command, index, term)
            except StorageFull as error:
                done(None, error)
                self._refuse_queue(error)
                return error
            self._waiting[index] = (term, done)
        return None

    def _refuse_queue(self, error: ConsensusError) -> None:
        while self._queue:
            self._queue.popleft()[1](None, error)

    def _advance_commit(self) -> None:
        stored = sorted([self._log.last, *(progress.match for progress in self._progress.values())])
        index = stored[(len(stored) - 1) // 2]
        # Entries of earlier terms count only together with one of this term (Raft, section 5.4.2).
        if index > self.commit and self._log.term_at(index) == self.term:
            self.commit = index
        self.leader_commit = self.commit

    def _apply(self) -> None:
        while self.applied < self.commit:
            command, index, term = self._log[self.applied + 1 - self._log.first]
            regular = command[:1] == wire.REGULAR
            result = self._machine.apply(command[1:]) if regular else None
            self.applied = index
            proposed_in, done = self._waiting.pop(index, (0, None))
            if done is not None and proposed_in == term:
                done(result, None)

    # Roles.

    def _majority(self, members: int) -> bool:
        return 2 * members > len(self._peers) + 1

    def _await_leader(self) -> None:
        timing = self._timing
        self._election_deadline = self._clock() + self._chance.uniform(
            timing.election_min, timing.election_max
        )

    def _may_stand(self) -> bool:
        if not self._peers or self._called:
            return True
        verdict = self._inquiry.may_stand(self.term, self._log[-1], self._clock())
        if isinstance(verdict, wire.PreVote):
            for peer in self._peers:
                self._transmit(peer, verdict)
        return verdict is True

    def _stand(self) -> None:
        self._await_leader()
        self._called = False
        self.leader = None
        self._log.setCurrentTerm(self.term + 1, str(self._id))
        self.role = Role.CANDIDATE
        self._votes = {self._id}
        _, index, term = self._log[-1]
        for peer in self._peers:
            self._promise(peer, wire.RequestVote(term=self.term, last_log_index=index, last_log_term=term))
        self._count_votes()

    def _count_votes(self) -> None:
        if not self._majority(len(self._votes)):
            return
        try:
            # The first entry of a term commits all that earlier leaders left behind.
            self._log.add(wire.NO_OP, self._log.last + 1, self.term)
        except StorageFull:
            self._step_down()
            raise
        self.role, self.leader = Role.LEADER, self._id
        now = self._clock()
        self._progress = {peer: Progress(self._log.last, now) for peer in self._peers}
        self._next_beat = now

    def _step_down(self) -> None:
        """Follow nobody. What was proposed may still be committed by another leader."""
        self.role, self.leader = Role.FOLLOWER, None
        self._progress = {}
        self._await_leader()
        self._refuse_queue(NotLeader("not the leader"))
        waiting, self._waiting = self._waiting, {}
        for _, done in waiting.values():
            done(None, LeadershipLost("leadership was lost before the commit; the outcome is unknown"))

    def adopt_term(self, term: int) -> None:
        """Follow in a later term that someone else has reached."""
        if term <= self.term:
            return
        if self.role is not Role.FOLLOWER:
            self._step_down()
        self.leader, self._called, self._parts = None, False, None
        self._log.setCurrentTerm(term, None)

    # Messages.

    def receive(self, sender: int, message: wire.Message) -> None:
        """Handle a message of a member, in any order, any number of times.

        :raises StorageError: as `tick`.
        """
        term = self.term
        match message:
            case wire.PreVote():
                if reply := self._answer_pre_vote(message):
                    self._transmit(sender, reply)
            case wire.PreVoteGranted():
                self._inquiry.granted(sender, message.term, self._clock())
            case wire.StaleTerm():
                self.adopt_term(message.term)
            case wire.RequestVote() | wire.AppendEntries() | wire.InstallSnapshot() if message.term < term:
                self._transmit(sender, wire.StaleTerm(term=term))
            case wire.RequestVote():
                self._on_request_vote(sender, message)
            case wire.AppendEntries():
                self._on_append_entries(sender, message)
            case wire.InstallSnapshot():
                self._on_install_snapshot(sender, message)
            case wire.ResponseVote() if message.term == term and self.role is Role.CANDIDATE:
                self._votes.add(sender)
                self._count_votes()
            case wire.NextIndex() if message.term == term and self.role is Role.LEADER:
                self._progress[sender].answer(message, self._log.last, self._clock())
            case wire.TimeoutNow() if message.term == term and self.leader == sender:
                self._called = True
                self.stand_now()

    def _answer_pre_vote(self, question: wire.PreVote) -> wire.Message | None:
        heard = self._clock() - self.leader_heard < self._timing.election_min
        return answer(question, self.term, self._log[-1], led=heard or self.role is Role.LEADER)

    def _on_request_vote(self, sender: int, message: wire.RequestVote) -> None:
        self.adopt_term(message.term)
        voted_for = self._log.getVotedForNodeId()
        _, index, term = self._log[-1]
        if voted_for not in (None, str(sender)):
            return
        if (message.last_log_term, message.last_log_index) < (term, index):
            return
        if voted_for is None:
            self._log.setCurrentTerm(message.term, str(sender))
        self._await_leader()
        self._promise(sender, wire.ResponseVote(term=message.term))

    def _follow(self, leader: int, term: int) -> bool:
        """Take ``leader`` for the leader of ``term``, which is not before the present one."""
        self.adopt_term(term)
        if self.role is Role.LEADER:
            log.critical("node %d claims to lead in term %d, in which this node was elected", leader, term)
            return False
        if self.role is Role.CANDIDATE:
            self._step_down()
        self.leader, self.leader_heard = leader, self._clock()
        if not self._called:
            # The leader that asked this member to take over must not put that off.
            self._await_leader()
        return True

    def _on_append_entries(self, sender: int, message: wire.AppendEntries) -> None:
        if not self._follow(sender, message.term) or self._contradicts(sender, message):
            return
        self._parts = None
        self.leader_commit = message.commit_index
        if (next_index := disagreement(message, self._log, self.commit)) is not None:
            self._answer(sender, next_index, reset=True)
            return
        stored, full = self._store(message)
        # One that has no room says how far it got, so that its leader does not take it for dead.
        self._answer(sender, stored + 1, reset=full is not None, success=True)
        self.commit = max(self.commit, min(message.commit_index, stored))
        if full is not None:
            raise full

    def _contradicts(self, sender: int, message: wire.AppendEntries) -> bool:
        found = contradiction(message, self._log, self.commit)
        if found is not None:
            text = "refused to replace the committed entry %d of term %d by one of term %d from node %d"
            log.critical(text, *found, sender)
        return found is not None

    def _store(self, message: wire.AppendEntries) -> tuple[int, StorageFull | None]:
        """Store what is not here yet; up to which entry the logs are equal now, and what hindered the rest.

        Raft, section 5.3: entries that are here already stay, with all that follows them. Messages may come
        late or twice, and the later entries were acknowledged.
        """
        stored = message.prev_index
        for command, index, term in message.entries:
            known = self._log.term_at(index)
            try:
                if known is not None and known != term:
                    self._log.deleteEntriesFrom(index - self._log.first)
                    known = None
                if known is None and index > self.commit:
                    self._log.add(command, index, term)
            except StorageFull as error:
                return stored, error
            stored = index
        return stored, None

    def _on_install_snapshot(self, sender: int, message: wire.InstallSnapshot) -> None:
        if not self._follow(sender, message.term):
            return
        data, first, complete = message.part or (b"", False, False)
        if first:
            self._parts = bytearray() if self._clock() >= self._install_at else None
        if self._parts is not None:
            self._parts += data
            if not complete and len(self._parts) <= _LARGEST_SNAPSHOT:
                self._answer(sender, self._log.last + 1)
                return
        if self._parts is None and not complete:
            return
        received, self._parts = bytes(self._parts or b""), None
        found = snapshot.decode(received)
        if found is None or found.last[2] > message.term or not self._machine.valid(found.state):
            # A part got lost, for instance.
            self._answer(sender, self._log.last + 1, reset=True)
            return
        self._install(received, found)
        self._answer(sender, found.last[1] + 1, success=True)

    def _install(self, data: bytes, found: snapshot.Snapshot) -> None:
        if found.last[1] <= self.commit:
            return
        try:
            snapshot.store(self._log.files, data)
            self._covers = found.last[1]
            self._log.start_at(found.previous, found.last)
        except StorageFull:
            self._install_at = self._clock() + _INSTALL_AGAIN
            raise
        self._machine.restore(found.state)
        self.commit = self.applied = found.last[1]
        log.info("snapshot up to entry %d received", self.applied)

    def _answer(self, leader: int, next_index: int, *, reset: bool = False, success: bool = False) -> None:
        self._promise(
            leader, wire.NextIndex(term=self.term, next_index=next_index, reset=reset, success=success)
        )

    def _promise(self, peer: int, message: wire.Message) -> None:
        """Send what relies on the log."""
        self._log.sync()
        self._transmit(peer, message)

    def _replicate(self, peer: int, *, heartbeat: bool) -> None:
        if peer not in self._connected:
            return
        progress = self._progress[peer]
        message: wire.Message | None
        while True:
            if not progress.takes_snapshot and progress.next <= self._log.first:
                self._begin_snapshot(progress)
            if progress.takes_snapshot:
                message = progress.part(self.term, heartbeat=heartbeat)
            else:
                message = progress.batch(self._log, self.term, self.commit, heartbeat=heartbeat)
            if message is None:
                return
            self._transmit(peer, message)
            heartbeat = False

    def _begin_snapshot(self, progress: Progress) -> None:
        if not self._covers:
            progress.next = self._log.first + 1  # The first entry of all is the same everywhere.
            return
        try:
            progress.begin_snapshot(self._log.files.read(snapshot.FILE), self._covers)
        except OSError as error:
            raise StorageError(f"cannot read the snapshot: {error}") from error

    # Snapshots.

    def _recover(self) -> int:
        """Read what is stored; the last entry in the state then."""
        stored = snapshot.load(self._log.files)
        self._covers = stored.last[1] if stored else 0
        if stored is not None:
            self._begin_behind(stored)
            self._machine.restore(stored.state)
        elif not len(self._log):
            self._log.add(wire.NO_OP, 1, 0)
            self._log.sync()
        elif self._log.first > 1:
            raise StorageCorrupt(f"the journal begins at entry {self._log.first}, and there is no snapshot")
        last_term = self._log[-1][2]
        if last_term > self.term:  # Earlier versions could store an entry of a term they had not stored.
            self._log.setCurrentTerm(last_term, None)
        return self._covers or 1

    def _begin_behind(self, stored: snapshot.Snapshot) -> None:
        try:
            self._log.start_at(stored.previous, stored.last)
        except StorageFull:
            # Nothing in the journal counts beside the snapshot, so it can make the room itself.
            self._log.deleteEntriesFrom(0)
            self._log.start_at(stored.previous, stored.last)

    def _compact(self) -> None:
        """Write a snapshot and shorten the log once enough of it is applied."""
        position = self.applied - self._log.first
        if position <= self._snapshot_every or self._clock() < self._compact_at:
            return
        previous, last = self._log[position - 1 : position + 1]
        data = snapshot.encode(snapshot.Snapshot(last, previous, self._machine.snapshot()))
        try:
            snapshot.store(self._log.files, data)
            self._covers = last[1]
            # Members a little behind need a few entries, not a snapshot.
            self._log.deleteEntriesTo(position - 1 - self._snapshot_every // 10)
        except StorageFull as error:
            self._compact_at = self._clock() + _COMPACT_AGAIN
            log.error("%s; the journal keeps growing", error)
            return
        log.info("snapshot written up to entry %d", last[1])
