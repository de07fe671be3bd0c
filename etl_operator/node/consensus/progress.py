"""What a leader knows of one follower, and what to send it next. Pure: log and time are passed in."""

from __future__ import annotations

from collections import deque

from etl_operator.node.consensus import wire
from etl_operator.node.consensus.journal import DiskJournal

_WINDOW = wire.MAX_COMMAND
"""Bytes of commands on the way to one follower before the leader waits for an answer."""
_PART = 2**20
"""Bytes of a part of a snapshot."""
_PARTS_AHEAD = 4
"""Parts on the way before the leader waits for an answer."""


class Progress:
    """One follower, in one term of its leader."""

    def __init__(self, next_index: int, now: float) -> None:
        self.match = 0
        """Last entry known to be stored there and equal to the leader's."""
        self.next = next_index
        """The first entry that was not sent yet."""
        self.answered = now
        """Seconds on the leader's clock of its last answer."""
        self.blank = False
        """It says that its data directory is empty. It is sent heartbeats only."""
        self.latecomer = False
        """It is blank and may never have been a member."""
        self._waits = False
        """Nothing is sent before the next heartbeat."""
        self._sent: deque[tuple[int, int]] = deque()
        self._sent_bytes = 0
        self._parts: list[bytes] = []
        self._covers = 0
        self._part = 0
        self._parts_answered = 0

    def answer(self, answer: wire.NextIndex, last: int, now: float) -> None:
        """Take an answer of this term.

        :param last: the leader's last entry.
        """
        self.answered, self.blank = now, False
        if answer.success and answer.next_index <= last + 1:
            self.match = max(self.match, answer.next_index - 1)
            self.next = max(self.next, self.match + 1)
            while self._sent and self._sent[0][0] <= self.match:
                self._sent_bytes -= self._sent.popleft()[1]
        if answer.reset:
            self.start_over(min(answer.next_index, last + 1))
            # A member without room refuses the same again, as fast as it is sent.
            self._waits = True
        elif not answer.success:
            self._parts_answered += 1

    def is_blank(self, last: int, now: float, *, latecomer: bool) -> None:
        """It has nothing, and takes nothing before it is admitted.

        :param last: the leader's last entry.
        """
        self.start_over(last + 1)
        self.match = 0
        self.answered, self.blank, self.latecomer = now, True, latecomer

    def start_over(self, next_index: int) -> None:
        """Go on from ``next_index``: what was sent since may not have arrived.

        Below ``match`` as well: a member that lost its data has less than it once said.
        """
        self.next, self.match = next_index, min(self.match, next_index - 1)
        self._sent.clear()
        self._sent_bytes = 0
        self._parts = []

    @property
    def takes_snapshot(self) -> bool:
        """A snapshot is on its way."""
        return bool(self._parts)

    def batch(
        self, log: DiskJournal, term: int, commit: int, *, heartbeat: bool
    ) -> wire.AppendEntries | None:
        """The next message with entries; None if there are none or too many are on the way.

        :param heartbeat: return a message in any case, without entries if need be.
        """
        self._waits = self._waits and not heartbeat
        # What is blank answers the same to every heartbeat, wherever that continues.
        previous = log.last if self.blank else self.next - 1
        entries = []
        if self._sent_bytes < _WINDOW and not self._waits and not self.blank:
            entries = self._take(log)
        if not entries and not heartbeat:
            return None
        previous_term = log.term_at(previous)
        assert previous_term is not None, "the follower needs a snapshot"
        return wire.AppendEntries(
            term=term, commit_index=commit, prev_index=previous, prev_term=previous_term, entries=entries
        )

    def _take(self, log: DiskJournal) -> list[tuple[bytes, int, int]]:
        """Entries for one message, at least one if there is any: they count as sent."""
        start = self.next - log.first
        size, end = 0, start
        while end < len(log) and (end == start or size + len(log[end][0]) <= wire.MAX_COMMAND):
            size += len(log[end][0])
            end += 1
        entries = log[start:end]
        if entries:
            self.next = entries[-1][1] + 1
            self._sent.append((entries[-1][1], size))
            self._sent_bytes += size
        return entries

    def begin_snapshot(self, data: bytes, covers: int) -> None:
        """Send a snapshot from its first part on.

        :param covers: the last entry in it.
        """
        self._parts = [data[start : start + _PART] for start in range(0, len(data), _PART)]
        self._covers = covers
        self._part = self._parts_answered = 0

    def part(self, term: int, *, heartbeat: bool) -> wire.InstallSnapshot | None:
        """The next part of the snapshot; None if too many are on the way.

        :param heartbeat: send a part in any case. An older member answers none but the last.
        """
        self._waits = self._waits and not heartbeat
        if (self._waits or self._part >= self._parts_answered + _PARTS_AHEAD) and not heartbeat:
            return None
        if self._part == len(self._parts):
            self.start_over(self._covers + 1)
            return wire.InstallSnapshot(term=term, part=(b"", False, True))
        data = self._parts[self._part]
        self._part += 1
        return wire.InstallSnapshot(term=term, part=(data, self._part == 1, False))
