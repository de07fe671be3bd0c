"""Engines with a fault put back, to see that the model finds it.

The first two lost acknowledged writes in earlier versions. The others are what Raft's proof rests on.
"""

from __future__ import annotations

from etl_operator.node.consensus import snapshot, wire
from etl_operator.node.consensus.engine import Role, StorageFull
from etl_operator.node.consensus.journal import DiskJournal, _Vote, _vote_checksum
from etl_operator.node.consensus.member import Member
from etl_operator.node.consensus.raft import Raft


class _TermInMemoryFirst(DiskJournal):
    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        self._vote = _Vote(term, votedForNodeId, _vote_checksum(term, votedForNodeId))
        super().setCurrentTerm(term, votedForNodeId)


class _KeepsItsRole(Raft):
    def adopt_term(self, term: int) -> None:
        if term > self.term:
            self._log.setCurrentTerm(term, None)
            if self.role is not Role.FOLLOWER:
                self._step_down()
            self.leader = None


class LeaderWithAFullDisk(Member):
    """A later term is in memory although it could not be stored, and the leader goes on in it."""

    journal_type = _TermInMemoryFirst
    raft_type = _KeepsItsRole


class _ReplacesTheTail(Raft):
    def _store(self, message: wire.AppendEntries) -> tuple[int, StorageFull | None]:
        position = message.prev_index + 1 - self._log.first
        if 0 < position < len(self._log):
            self._log.deleteEntriesFrom(position)
        return super()._store(message)


class ShorterBatch(Member):
    """A follower drops what follows the last entry of a message."""

    raft_type = _ReplacesTheTail


class _CountsVotesTwice(Raft):
    def receive(self, sender: int, message: wire.Message) -> None:
        if isinstance(message, wire.ResponseVote) and sender in self._votes:
            sender = next((one for one in self._others() if one not in self._votes), sender)
        super().receive(sender, message)


class RepeatedVote(Member):
    """A vote that arrives twice counts twice."""

    raft_type = _CountsVotesTwice


class _CommitsAllItHas(Raft):
    def _on_append_entries(self, sender: int, message: wire.AppendEntries) -> None:
        super()._on_append_entries(sender, message)
        if self.leader == sender and message.term == self.term:
            self.commit = max(self.commit, min(message.commit_index, self._log.last))


class UncheckedTail(Member):
    """A follower commits entries that the leader has not compared with its own."""

    raft_type = _CommitsAllItHas


class _KeepsVotesInMemory(DiskJournal):
    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        if votedForNodeId is None:
            super().setCurrentTerm(term, None)
        self._vote = _Vote(term, votedForNodeId, _vote_checksum(term, votedForNodeId))


class ForgottenVote(Member):
    """A restarted member has forgotten whom it voted for."""

    journal_type = _KeepsVotesInMemory


class _NeverFlushes(DiskJournal):
    def _flush(self) -> None:
        self._dirty = False


class Unflushed(Member):
    """Entries are vouched for while they are in the operating system's memory only."""

    journal_type = _NeverFlushes


class _AnySnapshot(Raft):
    def _install(self, data: bytes, found: snapshot.Snapshot) -> None:
        snapshot.store(self._log.files, data)
        self._covers = found.last[1]
        self._log._rewrite([found.previous, found.last])
        self._read_members(found)
        self._machine.restore(found.state)
        self.commit = self.applied = found.last[1]


class LateSnapshot(Member):
    """A snapshot that arrives late or twice replaces a longer log."""

    raft_type = _AnySnapshot


class _VotesWithoutData(Raft):
    def _may_vote(self, last_log_index: int) -> bool:
        return True


class BlankVote(Member):
    """A member that lost its volume votes as if it had not."""

    raft_type = _VotesWithoutData


class _FoundsAgain(Raft):
    def _may_found(self) -> bool:
        return self._admission.waiting and self._log.last == 1

    def _refuses_entries(self, sender: int) -> bool:
        self._admission.end()
        return False


class ReturnsAsItWas(Member):
    """A member that lost its volume goes on as the voter it was, once a leader has written to it."""

    raft_type = _FoundsAgain


MUTANTS: list[type[Member]] = [
    LeaderWithAFullDisk,
    ShorterBatch,
    RepeatedVote,
    UncheckedTail,
    ForgottenVote,
    Unflushed,
    LateSnapshot,
    BlankVote,
    ReturnsAsItWas,
]
