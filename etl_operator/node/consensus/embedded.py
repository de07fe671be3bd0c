"""The engine that comes along: Raft among the nodes themselves.

Everything runs on one event loop. The only blocking calls are disk flushes, one for all that was written
since the last: a member on a slow disk is a slow member, but never a dishonest one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pysyncobj import FAIL_REASON
from pysyncobj.node import Node

from etl_operator.node.consensus import snapshot, wire
from etl_operator.node.consensus.address import Address
from etl_operator.node.consensus.election import Inquiry, answer
from etl_operator.node.consensus.engine import (
    CommitTimeout,
    ConsensusError,
    EngineFault,
    LeadershipLost,
    Member,
    NotLeader,
    NotReady,
    OutcomeUnknown,
    Role,
    StateMachine,
    Status,
    StorageCorrupt,
    StorageError,
    StorageFull,
)
from etl_operator.node.consensus.journal import DiskJournal, flush_file
from etl_operator.node.consensus.raft import LibraryTransport, Raft, node
from etl_operator.node.consensus.settings import Timing
from etl_operator.node.consensus.transport import PeerTransport

log = logging.getLogger(__name__)

_FASTEST_TICK, _SLOWEST_TICK = 0.005, 0.025
_MOST_TICKS = 4
"""Ticks in a row while each makes progress: store, send, commit, apply."""

_REPORT_INTERVAL = 10.0
"""Seconds between two reports of a full disk."""


@dataclass(slots=True)
class _Peer:
    """What is known of another member."""

    address: Address
    heard: float = float("-inf")
    """Monotonic seconds of its last message."""
    contact: float | None = None
    """The same in wall-clock seconds."""
    role: Role = Role.UNKNOWN
    match_index: int = 0


class EmbeddedEngine:
    """A `ConsensusEngine`.

    :param node_id: positive; the same number for the same data for ever.
    :param bind: the Raft listener.
    :param advertised: how the status names this node; default ``bind``.
    :param peers: every other member. May differ from the last start by one member.
    :param directory: owned by this engine.
    :param snapshot_every: log entries between two snapshots.
    :param cluster: the cluster's id in the state machine; empty while there is none.
    """

    def __init__(
        self,
        node_id: int,
        bind: Address,
        peers: Mapping[int, Address],
        directory: Path,
        machine: StateMachine,
        *,
        timing: Timing,
        snapshot_every: int = 10_000,
        cluster: Callable[[], str] = lambda: "",
        server_tls: ssl.SSLContext | None = None,
        client_tls: ssl.SSLContext | None = None,
    ) -> None:
        self._node_id = node_id
        self._bind = bind
        self._peers = {peer: _Peer(address) for peer, address in peers.items()}
        self._directory = directory
        self._snapshot_file = directory / "snapshot"
        self._machine = machine
        self._timing = timing
        self._snapshot_every = max(snapshot_every, 2)
        self._adapter = LibraryTransport(self._send)
        self._transport = PeerTransport(
            node_id,
            bind,
            peers,
            cluster=cluster,
            deliver=self._deliver,
            connected=self._set_connected,
            server_tls=server_tls,
            client_tls=client_tls,
        )
        self._pending: set[asyncio.Future[object]] = set()
        self._callbacks: list[Callable[[], None]] = []
        self._seen: tuple[Any, ...] = ()
        self._changed = asyncio.Event()
        self._caught_up = False
        self._leader_heard = float("-inf")
        self._report_full_again = float("-inf")
        self._tick_due = False
        self._handing_over = False
        self._stopped = False
        self._inquiry = Inquiry(len(self._peers) + 1, timing)

    async def start(self) -> None:
        """See `ConsensusEngine`."""
        self._loop = asyncio.get_running_loop()
        self._failure: asyncio.Future[ConsensusError] = self._loop.create_future()
        self._journal = DiskJournal(self._directory)
        if self._journal.cut_off:
            log.warning(
                "the journal ended in a torn write; %d bytes, never acknowledged, were cut off",
                self._journal.cut_off,
            )
        self._check_snapshot()
        self._raft = Raft(
            self._node_id,
            self._peers,
            self._timing,
            self._journal,
            self._adapter,
            snapshot_file=self._snapshot_file,
            snapshot_every=self._snapshot_every,
            apply=self._machine.apply,
            may_stand=self._may_stand,
            serialize=self._write_snapshot,
            deserialize=self._read_snapshot,
        )
        try:
            await self._transport.start()
        except OSError:
            self._journal.close()
            raise
        if not self._peers:
            self._raft.stand_now()
        self._tick()
        self._ticker = asyncio.create_task(self._keep_ticking(), name="raft ticks")

    async def stop(self) -> None:
        """See `ConsensusEngine`."""
        if self._stopped:
            return
        await self.hand_over()
        self._stopped = True
        self._ticker.cancel()
        await asyncio.gather(self._ticker, return_exceptions=True)
        await self._transport.stop()
        self._fail_pending(LeadershipLost("the node is stopping; the outcome is unknown"))
        self._raft.destroy()

    async def propose(self, command: bytes, *, within: float = 5.0) -> object:
        """See `ConsensusEngine`."""
        if self._failure.done():
            raise self._failure.result()
        if len(command) >= wire.MAX_COMMAND:
            raise ValueError(f"a command of {len(command)} bytes exceeds {wire.MAX_COMMAND - 1}")
        if self._stopped or self._handing_over or self._raft.role() is not Role.LEADER:
            raise NotLeader("not the leader")
        future: asyncio.Future[object] = self._loop.create_future()
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        self._raft.propose(command, lambda result, reason: _resolve(future, result, reason))
        self._wake()
        try:
            async with asyncio.timeout(within):
                return await future
        except TimeoutError:
            raise CommitTimeout("timed out waiting for commit; the outcome is unknown") from None

    async def read_barrier(self, *, within: float = 5.0) -> None:
        """See `ConsensusEngine`."""
        try:
            async with asyncio.timeout(within):
                while not self._readable():
                    await self._changed.wait()
        except TimeoutError:
            raise NotReady("the node has not caught up with its cluster") from None

    async def hand_over(self) -> None:
        """See `ConsensusEngine`."""
        if not self._peers or self._raft.role() is not Role.LEADER or self._failure.done():
            return
        self._handing_over = True  # Only a follower that has everything may take over: nothing new now.
        try:
            async with asyncio.timeout(min(self._timing.election_max, 1.0)):
                if self._pending:
                    await asyncio.wait(self._pending)
                while self._raft.role() is Role.LEADER:
                    self._raft.transferLeadership()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._timing.heartbeat):
                            await self._changed.wait()
        except TimeoutError:
            log.info("no other node took over in time")
        finally:
            self._handing_over = False

    def status(self) -> Status:
        """See `ConsensusEngine`."""
        raft, leader = self._raft, self._leader()
        role = raft.role()
        members = [self._member(peer, known, leader, role) for peer, known in self._peers.items()]
        own = Member(self._node_id, str(self._bind), role, True, self._journal[-1][1], time.time())
        return Status(
            node_id=self._node_id,
            leader_id=leader,
            role=role,
            term=raft.raftCurrentTerm,
            commit_index=raft.raftCommitIndex,
            applied_index=raft.raftLastApplied,
            members=tuple(sorted([*members, own], key=lambda member: member.node_id)),
            caught_up=self._caught_up,
        )

    def on_change(self, callback: Callable[[], None]) -> None:
        """See `ConsensusEngine`."""
        self._callbacks.append(callback)

    async def failed(self) -> ConsensusError:
        """See `ConsensusEngine`."""
        return await asyncio.shield(self._failure)

    @property
    def flushes(self) -> int:
        """Disk flushes of the journal since the start."""
        return self._journal.syncs

    # Status.

    def _leader(self) -> int | None:
        leader = self._raft.leader()
        if leader is None or leader == self._node_id:
            return leader
        # pysyncobj keeps naming a leader that fell silent until the next election is held.
        silent = time.monotonic() - self._leader_heard > self._timing.election_max
        return None if silent else leader

    def _member(self, peer: int, known: _Peer, leader: int | None, own_role: Role) -> Member:
        window = max(2 * self._timing.election_max, 1.0)
        healthy = time.monotonic() - known.heard <= window
        role = known.role if healthy else Role.UNKNOWN
        match = self._raft.match_index(peer) if own_role is Role.LEADER else known.match_index
        return Member(
            peer, str(known.address), Role.LEADER if peer == leader else role, healthy, match, known.contact
        )

    def _readable(self) -> bool:
        """On a leader: its first entry is applied, hence all that earlier leaders acknowledged."""
        if self._raft.role() is Role.LEADER:
            return self._up_to_date()
        return self._caught_up

    def _up_to_date(self) -> bool:
        """All is applied here up to an entry that the present leader has committed in its own term.

        Committed entries of earlier terms alone prove nothing: a new leader does not know yet how many more
        there are.
        """
        committed = self._raft.leader_commit()
        position = committed - self._journal[0][1]
        if not 0 <= position < len(self._journal) or self._raft.raftLastApplied < committed:
            return False
        return bool(self._journal[position][2] == self._raft.raftCurrentTerm)

    def _notice_changes(self) -> None:
        self._caught_up = self._caught_up or self._up_to_date()
        role = self._raft.role()
        seen = (role, self._leader(), self._raft.raftCurrentTerm, self._caught_up, self._readable())
        if seen == self._seen:
            return
        if self._seen[:3] != seen[:3]:
            log.info("term %d: this node is %s, leader is %s", seen[2], role.value, seen[1] or "not known")
        self._seen = seen
        if role is not Role.LEADER:
            self._fail_pending(
                LeadershipLost("leadership was lost before the commit; the outcome is unknown")
            )
        self._changed.set()
        self._changed = asyncio.Event()
        for callback in self._callbacks:
            callback()

    # Driving the library.

    async def _keep_ticking(self) -> None:
        interval = min(max(self._timing.heartbeat / 4, _FASTEST_TICK), _SLOWEST_TICK)
        next_beat = 0.0
        while True:
            await asyncio.sleep(interval)
            self._tick()
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + self._timing.heartbeat
                self._guard(self._beat)

    def _beat(self) -> None:
        role, term = self._raft.role().value, self._raft.raftCurrentTerm
        self._transport.broadcast(wire.Beat(term=term, role=role, match_index=self._journal[-1][1]))

    def _wake(self) -> None:
        """Tick soon, once for everything that happens before."""
        if not self._tick_due:
            self._tick_due = True
            self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        self._tick_due = False
        self._guard(self._tick_while_progressing)

    def _tick_while_progressing(self) -> None:
        for _ in range(_MOST_TICKS):
            before = self._progress()
            self._raft.doTick(0.0)
            if self._progress() == before:
                break
            self._raft.replicate_now()
        self._notice_changes()

    def _progress(self) -> tuple[int, int, int]:
        return self._journal[-1][1], self._raft.raftCommitIndex, self._raft.raftLastApplied

    def _guard(self, work: Callable[[], None]) -> None:
        """Run what may touch the disk. A full disk fails proposals; any other failure stops the engine."""
        if self._stopped or self._failure.done():
            return
        try:
            work()
        except StorageFull as error:
            self._report_full(error)
            self._fail_pending(error)
            self._raft.transferLeadership()
        except StorageError as error:
            self._fail(error)
        except Exception as error:
            log.exception("a fault in the consensus engine")
            self._fail(EngineFault(f"a fault in the consensus engine: {error!r}"))

    def _report_full(self, error: StorageFull) -> None:
        """A follower meets it with every message of its leader; say it now and then."""
        if time.monotonic() >= self._report_full_again:
            self._report_full_again = time.monotonic() + _REPORT_INTERVAL
            log.error("%s; nothing acknowledged is lost, new writes fail until there is room", error)

    def _fail(self, error: ConsensusError) -> None:
        if not self._failure.done():
            log.critical("stopping: %s", error)
            self._failure.set_result(error)
            self._fail_pending(error)

    def _fail_pending(self, error: ConsensusError) -> None:
        for future in list(self._pending):
            if not future.done():
                future.set_exception(error)

    # Messages.

    def _send(self, target: Node, message: dict[str, Any]) -> bool:
        if self._failure.done():
            return False
        ours = wire.from_library(message, self._raft.raftCurrentTerm)
        if ours is None:
            return False
        if not isinstance(ours, wire.AppendEntries | wire.InstallSnapshot):
            # An answer or a vote promises that the log is stored. A leader's own entries count only when it
            # commits them, which syncs as well.
            self._journal.sync()
        return bool(self._transport.send(int(target.id), ours))

    def _set_connected(self, peer: int, up: bool) -> None:
        self._adapter.connected(node(peer), up)
        self._wake()

    def _deliver(self, sender: int, message: wire.Message) -> None:
        peer = self._peers[sender]
        peer.heard, peer.contact = time.monotonic(), time.time()
        self._guard(lambda: self._handle(sender, peer, message))

    def _handle(self, sender: int, peer: _Peer, message: wire.Message) -> None:
        term = self._raft.raftCurrentTerm
        match message:
            case wire.Beat():
                peer.role, peer.match_index = _role(message.role), message.match_index
                return
            case wire.PreVote():
                if reply := self._answer_pre_vote(message):
                    self._transport.send(sender, reply)
                return
            case wire.PreVoteGranted():
                self._inquiry.granted(sender, message.term, time.monotonic())
            case wire.StaleTerm():
                self._raft.adopt_term(message.term)
            case wire.NextIndex() if message.term != term:
                return
            case wire.AppendEntries() | wire.InstallSnapshot() | wire.RequestVote() if message.term < term:
                # pysyncobj ignores these in silence; the sender would never learn that it is behind.
                self._transport.send(sender, wire.StaleTerm(term=term))
                return
            case _:
                self._hand_to_library(sender, message)
        self._wake()

    def _hand_to_library(self, sender: int, message: wire.Message) -> None:
        if isinstance(message, wire.AppendEntries | wire.InstallSnapshot):
            self._leader_heard = time.monotonic()
        theirs = wire.to_library(message)
        if theirs is not None:
            self._adapter.received(node(sender), theirs)

    def _may_stand(self) -> bool:
        if not self._peers or self._raft.leaving_leader_called():
            return True
        now = time.monotonic()
        verdict = self._inquiry.may_stand(self._raft.raftCurrentTerm, self._journal[-1], now)
        if isinstance(verdict, wire.PreVote):
            self._transport.broadcast(verdict)
        return verdict is True

    def _answer_pre_vote(self, question: wire.PreVote) -> wire.Message | None:
        heard = time.monotonic() - self._leader_heard < self._timing.election_min
        led = heard or self._raft.role() is Role.LEADER
        return answer(question, self._raft.raftCurrentTerm, self._journal[-1], led=led)

    # Snapshots.

    def _check_snapshot(self) -> None:
        """Look at the snapshot before pysyncobj does, which would start empty if it cannot read it."""
        if self._snapshot_file.exists():
            try:
                stored = snapshot.load(self._snapshot_file)
            except OSError as error:
                raise StorageError(f"cannot read {self._snapshot_file}: {error}") from error
            self._journal.start_at(stored.previous, stored.last)
        elif len(self._journal) and self._journal[0][1] > 1:
            raise StorageCorrupt(
                f"{self._directory} has a journal that begins at entry {self._journal[0][1]}, and no snapshot"
            )

    def _write_snapshot(self, file: str, data: tuple[Any, ...]) -> None:
        last, previous, _ = data
        try:
            snapshot.store(Path(file), snapshot.Snapshot(last, previous, self._machine.snapshot()))
        except OSError as error:
            log.error("cannot write a snapshot, the journal keeps growing: %s", error)
            raise
        log.info("snapshot written up to entry %d", last[1])

    def _read_snapshot(self, file: str) -> tuple[Any, ...]:
        try:
            # pysyncobj wrote a received one without flushing it, and forgets the journal next.
            flush_file(Path(file))
            stored = snapshot.load(Path(file))
        except (StorageCorrupt, OSError) as error:
            # pysyncobj would log this and go on without the state.
            self._fail(error if isinstance(error, StorageError) else StorageError(str(error)))
            raise
        self._machine.restore(stored.state)
        return stored.last, stored.previous, []


def _resolve(future: asyncio.Future[object], result: object, reason: int) -> None:
    if future.done():
        return
    if reason == FAIL_REASON.SUCCESS:
        future.set_result(result)
    elif reason == FAIL_REASON.UNKNOWN_OUTCOME:
        future.set_exception(OutcomeUnknown("the outcome is unknown"))
    else:
        future.set_exception(NotLeader("not the leader"))


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        return Role.UNKNOWN
