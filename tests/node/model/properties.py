"""What must hold in every history: Raft's five safety properties (figure 3 of the paper), and some more.

The code under test runs behind a guard that swallows exceptions, so a breach is noted here and raised by the
history between two events.
"""

from __future__ import annotations

import logging
import zlib
from collections import defaultdict

from etl_operator.node.consensus import wire
from etl_operator.node.consensus.engine import Role
from etl_operator.node.consensus.journal import DiskJournal, Entry
from etl_operator.node.consensus.raft import Raft


class Violation(AssertionError):
    """A promise was broken."""


class Properties:
    """Sees all members at once, which no member does."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.acknowledged: set[bytes] = set()
        self.refused: set[bytes] = set()
        """Commands whose proposer was told that they were not appended."""
        self.applied: list[bytes] = []
        self.digests = [0]
        self._leaders: dict[int, int] = {}
        self._entries: dict[tuple[int, int], tuple[bytes, int]] = {}
        self._committed: list[tuple[int, int]] = [(0, 0), (0, 0)]
        """By index: the entry's term, and the term in which it was first seen committed."""
        self._roles: dict[int, Role] = {}
        self._commits: dict[int, int] = {}
        self._votes: dict[tuple[int, int], int] = {}
        self._vouched: dict[int, tuple[int, int]] = {}
        """By member: the term of its last answers, and the last entry it vouched for in that term."""
        self.counts: dict[str, int] = defaultdict(int)

    def violated(self, text: str) -> None:
        self.violations.append(text)

    # What members do.

    def stored(self, before: Entry, entry: Entry) -> None:
        """Log matching: an index and a term stand for one command and one entry before it."""
        command, index, term = entry
        known = self._entries.setdefault((index, term), (command, before[2]))
        if known != (command, before[2]):
            self.violated(
                f"log matching: entry {index} of term {term} is {known} and {command!r}, {before[2]}"
            )

    def removed(self, node: int, raft: Raft, first: int) -> None:
        """Leader append-only; and a follower keeps what it vouched for while the leader is the same."""
        if raft.role is Role.LEADER:
            self.violated(f"leader append-only: node {node} removes entries from {first} on")
        term, last = self._vouched.get(node, (0, 0))
        if raft.term == term and first <= last:
            self.violated(f"node {node} removes entry {first} in term {term}, having vouched for {last}")
        self.counts["entries replaced"] += 1

    def rewritten(self, node: int, raft: Raft, last: int) -> None:
        """A snapshot takes the place of the log only up to its own end."""
        term, vouched = self._vouched.get(node, (0, 0))
        if raft.term == term and last < vouched:
            self.violated(
                f"node {node} keeps entries up to {last} only in term {term}, having vouched for {vouched}"
            )

    def sends(self, node: int, raft: Raft, peer: int, message: wire.Message) -> None:
        """One vote per term; what is promised is on disk."""
        if isinstance(message, wire.ResponseVote):
            self._votes.setdefault((node, message.term), peer)
            if self._votes[node, message.term] != peer:
                self.violated(f"node {node} votes twice in term {message.term}")
        if isinstance(message, wire.NextIndex) and message.success:
            term, last = self._vouched.get(node, (0, 0))
            last = last if term == message.term else 0
            self._vouched[node] = (message.term, max(last, message.next_index - 1))
        if isinstance(message, wire.NextIndex | wire.ResponseVote) and not raft._log.flushed:
            self.violated(f"node {node} sends {message} before it flushed")

    def applies(self, position: int, command: bytes) -> None:
        """State machine safety: all members apply the same commands in the same order."""
        if position < len(self.applied):
            if self.applied[position] != command:
                self.violated(f"state machine safety: command {position} is {self.applied[position]!r}")
            return
        if command in self.refused:
            self.violated(f"{command!r} is applied, although it was refused")
        self.applied.append(command)
        self.digests.append(zlib.crc32(command, self.digests[-1]))

    def observe(self, node: int, raft: Raft) -> None:
        """After every event of a member."""
        self.commits(node, raft)
        role = raft.role
        if role is Role.LEADER:
            # The term of a leader may not change either.
            if self._leaders.setdefault(raft.term, node) != node:
                self.violated(
                    f"election safety: {node} and {self._leaders[raft.term]} lead in term {raft.term}"
                )
            if self._roles.get(node) is not Role.LEADER:
                self._elected(node, raft)
        self._roles[node] = role

    def commits(self, node: int, raft: Raft) -> None:
        """Also before a log is shortened."""
        if raft.commit <= self._commits.get(node, 0):
            return
        self._commits[node] = raft.commit
        for index in range(len(self._committed), raft.commit + 1):
            term = raft._log.term_at(index)
            # A snapshot came with what is not here; whoever wrote it was observed before.
            self._committed.append((term or 0, raft.term))
        for index in range(max(raft._log.first, 2), raft.commit + 1):
            if raft._log.term_at(index) != self._committed[index][0]:
                self.violated(f"node {node} committed entry {index}, which differs elsewhere")

    def _elected(self, node: int, raft: Raft) -> None:
        """Leader completeness: what was committed in an earlier term is in the new leader's log."""
        self.counts["elections"] += 1
        for index in range(max(raft._log.first, 2), len(self._committed)):
            term, committed_in = self._committed[index]
            if committed_in < raft.term and raft._log.term_at(index) != term:
                self.violated(f"leader completeness: node {node} leads in {raft.term} without entry {index}")

    def ended(self, node: int) -> None:
        """The member is gone with all it had in memory."""
        self._roles.pop(node, None)
        self._commits.pop(node, None)

    def lost(self, node: int) -> None:
        """The member's volume is gone, and with it all it vouched for."""
        self._vouched.pop(node, None)
        self.counts["volumes lost"] += 1

    def opened(self, node: int, journal: DiskJournal, kept: Kept) -> None:
        """A restart recovers what was persisted, and nothing that was never written."""
        vote = (journal.getCurrentTerm(), journal.getVotedForNodeId())
        if vote not in kept.votes:
            self.violated(f"node {node} recovers the vote {vote}, stored were {kept.votes}")
        found = {index: term for _, index, term in journal[:]}
        first = min(found, default=0)
        for index, term in kept.flushed.items():
            if index >= first and found.get(index) != term:
                self.violated(f"node {node} recovers entry {index} of term {found.get(index)}, not {term}")
        for index, term in found.items():
            if kept.written.get(index) != term:
                self.violated(f"node {node} recovers entry {index} of term {term}, which was never written")
        self.counts["restarts"] += 1


class Kept:
    """What a journal has stored, as the model saw it: the yardstick for a restart."""

    def __init__(self) -> None:
        self.votes: list[tuple[int, str | None]] = [(0, None)]
        """The last one stored, and one that may have been stored since."""
        self.flushed: dict[int, int] = {}
        self.written: dict[int, int] = {}


class Alarms(logging.Handler):
    """What the engine itself calls impossible."""

    def __init__(self) -> None:
        super().__init__(logging.CRITICAL)
        self.properties = Properties()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if not text.startswith("stopping"):
            self.properties.violated(text)
