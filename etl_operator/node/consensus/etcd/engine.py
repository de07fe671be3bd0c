"""The engine on etcd: see the package."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc

from etl_operator.node.consensus import wire
from etl_operator.node.consensus.address import Address
from etl_operator.node.consensus.engine import (
    ChangeRefused,
    CommitTimeout,
    ConsensusError,
    EngineFault,
    Expected,
    LeadershipLost,
    Member,
    NotLeader,
    NotReady,
    Role,
    StateMachine,
    Status,
    StorageCorrupt,
    StorageFull,
    Unanswered,
)
from etl_operator.node.consensus.etcd import program as programs
from etl_operator.node.consensus.etcd.client import Client, EtcdError, Refused, version_problem
from etl_operator.node.consensus.etcd.joining import JOIN, Joining, OtherEngine, etcd_address
from etl_operator.node.consensus.etcd.leading import Leadership
from etl_operator.node.consensus.etcd.log import MAX_COMMAND, BadLog, Keys
from etl_operator.node.consensus.etcd.members import Members, Seat
from etl_operator.node.consensus.etcd.program import Program, name_of
from etl_operator.node.consensus.etcd.replica import Replica
from etl_operator.node.consensus.etcd.space import Space
from etl_operator.node.consensus.etcd.writing import Writer
from etl_operator.node.consensus.membership import MembershipLoop
from etl_operator.node.consensus.settings import Timing
from etl_operator.node.consensus.transport import PeerTransport
from etl_operator.tls.files import TlsFiles
from etl_operator.tls.peers import PeerTls

log = logging.getLogger(__name__)

_CALL_SECONDS = 5.0
_MEMBERS_EVERY = 1.0
_CHANGE_EVERY = 0.5


@dataclass(frozen=True, slots=True)
class Own:
    """etcd is a process of this node.

    :param binary: the program.
    :param quota: see `Program`.
    :param tls: between the members.
    :param otherwise: made if the other nodes turn out to be on the embedded engine: its directory.
    """

    binary: str
    quota: int | None = None
    tls: TlsFiles | None = None
    otherwise: Path | None = None


@dataclass(frozen=True, slots=True)
class Outside:
    """etcd runs elsewhere.

    :param targets: gRPC targets of its members.
    :param prefix: begin of all keys.
    """

    targets: Sequence[str]
    tls: grpc.ChannelCredentials | None
    prefix: str


@dataclass(slots=True)
class _Peer:
    """What is known of another node."""

    address: Address
    heard: float = float("-inf")
    contact: float | None = None
    role: Role = Role.UNKNOWN
    match_index: int = 0


class EtcdEngine:
    """A `ConsensusEngine`. The parameters are those of the embedded engine, except:

    :param store: where etcd is.
    :param bind: for questions between nodes. etcd's own listener has the next port.
    """

    def __init__(
        self,
        node_id: int,
        bind: Address,
        peers: Mapping[int, Address],
        directory: Path,
        machine: StateMachine,
        *,
        store: Own | Outside,
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
        self._store = store
        self._timing = timing
        self._snapshot_every = snapshot_every
        self._transport = PeerTransport(
            node_id,
            bind,
            peers,
            cluster=cluster,
            deliver=self._deliver,
            connected=lambda peer, up: None,
            tls=tls,
        )
        self._membership = MembershipLoop(
            self,
            Expected({**peers, node_id: bind}, existing, replace_lost),
            max(timing.heartbeat, _CHANGE_EVERY),
        )
        self._members: Members | None = None
        self._learned: int | None = None
        """How far the store is here, while this node is a learner."""
        self._callbacks: list[Callable[[], None]] = []
        self._seen: tuple[Any, ...] = ()
        self._tasks: list[asyncio.Task[None]] = []
        self._running: asyncio.Task[None] | None = None
        self._checked = False
        self._handing_over = False
        self._stopped = False
        self._program: Program | None = None
        self._joining: Joining | None = None
        self._snapshotting: asyncio.Task[None] | None = None
        self._poked = asyncio.Event()

    # Life.

    async def start(self) -> None:
        """See `ConsensusEngine`. Does not wait for etcd.

        :raises ConsensusError: the etcd program cannot be used.
        """
        self._failure: asyncio.Future[ConsensusError] = asyncio.get_running_loop().create_future()
        prefix = b"etl-router/"
        if isinstance(self._store, Own):
            await programs.check(self._store.binary)
            self._program = Program(
                self._store.binary,
                self._directory,
                self._node_id,
                etcd_address(self._bind),
                timing=self._timing,
                tls=self._store.tls,
                quota=self._store.quota,
            )
            self._client = Client([self._program.prepare()], within=_CALL_SECONDS)
        else:
            prefix = self._store.prefix.encode()
            self._client = Client(self._store.targets, within=_CALL_SECONDS, tls=self._store.tls)
        self._build(Keys(prefix))
        await self._transport.start()
        loops = [self._replica.run(), self._writer.run(), self._poll(), self._beat()]
        if self._members is not None:
            loops += [self._membership.run(), self._read_members(self._members)]
        self._tasks = [asyncio.create_task(self._guarded(loop)) for loop in loops]
        if self._joining is not None:
            self._running = asyncio.create_task(self._guarded(self._run_program(self._joining)))

    def _build(self, keys: Keys) -> None:
        client = self._client
        self._replica = Replica(
            client,
            keys,
            self._machine,
            applied=self._applied,
            owned=self._owned,
            stall=max(2 * self._timing.election_max, 2.0),
        )
        self._leadership = Leadership(client, keys, self._replica, self._node_id, self._timing)
        self._writer = Writer(client, keys, doubt=self._doubted)
        self._space = Space(
            client,
            keys,
            self._replica,
            self._machine,
            every=self._snapshot_every,
            program=self._program,
        )
        if self._program is not None:
            self._joining = Joining(
                client,
                self._program,
                self._node_id,
                lambda: {
                    peer: address
                    for peer, address in self._membership.expected.members.items()
                    if peer != self._node_id
                },
                self._bind,
                lambda peer, topic, body, within: self._transport.ask(peer, topic, body, within),
                file=self._directory / "initial-cluster",
                running=lambda: self._checked,
                may_found=lambda: not self._membership.expected.existing,
            )
            self._members = Members(client, self._joining)
            self._transport.handlers[JOIN] = self._joining.answer

    async def _run_program(self, joining: Joining) -> None:
        assert self._program is not None
        while True:
            try:
                start = await joining.start()
            except OtherEngine:
                if isinstance(self._store, Own) and self._store.otherwise is not None:
                    self._store.otherwise.mkdir(parents=True, exist_ok=True)
                raise
            await self._program.run(start.initial, start.state, start.url)
            joining.removed()
            self._checked = False
            self._replica.forget()

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except ConsensusError as error:
            self._fail(error)
        except BadLog as error:
            self._fail(StorageCorrupt(f"etcd's store: {error}"))
        except Exception as error:
            log.exception("the engine failed")
            self._fail(EngineFault(f"the engine failed: {error}"))

    def _fail(self, error: ConsensusError) -> None:
        if not self._failure.done():
            self._failure.set_result(error)
            self._writer.fail(error)

    async def stop(self) -> None:
        """See `ConsensusEngine`."""
        if self._stopped:
            return
        await self.hand_over()
        self._stopped = self._leadership.withdrawn = True
        self._writer.fail(LeadershipLost("the node is stopping; the outcome is unknown"))
        await self._end()

    async def _end(self) -> None:
        await _ended([*self._tasks, *([self._snapshotting] if self._snapshotting else [])])
        await self._transport.stop()
        # Before etcd itself: it waits for calls that are under way.
        await self._client.close()
        await _ended([self._running] if self._running else [])
        if self._program is not None:
            self._program.close()

    async def failed(self) -> ConsensusError:
        """See `ConsensusEngine`."""
        return await asyncio.shield(self._failure)

    # What it is for.

    async def propose(self, command: bytes, *, within: float = 5.0) -> object:
        """See `ConsensusEngine`."""
        if self._failure.done():
            raise self._failure.result()
        if len(command) >= MAX_COMMAND:
            raise ValueError(f"a command of {len(command)} bytes exceeds {MAX_COMMAND - 1}")
        if self._stopped or self._handing_over or not self._leadership.holds:
            if self._space.full and self._leadership.leader is None:
                raise StorageFull("etcd has no space")
            raise NotLeader("not the leader")
        try:
            async with asyncio.timeout(within):
                return await self._writer.propose(command)
        except TimeoutError:
            raise CommitTimeout("timed out waiting for commit; the outcome is unknown") from None

    async def read_barrier(self, *, within: float = 5.0) -> None:
        """See `ConsensusEngine`. Linearizable: what was acknowledged before the call is in later reads."""
        try:
            async with asyncio.timeout(within):
                while True:
                    with contextlib.suppress(EtcdError):
                        return await self._replica.barrier()
                    await asyncio.sleep(self._timing.heartbeat)
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
        if not self._leadership.holds or self._failure.done():
            return
        now = time.monotonic()
        ready = [
            (known.match_index, peer)
            for peer, known in self._peers.items()
            if known.role is Role.FOLLOWER and now - known.heard <= self._timing.election_max
            if not to or peer in to
        ]
        if not ready:
            return
        self._handing_over = True
        try:
            async with asyncio.timeout(min(self._timing.election_max, 1.0)):
                if pending := self._writer.pending:
                    await asyncio.wait(pending)
                _, target = max(ready)
                await self._move_etcd(target)
                await self._leadership.hand_to(target)
                while self._leadership.holds or self._leadership.leader == self._node_id:
                    await self._replica.advance()
        except (TimeoutError, EtcdError) as error:
            log.info("no other node took over in time: %s", error or "no answer")
        finally:
            self._handing_over = False

    async def _move_etcd(self, target: int) -> None:
        """Have etcd's leader move along, so that it need not be elected when this node ends."""
        if self._program is None or not self._leadership.etcd_leads:
            return
        with contextlib.suppress(Refused):
            for member in await self._client.members():
                if member.name == name_of(target) and not member.isLearner:
                    await self._client.move_leader(member.ID)

    @property
    def flushes(self) -> int:
        """See `ConsensusEngine`."""
        return self._writer.transactions

    # Status.

    def status(self) -> Status:
        """See `ConsensusEngine`."""
        leader, role, replica = self._leadership.leader, self._role(), self._replica
        listed = self._members.seats if self._members is not None else {}
        nodes = listed or self._membership.expected.members
        members = [self._status_of(node, listed.get(node), leader) for node in sorted(nodes)]
        return Status(
            node_id=self._node_id,
            leader_id=leader,
            role=role,
            term=self._leadership.term,
            commit_index=replica.revision,
            applied_index=replica.revision,
            members=tuple(members),
            caught_up=replica.loaded,
        )

    def _role(self) -> Role:
        if self._leadership.holds:
            return Role.LEADER
        if self._learned is not None:
            return Role.LEARNER
        return Role.FOLLOWER if self._leadership.connected else Role.CANDIDATE

    def _reached(self) -> int:
        """How far the log is here."""
        return self._replica.revision if self._learned is None else self._learned

    def _status_of(self, node: int, seat: Seat | None, leader: int | None) -> Member:
        voter = seat is None or seat.voter
        if node == self._node_id:
            return Member(node, str(self._bind), self._role(), True, self._reached(), time.time(), voter)
        known = self._peers.get(node)
        if known is None:
            where = str(seat.address) if seat is not None else ""
            return Member(node, where, Role.UNKNOWN, False, 0, None, voter)
        healthy = time.monotonic() - known.heard <= max(2 * self._timing.election_max, 1.0)
        role = Role.LEADER if node == leader else known.role if healthy else Role.UNKNOWN
        found = Member(node, str(known.address), role, healthy, known.match_index, known.contact, voter)
        return replace(found, blank=self._members is not None and self._members.is_blank(node))

    def on_change(self, callback: Callable[[], None]) -> None:
        """See `ConsensusEngine`."""
        self._callbacks.append(callback)

    def _notice_changes(self) -> None:
        role, leader, term = self._role(), self._leadership.leader, self._leadership.term
        seen = (
            role,
            leader,
            term,
            self._replica.loaded,
            self._members and tuple(self._members.seats.items()),
        )
        if seen == self._seen:
            return
        if self._seen[:3] != seen[:3]:
            log.info("term %d: this node is %s, leader is %s", term, role.value, leader or "not known")
        self._seen = seen
        for callback in self._callbacks:
            callback()

    # What happens.

    def _deliver(self, sender: int, message: wire.Message) -> None:
        peer = self._peers.get(sender)
        if peer is None:
            return
        peer.heard, peer.contact = time.monotonic(), time.time()
        if isinstance(message, wire.Beat):
            with contextlib.suppress(ValueError):
                peer.role = Role(message.role)
            peer.match_index = message.match_index
            self._leadership.heard(sender, leads=peer.role is Role.LEADER)

    def _applied(self, number: int, size: int, result: object) -> None:
        self._space.count(size)
        self._writer.applied(number, result)

    def _owned(self) -> None:
        self._leadership.changed()
        self._writer.settle(self._replica.fence, self._replica.number)
        if self._leadership.owns:
            self._writer.open(self._replica.fence, self._replica.number)
        else:
            self._writer.close()
        self._notice_changes()
        self._poked.set()

    def _doubted(self, fence: int) -> None:
        self._leadership.doubt(fence)
        self._notice_changes()
        self._poked.set()

    async def _poll(self) -> None:
        """Ask the member how it is, and do what follows from it."""
        answered_at = time.monotonic()
        while True:
            try:
                status = await self._client.status(self._timing.election_min)
                answered_at = time.monotonic()
                await self._asked(status)
            except EtcdError as error:
                log.debug("etcd: %s", error)
                self._leadership.lost()
                if time.monotonic() - answered_at > self._timing.election_max:
                    answered_at = time.monotonic()
                    await self._client.next_target()
            self._notice_changes()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timing.heartbeat):
                    await self._poked.wait()
            self._poked.clear()

    async def _asked(self, status: Any) -> None:
        if not self._checked:
            if problem := version_problem(status.version):
                raise ConsensusError(f"cannot use etcd: {problem}")
            self._checked = True
        term = self._leadership.term
        self._leadership.asked(leader=status.leader, own=status.header.member_id, term=status.raftTerm)
        if status.leader and self._program is not None and self._joining is not None:
            self._program.healthy()
            self._joining.elected()
        if self._leadership.term != term:
            self._writer.shake()
        self._replica.behind(status.header.revision)
        await self._space.tend(status)
        self._learned = status.header.revision if status.isLearner else None
        if status.isLearner:
            return
        if self._leadership.due({member.node_id for member in self.status().members}):
            with contextlib.suppress(EtcdError):  # As without space. The watch says what became of it.
                await self._leadership.claim()
        if self._space.due and self._leadership.holds and self._snapshotting is None:
            self._snapshotting = asyncio.create_task(self._snapshot())

    async def _snapshot(self) -> None:
        try:
            await self._space.snapshot(self._replica.fence, lambda: self._leadership.holds)
        except EtcdError as error:
            log.warning("the snapshot was not written, trying again: %s", error)
            await asyncio.sleep(1)
        finally:
            self._snapshotting = None

    async def _beat(self) -> None:
        while True:
            role, reached = self._role(), self._reached()
            beat = wire.Beat(term=self._leadership.term, role=role.value, match_index=reached)
            self._transport.broadcast(beat)
            await asyncio.sleep(self._timing.heartbeat)

    # Members.

    async def _read_members(self, members: Members) -> None:
        """Know who they are."""
        while True:
            with contextlib.suppress(EtcdError):
                await members.read()
                self._connect(members)
                self._notice_changes()
            await asyncio.sleep(_MEMBERS_EVERY)

    def _connect(self, members: Members) -> None:
        """Reach those whom the flags or etcd name."""
        wanted = {node: seat.address for node, seat in members.seats.items()}
        wanted |= {node: known.address for node, known in self._peers.items() if node in wanted}
        wanted |= self._membership.expected.members
        wanted.pop(self._node_id, None)
        for node in self._peers.keys() - wanted.keys():
            del self._peers[node]
        for node, address in wanted.items():
            self._peers.setdefault(node, _Peer(address)).address = address
        self._transport.connect(wanted)

    def expect(self, expected: Expected) -> None:
        """See `ConsensusEngine`."""
        if expected != self._membership.expected:
            self._membership.expected = expected
            if self._members is not None:
                self._connect(self._members)

    async def add_learner(self, member: int, address: Address, *, within: float = 5.0) -> None:
        """See `ConsensusEngine`."""
        await self._change(lambda members: members.add(member, address), within)

    async def promote(self, member: int, *, within: float = 5.0) -> None:
        """See `ConsensusEngine`."""
        await self._change(lambda members: members.promote(member), within)

    async def remove(self, member: int, *, within: float = 5.0) -> None:
        """See `ConsensusEngine`."""
        await self._change(lambda members: members.remove(member), within)

    async def _change(self, change: Callable[[Members], Awaitable[None]], within: float) -> None:
        if self._members is None:
            raise ChangeRefused("the members of an etcd that runs elsewhere are not changed from here")
        if self._stopped or not self._leadership.holds:
            raise NotLeader("not the leader")
        try:
            async with asyncio.timeout(within):
                await change(self._members)
        except TimeoutError:
            raise CommitTimeout("timed out waiting for etcd; the outcome is unknown") from None
        self._connect(self._members)
        self._notice_changes()


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
