"""One member of a cluster without its event loop: storage, Raft, and what a failing disk means.

Synchronous; time and network are passed in, so that a test can run several members in virtual time.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection
from pathlib import Path
from typing import ClassVar

from etl_operator.node.consensus import wire
from etl_operator.node.consensus.disk import Files
from etl_operator.node.consensus.engine import (
    ConsensusError,
    EngineFault,
    Role,
    StateMachine,
    StorageError,
    StorageFull,
)
from etl_operator.node.consensus.journal import DiskJournal
from etl_operator.node.consensus.raft import Raft
from etl_operator.node.consensus.settings import Timing

log = logging.getLogger(__name__)

_MOST_TICKS = 4
"""Ticks in a row while each makes progress: store, send, commit, apply."""
_REPORT_INTERVAL = 10.0
"""Seconds between two reports of a full disk."""


class Member:
    """A member from its start to its end.

    :param directory: owned by this member.
    :param send: takes a message for a peer; it may get lost.
    :param wake: asks for a `tick` soon.
    :param failed: called once, when the member has stopped itself.
    :param files: what ``directory`` holds; the operating system's by default.
    :param existing: see `Raft`.
    :raises StorageError: the data directory is not usable.
    """

    raft_type: ClassVar[type[Raft]] = Raft
    journal_type: ClassVar[type[DiskJournal]] = DiskJournal

    def __init__(
        self,
        node_id: int,
        peers: Collection[int],
        directory: Path,
        machine: StateMachine,
        *,
        timing: Timing,
        snapshot_every: int,
        clock: Callable[[], float],
        chance: random.Random,
        send: Callable[[int, wire.Message], object],
        wake: Callable[[], None],
        failed: Callable[[ConsensusError], None],
        files: Files | None = None,
        existing: bool = False,
    ) -> None:
        self._id = node_id
        self._timing = timing
        self._clock = clock
        self._wake = wake
        self._on_failure = failed
        self._report_full_again = float("-inf")
        self.failure: ConsensusError | None = None
        """Why the member has stopped itself; None while it works."""
        self.caught_up = False
        """Everything acknowledged before this member started is applied here."""
        self.journal = self.journal_type(directory, files)
        if self.journal.cut_off:
            log.warning(
                "removed an incomplete record at the end of the journal: %d bytes, never acknowledged",
                self.journal.cut_off,
            )
        try:
            self.raft = self.raft_type(
                node_id,
                peers,
                timing,
                self.journal,
                machine,
                send=send,
                clock=clock,
                chance=chance,
                snapshot_every=snapshot_every,
                existing=existing,
            )
        except StorageError:
            self.journal.close()
            raise
        if self.raft.alone:
            self.raft.stand_now()

    def close(self) -> None:
        """Release the directory; flushes nothing."""
        self.journal.close()

    def leader(self) -> int | None:
        """Whom this member follows; None if it has been silent for the longest election timeout."""
        leader = self.raft.leader
        if leader is None or leader == self._id:
            return leader
        silent = self._clock() - self.raft.leader_heard > self._timing.election_max
        return None if silent else leader

    def readable(self) -> bool:
        """On a leader: its first entry is applied, hence all that earlier leaders acknowledged."""
        return self.raft.up_to_date() if self.raft.role is Role.LEADER else self.caught_up

    def tick(self) -> None:
        """Do what is due. Call it every few milliseconds, and soon after ``wake``."""
        self._guard(self._tick_while_progressing)

    def deliver(self, sender: int, message: wire.Message) -> None:
        """Handle a message of a peer."""
        self._guard(lambda: self.raft.receive(sender, message))
        self._wake()

    def connected(self, peer: int, up: bool) -> None:
        """``peer`` can, or can no longer, be sent to."""
        self.raft.connected(peer, up)
        self._wake()

    def _tick_while_progressing(self) -> None:
        for _ in range(_MOST_TICKS):
            before = self._progress()
            self.raft.tick()
            if self._progress() == before:
                break
        self.caught_up = self.caught_up or self.raft.up_to_date()

    def _progress(self) -> tuple[int, int, int]:
        return self.journal.last, self.raft.commit, self.raft.applied

    def _guard(self, work: Callable[[], None]) -> None:
        """Run what may touch the disk. A full disk is survived; any other failure stops the member."""
        if self.failure is not None:
            return
        try:
            work()
        except StorageFull as error:
            self._report_full(error)
        except StorageError as error:
            self._fail(error)
        except Exception as error:
            log.exception("a fault in the consensus engine")
            self._fail(EngineFault(f"a fault in the consensus engine: {error!r}"))

    def _report_full(self, error: StorageFull) -> None:
        """A follower meets it with every message of its leader; say it now and then."""
        if self._clock() >= self._report_full_again:
            self._report_full_again = self._clock() + _REPORT_INTERVAL
            log.error("%s; nothing acknowledged is lost, new writes fail until there is space", error)

    def _fail(self, error: ConsensusError) -> None:
        self.failure = error
        log.critical("stopping: %s", error)
        self._on_failure(error)
