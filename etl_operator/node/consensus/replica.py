"""What a member keeps: the log, the members named in it, the state it leads to, and its snapshots.

The lower half of `raft.Raft`: no roles, no messages, no elections.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from etl_operator.node.consensus import configuration as conf
from etl_operator.node.consensus import snapshot, wire
from etl_operator.node.consensus.admission import Admission
from etl_operator.node.consensus.engine import StateMachine, StorageCorrupt, StorageFull
from etl_operator.node.consensus.journal import DiskJournal

log = logging.getLogger(__name__)

_COMPACT_AGAIN = 10.0
"""Seconds until the log is shortened again after there was no room for it."""
_INSTALL_AGAIN = 1.0
"""Seconds until a snapshot is taken again after there was no room for one."""


class Replica:
    """Log and state of one member. Not thread-safe.

    :param node_id: this member.
    :param peers: the other members by the flags: they count while the log names none.
    :param machine: gets the stored snapshot at once, and committed commands as they come.
    :param clock: monotonic seconds.
    :param snapshot_every: entries between two snapshots.
    :raises StorageError: what is stored cannot be used.
    """

    def __init__(
        self,
        node_id: int,
        peers: Collection[int],
        journal: DiskJournal,
        machine: StateMachine,
        *,
        clock: Callable[[], float],
        snapshot_every: int,
    ) -> None:
        self._id = node_id
        self._log = journal
        self._machine = machine
        self._clock = clock
        self._snapshot_every = snapshot_every
        self._configurations = conf.Configurations(conf.of_voters({node_id, *peers}))
        self._compact_at = self._install_at = float("-inf")
        self.commit = self.applied = self._recover()

    @property
    def term(self) -> int:
        """The present term, as stored."""
        return self._log.getCurrentTerm()

    @property
    def members(self) -> conf.Configuration:
        """The members as the last entry about them says, committed or not; by the flags if there is none."""
        return self._configurations.current

    @property
    def possible(self) -> tuple[conf.Configuration, ...]:
        """The members that are committed, as far as known, and those that may take their place.

        This node must be reached by all of them: an entry that is not committed may be replaced.
        """
        return self._configurations.since(self.commit)

    @property
    def members_named(self) -> bool:
        """The log names the members."""
        return self._configurations.index > 0

    @property
    def joining(self) -> bool:
        """This node does not vote yet: it started with an empty directory."""
        return self._admission.joining

    def expect(self, peers: Collection[int]) -> None:
        """The flags name other members now. They count while the log names none."""
        self._configurations.fallback = conf.of_voters({self._id, *peers})

    def _add(self, command: bytes, index: int, term: int) -> bool:
        """Append an entry. Whether it names the members.

        :raises StorageFull: nothing was appended.
        """
        self._log.add(command, index, term)
        return self._configurations.stored((command, index, term))

    def _applied(self, index: int, term: int, result: object) -> None:
        """An entry was applied."""

    def _apply(self) -> None:
        while self.applied < self.commit:
            command, index, term = self._log[self.applied + 1 - self._log.first]
            regular = command[:1] == conf.REGULAR
            result = self._machine.apply(command[1:]) if regular else None
            self.applied = index
            self._applied(index, term, result)

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
                    self._configurations.removed(index)
                    known = None
                if known is None and index > self.commit:
                    self._add(command, index, term)
            except StorageFull as error:
                return stored, error
            stored = index
        return stored, None

    # Snapshots.

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
        self._read_members(found)
        self._machine.restore(found.state)
        self.commit = self.applied = found.last[1]
        log.info("snapshot up to entry %d received", self.applied)

    def _recover(self) -> int:
        """Read what is stored; the last entry in the state then."""
        stored = snapshot.load(self._log.files)
        self._covers = stored.last[1] if stored else 0
        blank = stored is None and not len(self._log) and not self.term
        self._admission = Admission(self._log.files, blank=blank)
        if stored is not None:
            self._begin_behind(stored)
            self._machine.restore(stored.state)
        elif not len(self._log):
            self._log.add(conf.NO_OP, 1, 0)
            self._log.sync()
        elif self._log.first > 1:
            raise StorageCorrupt(f"the journal begins at entry {self._log.first}, and there is no snapshot")
        last_term = self._log[-1][2]
        if last_term > self.term:  # Earlier versions could store an entry of a term they had not stored.
            self._log.setCurrentTerm(last_term, None)
        self._read_members(stored)
        return self._covers or 1

    def _read_members(self, stored: snapshot.Snapshot | None) -> None:
        try:
            named = conf.decode(stored.members) if stored else None
            self._configurations.rebuild(self._covers, named, self._log[:])
        except ValueError as error:
            raise StorageCorrupt(f"the members in the journal or the snapshot are damaged: {error}") from None

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
        members = self._configurations.at(last[1])
        named = conf.encode(members) if members else b""
        data = snapshot.encode(snapshot.Snapshot(last, previous, self._machine.snapshot(), named))
        try:
            snapshot.store(self._log.files, data)
            self._covers = last[1]
            self._configurations.forget(last[1])
            # Members a little behind need a few entries, not a snapshot.
            self._log.deleteEntriesTo(position - 1 - self._snapshot_every // 10)
        except StorageFull as error:
            self._compact_at = self._clock() + _COMPACT_AGAIN
            log.error("%s; the journal keeps growing", error)
            return
        log.info("snapshot written up to entry %d", last[1])
