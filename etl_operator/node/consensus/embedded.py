"""The engine that comes along: Raft among the nodes themselves.

Everything runs on one event loop. The only blocking calls are disk flushes, one for all that was written
since the last: a member on a slow disk is a slow member, but never a dishonest one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etl_operator.node.consensus import wire
from etl_operator.node.consensus.address import Address
from etl_operator.node.consensus.configuration import Configuration, Seat
from etl_operator.node.consensus.engine import (
    CommitTimeout,
    ConsensusError,
    Expected,
    LeadershipLost,
    NotLeader,
    NotReady,
    Role,
    StateMachine,
    Status,
    Unanswered,
)
from etl_operator.node.consensus.engine import Member as MemberStatus
from etl_operator.node.consensus.member import Member
from etl_operator.node.consensus.membership import MembershipLoop
from etl_operator.node.consensus.raft import Done
from etl_operator.node.consensus.settings import Timing
from etl_operator.node.consensus.transport import PeerTransport
from etl_operator.tls.peers import PeerTls

log = logging.getLogger(__name__)

_FASTEST_TICK, _SLOWEST_TICK = 0.005, 0.025


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

    :param node_id: positive; the same number for the same data forever.
    :param bind: the Raft listener.
    :param advertised: how the status names this node; default ``bind``.
    :param peers: every other member by the flags, see `expect`.
    :param directory: owned by this engine.
    :param snapshot_every: log entries between two snapshots.
    :param cluster: the cluster's id in the state machine; empty while there is none.
    :param existing: see `Expected`, as is ``replace_lost``.
    :param tls: of the connections among the members, or None.
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
        existing: bool = False,
        replace_lost: bool = True,
        tls: PeerTls | None = None,
    ) -> None:
        self._node_id = node_id
        self._bind = bind
        self._peers = {peer: _Peer(address) for peer, address in peers.items()}
        self._directory = directory
        self._machine = machine
        self._timing = timing
        self._snapshot_every = max(snapshot_every, 2)
        self._transport = PeerTransport(
            node_id,
            bind,
            peers,
            cluster=cluster,
            deliver=self._deliver,
            connected=lambda peer, up: self._member.connected(peer, up),
            tls=tls,
        )
        self._membership = MembershipLoop(
            self,
            Expected({**peers, node_id: bind}, existing, replace_lost),
            timing.heartbeat,
        )
        self._pending: set[asyncio.Future[object]] = set()
        self._callbacks: list[Callable[[], None]] = []
        self._seen: tuple[Any, ...] = ()
        self._changed = asyncio.Event()
        self._possible: tuple[Configuration, ...] = ()
        self._tick_due = False
        self._handing_over = False
        self._stopped = False

    async def start(self) -> None:
        """See `ConsensusEngine`."""
        self._loop = asyncio.get_running_loop()
        self._failure: asyncio.Future[ConsensusError] = self._loop.create_future()
        self._member = Member(
            self._node_id,
            self._peers,
            self._directory,
            self._machine,
            timing=self._timing,
            snapshot_every=self._snapshot_every,
            clock=time.monotonic,
            chance=random.Random(),  # noqa: S311 - election timeouts
            send=lambda peer, message: self._transport.send(peer, message),
            wake=self._wake,
            failed=self._fail,
            existing=self._membership.expected.existing,
        )
        try:
            await self._transport.start()
        except OSError:
            self._member.close()
            raise
        self._tick()
        self._ticker = asyncio.create_task(self._keep_ticking(), name="raft ticks")
        self._changing = asyncio.create_task(self._membership.run(), name="raft members")

    async def stop(self) -> None:
        """See `ConsensusEngine`."""
        if self._stopped:
            return
        await self.hand_over()
        self._stopped = True
        tasks = (self._ticker, self._changing)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._transport.stop()
        self._fail_pending(LeadershipLost("the node is stopping; the outcome is unknown"))
        self._member.close()

    async def propose(self, command: bytes, *, within: float = 5.0) -> object:
        """See `ConsensusEngine`."""
        if len(command) >= wire.MAX_COMMAND:
            raise ValueError(f"a command of {len(command)} bytes exceeds {wire.MAX_COMMAND - 1}")
        return await self._settled(lambda done: self._member.raft.propose(command, done), within)

    async def _settled(self, begin: Callable[[Done], None], within: float) -> object:
        """Let the leader begin something, and wait until it is committed and applied here."""
        if self._failure.done():
            raise self._failure.result()
        if self._stopped or self._handing_over or self._member.raft.role is not Role.LEADER:
            raise NotLeader("not the leader")
        future: asyncio.Future[object] = self._loop.create_future()
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        begin(lambda result, error: _resolve(future, result, error))
        self._wake()
        try:
            async with asyncio.timeout(within):
                return await future
        except TimeoutError:
            raise CommitTimeout("timed out waiting for commit; the outcome is unknown") from None

    # Members.

    def expect(self, expected: Expected) -> None:
        """See `ConsensusEngine`."""
        if expected == self._membership.expected:
            return
        self._membership.expected = expected
        for peer, address in expected.members.items():
            if peer in self._peers:
                self._peers[peer].address = address
        raft = self._member.raft
        raft.existing = expected.existing
        raft.expect(expected.members.keys() - {self._node_id})
        self._connect()

    async def add_learner(self, member: int, address: Address, *, within: float = 5.0) -> None:
        """See `ConsensusEngine`."""
        raft = self._member.raft
        await self._settled(lambda done: raft.change("add", member, done, str(address)), within)

    async def promote(self, member: int, *, within: float = 5.0) -> None:
        """See `ConsensusEngine`."""
        await self._settled(lambda done: self._member.raft.change("promote", member, done), within)

    async def remove(self, member: int, *, within: float = 5.0) -> None:
        """See `ConsensusEngine`."""
        await self._settled(lambda done: self._member.raft.change("remove", member, done), within)

    def _connect(self) -> None:
        """Know and reach those whom the flags or the log name."""
        seats = [seat for members in self._member.raft.possible for seat in members.seats]
        named = {seat.node_id: Address.parse(seat.address) for seat in seats}
        known = {peer: known.address for peer, known in self._peers.items() if peer in named}
        wanted = {peer: address for peer, address in (named | known).items() if address is not None}
        wanted |= self._membership.expected.members
        wanted.pop(self._node_id, None)
        for peer in self._peers.keys() - wanted.keys():
            del self._peers[peer]
        for peer, address in wanted.items():
            self._peers.setdefault(peer, _Peer(address))
        self._transport.connect(wanted)

    async def read_barrier(self, *, within: float = 5.0) -> None:
        """See `ConsensusEngine`."""
        try:
            async with asyncio.timeout(within):
                while not self._member.readable():
                    await self._changed.wait()
        except TimeoutError:
            raise NotReady("the node has not caught up with its cluster") from None

    async def ask(self, member: int, topic: str, body: bytes, *, within: float) -> bytes:
        """See `ConsensusEngine`."""
        if member not in self._peers:
            raise Unanswered(f"node {member} is not in the member list of node {self._node_id}")
        return await self._transport.ask(member, topic, body, within)

    def answer(self, topic: str, handler: Callable[[int, bytes], Awaitable[bytes]]) -> None:
        """See `ConsensusEngine`."""
        self._transport.handlers[topic] = handler

    async def hand_over(self, to: Collection[int] = ()) -> None:
        """See `ConsensusEngine`."""
        raft = self._member.raft
        if raft.alone or raft.role is not Role.LEADER or self._failure.done():
            return
        self._handing_over = True  # Only a follower that has everything may take over: nothing new now.
        try:
            async with asyncio.timeout(min(self._timing.election_max, 1.0)):
                if self._pending:
                    await asyncio.wait(self._pending)
                while raft.role is Role.LEADER:
                    raft.transfer(to)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._timing.heartbeat):
                            await self._changed.wait()
        except TimeoutError:
            log.info("no other node took over in time")
        finally:
            self._handing_over = False

    def status(self) -> Status:
        """See `ConsensusEngine`."""
        raft, leader = self._member.raft, self._member.leader()
        members = [self._status_of(seat, leader) for seat in raft.members.seats]
        return Status(
            node_id=self._node_id,
            leader_id=leader,
            role=raft.role,
            term=raft.term,
            commit_index=raft.commit,
            applied_index=raft.applied,
            members=tuple(members),
            caught_up=self._member.caught_up,
        )

    def on_change(self, callback: Callable[[], None]) -> None:
        """See `ConsensusEngine`."""
        self._callbacks.append(callback)

    async def failed(self) -> ConsensusError:
        """See `ConsensusEngine`."""
        return await asyncio.shield(self._failure)

    @property
    def flushes(self) -> int:
        """See `ConsensusEngine`."""
        return self._member.journal.syncs

    # Status.

    def _status_of(self, seat: Seat, leader: int | None) -> MemberStatus:
        raft, number = self._member.raft, seat.node_id
        if number == self._node_id:
            role = raft.role if seat.voter and not raft.joining else Role.LEARNER
            last = self._member.journal.last
            return MemberStatus(number, str(self._bind), role, True, last, time.time(), seat.voter)
        known, progress = self._peers.get(number), raft.progress_of(number)
        if known is None:
            return MemberStatus(number, seat.address, Role.UNKNOWN, False, 0, None, seat.voter)
        window = max(2 * self._timing.election_max, 1.0)
        healthy = time.monotonic() - known.heard <= window
        blank = progress is not None and progress.blank
        role = Role.LEADER if number == leader else known.role if healthy else Role.UNKNOWN
        if healthy and (blank or not seat.voter):
            role = Role.LEARNER
        match = progress.match if progress is not None else known.match_index
        found = MemberStatus(number, str(known.address), role, healthy, match, known.contact, seat.voter)
        return replace(found, blank=blank, latecomer=blank and progress is not None and progress.latecomer)

    def _notice_changes(self) -> None:
        member = self._member
        role, term = member.raft.role, member.raft.term
        seen = (role, member.leader(), term, member.caught_up, member.readable(), member.raft.members)
        if seen == self._seen:
            return
        if self._seen[:3] != seen[:3]:
            log.info("term %d: this node is %s, leader is %s", term, role.value, seen[1] or "not known")
        self._seen = seen
        self._changed.set()
        self._changed = asyncio.Event()
        for callback in self._callbacks:
            callback()

    # Driving the member.

    async def _keep_ticking(self) -> None:
        interval = min(max(self._timing.heartbeat / 4, _FASTEST_TICK), _SLOWEST_TICK)
        next_beat = 0.0
        while True:
            await asyncio.sleep(interval)
            self._tick()
            if time.monotonic() >= next_beat and not self._failure.done():
                next_beat = time.monotonic() + self._timing.heartbeat
                self._beat()

    def _beat(self) -> None:
        raft = self._member.raft
        beat = wire.Beat(term=raft.term, role=raft.role.value, match_index=self._member.journal.last)
        self._transport.broadcast(beat)

    def _wake(self) -> None:
        """Tick soon, once for everything that happens before."""
        if not self._tick_due:
            self._tick_due = True
            self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        self._tick_due = False
        if not self._stopped:
            self._member.tick()
            self._notice_changes()
            possible = self._member.raft.possible
            if possible != self._possible:
                self._possible = possible
                self._connect()

    def _fail(self, error: ConsensusError) -> None:
        if not self._failure.done():
            self._failure.set_result(error)
            self._fail_pending(error)

    def _fail_pending(self, error: ConsensusError) -> None:
        for future in list(self._pending):
            if not future.done():
                future.set_exception(error)

    def _deliver(self, sender: int, message: wire.Message) -> None:
        peer = self._peers.get(sender)
        if peer is None:
            return
        peer.heard, peer.contact = time.monotonic(), time.time()
        if isinstance(message, wire.Beat):
            peer.role, peer.match_index = _role(message.role), message.match_index
        elif not self._stopped:
            self._member.deliver(sender, message)


def _resolve(future: asyncio.Future[object], result: object, error: ConsensusError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        return Role.UNKNOWN
