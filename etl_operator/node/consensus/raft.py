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

from etl_operator.node.consensus import configuration as conf
from etl_operator.node.consensus import snapshot, wire
from etl_operator.node.consensus.election import Inquiry, answer
from etl_operator.node.consensus.engine import (
    ChangeRefused,
    ConsensusError,
    LeadershipLost,
    NotLeader,
    Role,
    StateMachine,
    StorageError,
    StorageFull,
)
from etl_operator.node.consensus.journal import DiskJournal
from etl_operator.node.consensus.matching import contradiction, disagreement
from etl_operator.node.consensus.progress import Progress
from etl_operator.node.consensus.replica import Replica
from etl_operator.node.consensus.settings import Timing

log = logging.getLogger(__name__)

Done = Callable[[object, ConsensusError | None], None]
"""Gets the state machine's answer, or why there is none."""


class Raft(Replica):
    """One member. Not thread-safe; driven by `tick` and `receive`, soon after each by `tick` again.

    :param peers: the other members by the flags.
    :param send: takes a message for a member; it may get lost.
    :param existing: the cluster has had all its members: with an empty directory this node founds none.

    The other parameters and errors are those of `Replica`.
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
        existing: bool = False,
    ) -> None:
        super().__init__(node_id, peers, journal, machine, clock=clock, snapshot_every=snapshot_every)
        self._timing = timing
        self._transmit = send
        self._chance = chance
        self.existing = existing
        """The cluster has had all its members."""
        self._inquiry = Inquiry(lambda granted: self.members.majority([self._id, *granted]), timing)
        self.role = Role.FOLLOWER
        self.leader: int | None = None
        """Whom this member follows, itself if it leads."""
        self.leader_heard = float("-inf")
        """When the leader last wrote."""
        self.leader_commit = 0
        """The leader's commit index as last heard, this member's own if it leads."""
        self._votes: set[int] = set()
        self._called = False
        self._connected: set[int] = set()
        self._progress: dict[int, Progress] = {}
        self._next_beat = 0.0
        self._queue: deque[tuple[bytes, Done]] = deque()
        self._waiting: dict[int, tuple[int, Done]] = {}
        self._parts = snapshot.Parts()
        self._election_deadline = 0.0
        self._await_leader()

    @property
    def alone(self) -> bool:
        """No other member votes."""
        return self.members.voters == {self._id}

    def progress_of(self, peer: int) -> Progress | None:
        """On the leader: what it knows of a member."""
        return self._progress.get(peer)

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

    def change(self, change: conf.Kind, member: int, done: Done, address: str = "") -> None:
        """Change the members by one. ``done`` as in `propose`, or gets `ChangeRefused`.

        One change at a time, each by one member: any two majorities of the old and the new members overlap.
        And none before an entry of this term is committed: otherwise a leader of an earlier term could have
        begun a change that this one does not know, and two changes of the same members need not overlap
        (Ongaro, raft-dev, 2015: bug in single-server membership changes).
        """
        if self.role is not Role.LEADER:
            done(None, NotLeader("not the leader"))
            return
        try:
            members = self.members.changed(change, member, address)
        except ValueError as error:
            done(None, ChangeRefused(str(error)))
            return
        if problem := self._unsettled() or self._unfit(change, member):
            done(None, ChangeRefused(problem))
            return
        index, term = self._log.last + 1, self.term
        try:
            self._add(conf.NO_OP + conf.encode(members), index, term)
        except StorageFull as error:
            done(None, error)
        else:
            self._waiting[index] = (term, done)

    def _unsettled(self) -> str:
        """Why the members cannot be changed now, or ""."""
        if self._configurations.index > self.commit:
            return "another change is in progress"
        if self._log.term_at(self.commit) != self.term:
            return "nothing is committed in this term yet"
        return ""

    def _unfit(self, change: conf.Kind, member: int) -> str:
        """Why this member is not the one to change, or ""."""
        progress = self._progress.get(member)
        if change == "remove" and member == self._id:
            return "the leader does not remove itself"
        if change != "promote" or (
            progress is not None and not progress.blank and progress.match >= self._configurations.index
        ):
            return ""
        return f"node {member} has not caught up"

    def transfer(self, to: Collection[int] = ()) -> None:
        """Ask a voter that has the whole log to lead. Best effort.

        :param to: one of these; any if empty.
        """
        voters = self.members.voters.intersection(to or self.members.voters)
        ready = [p for p in self._connected if p in voters and self.match_index(p) == self._log.last]
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
        self._follow_members()
        for peer in self._progress:
            self._replicate(peer, heartbeat=heartbeat)
        # While the entries travel. A leader that does not have them on disk must not count itself.
        self._log.sync()
        self._advance_commit()
        silent_since = now - self._timing.election_max
        there = {p: one for p, one in self._progress.items() if not one.blank}
        if not self.members.majority(
            [self._id, *(peer for peer, progress in there.items() if progress.answered > silent_since)]
        ):
            self._step_down()
        if full is not None:
            if self.members.majority(self._connected):  # This one may have no room to vote.
                self.transfer()
            raise full

    def _follow_members(self) -> None:
        """Lead those who are members now, and nobody else."""
        others = self.members.members - {self._id}
        if others != self._progress.keys():
            now = self._clock()
            self._progress = {
                p: self._progress.get(p) or Progress(self._log.last, now) for p in sorted(others)
            }

    def _append_queue(self) -> StorageFull | None:
        while self._queue:
            command, done = self._queue.popleft()
            index, term = self._log.last + 1, self.term
            try:
                self._add(command, index, term)
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
        stored = sorted(
            self._log.last if voter == self._id else self.match_index(voter) for voter in self.members.voters
        )
        index = stored[(len(stored) - 1) // 2]
        # Entries of earlier terms count only together with one of this term (Raft, section 5.4.2).
        if index > self.commit and self._log.term_at(index) == self.term:
            self.commit = index
        self.leader_commit = self.commit

    def _applied(self, index: int, term: int, result: object) -> None:
        proposed_in, done = self._waiting.pop(index, (0, None))
        if done is not None and proposed_in == term:
            done(result, None)

    # Roles.

    def _await_leader(self) -> None:
        timing = self._timing
        self._election_deadline = self._clock() + self._chance.uniform(
            timing.election_min, timing.election_max
        )

    def _may_stand(self) -> bool:
        if self._id not in self.members.voters or (self.joining and not self._may_found()):
            return False
        if self.alone or self._called:
            return True
        verdict = self._inquiry.may_stand(self.term, self._log[-1], self._clock())
        if isinstance(verdict, wire.PreVote):
            for peer in self._others():
                self._transmit(peer, verdict)
        return verdict is True

    def _others(self) -> list[int]:
        return sorted(self.members.voters - {self._id})

    def _may_found(self) -> bool:
        """This node has nothing, and may vote for one of those that have nothing either."""
        return not self.existing and self._admission.waiting and self._log.last == 1

    def _stand(self) -> None:
        self._await_leader()
        self._called = False
        self.leader = None
        self._log.setCurrentTerm(self.term + 1, str(self._id))
        self._admission.end()
        self.role = Role.CANDIDATE
        self._votes = {self._id}
        _, index, term = self._log[-1]
        for peer in self._others():
            self._promise(peer, wire.RequestVote(term=self.term, last_log_index=index, last_log_term=term))
        self._count_votes()

    def _count_votes(self) -> None:
        if not self.members.majority(self._votes):
            return
        # The first leader writes down who the members are.
        named = b"" if self.members_named else conf.encode(self.members)
        try:
            # The first entry of a term commits all that earlier leaders left behind.
            self._add(conf.NO_OP + named, self._log.last + 1, self.term)
        except StorageFull:
            self._step_down()
            raise
        self.role, self.leader = Role.LEADER, self._id
        now = self._clock()
        self._progress = {}
        self._follow_members()
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
        self.leader, self._called = None, False
        self._parts.drop()
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
                self._on_answer(sender, message)
            case wire.Admit() if message.term >= term:
                self._on_admit(sender, message)
            case wire.TimeoutNow() if message.term == term and self.leader == sender:
                self._called = True
                self.stand_now()

    def _on_answer(self, sender: int, message: wire.NextIndex) -> None:
        progress = self._progress.get(sender)
        if progress is None:
            return
        if message.next_index > 1:
            progress.answer(message, self._log.last, self._clock())
            return
        progress.is_blank(self._log.last, self._clock(), latecomer=not message.reset)
        if sender not in self.members.voters and self._configurations.index <= self.commit:
            self._transmit(sender, wire.Admit(term=self.term, since=self._configurations.index))

    def _on_admit(self, sender: int, message: wire.Admit) -> None:
        if self._follow(sender, message.term):
            self._admission.admit(message.since)
            self._answer(sender, self._log.last + 1, reset=True)

    def _refuses_entries(self, sender: int) -> bool:
        """Whether this node is blank and not admitted; the leader gets to know."""
        if self._admission.waiting:
            self._answer(sender, 1, reset=self.existing)
        return self._admission.waiting

    def _may_vote(self, last_log_index: int) -> bool:
        return not self.joining or (self._may_found() and last_log_index == 1)

    def _answer_pre_vote(self, question: wire.PreVote) -> wire.Message | None:
        if not self._may_vote(question.last_log_index):
            return None
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
        if not self._may_vote(message.last_log_index):
            return
        if voted_for is None:
            self._log.setCurrentTerm(message.term, str(sender))
        self._admission.end()
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
        if self._refuses_entries(sender):
            return
        self._parts.drop()
        self.leader_commit = message.commit_index
        if (next_index := disagreement(message, self._log, self.commit)) is not None:
            self._answer(sender, next_index, reset=True)
            return
        stored, full = self._store(message)
        # One that has no room says how far it got, so that its leader does not take it for dead.
        self._answer(sender, stored + 1, reset=full is not None, success=True)
        self.commit = max(self.commit, min(message.commit_index, stored))
        self._admission.reached(stored)
        if full is not None:
            raise full

    def _contradicts(self, sender: int, message: wire.AppendEntries) -> bool:
        found = contradiction(message, self._log, self.commit)
        if found is not None:
            text = "refused to replace the committed entry %d of term %d by one of term %d from node %d"
            log.critical(text, *found, sender)
        return found is not None

    def _on_install_snapshot(self, sender: int, message: wire.InstallSnapshot) -> None:
        if not self._follow(sender, message.term) or self._refuses_entries(sender):
            return
        data, first, last = message.part or (b"", False, False)
        if first:
            self._parts.begin(wanted=self._clock() >= self._install_at)
        received = self._parts.take(data, last=last)
        if received is None:
            if self._parts.coming:
                self._answer(sender, self._log.last + 1)
            return
        found = snapshot.decode(received)
        if found is None or found.last[2] > message.term or not self._machine.valid(found.state):
            # A part got lost, for instance.
            self._answer(sender, self._log.last + 1, reset=True)
            return
        self._install(received, found)
        self._admission.reached(found.last[1])
        self._answer(sender, found.last[1] + 1, success=True)

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
            behind = progress.next <= self._log.first and not progress.blank
            if not progress.takes_snapshot and behind:
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
