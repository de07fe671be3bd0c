"""The consensus engine, several in one process, over real sockets, with faults."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from etl_operator.node.consensus import raft as raft_module
from etl_operator.node.consensus import wire
from etl_operator.node.consensus.address import Address
from etl_operator.node.consensus.embedded import EmbeddedEngine
from etl_operator.node.consensus.engine import (
    CommitTimeout,
    ConsensusError,
    NotLeader,
    NotReady,
    OutcomeUnknown,
    Role,
    StorageCorrupt,
)
from etl_operator.node.consensus.journal import DiskJournal
from etl_operator.node.consensus.settings import Timing
from etl_operator.node.consensus.transport import PeerTransport
from etl_operator.node.process import RaftTls
from tests.node.cluster import until

TIMING = Timing(0.3, 0.6, 0.1)
PORT = 50052


class Log:
    """A state machine that remembers its commands in order."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []

    def apply(self, command: bytes) -> int:
        self.commands.append(command)
        return len(self.commands)

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.commands)

    def restore(self, data: bytes) -> None:
        self.commands = msgspec.msgpack.decode(data, type=list[bytes])


@dataclass
class Group:
    """Engines 1..n on loopback addresses of their own."""

    directory: Path
    options: dict[str, Any] = field(default_factory=dict)
    engines: dict[int, EmbeddedEngine] = field(default_factory=dict)
    machines: dict[int, Log] = field(default_factory=dict)
    network: str = ""

    def __post_init__(self) -> None:
        pick = random.SystemRandom()
        self.network = f"127.{pick.randint(128, 191)}.{pick.randint(0, 255)}"

    def address(self, node: int) -> Address:
        return Address(f"{self.network}.{node}", PORT)

    async def start(self, node: int, members: Iterable[int], **options: Any) -> EmbeddedEngine:
        self.machines[node] = Log()
        engine = EmbeddedEngine(
            node,
            self.address(node),
            {peer: self.address(peer) for peer in members if peer != node},
            self.directory / str(node),
            self.machines[node],
            **{"timing": TIMING, **self.options, **options},
        )
        await engine.start()
        self.engines[node] = engine
        return engine

    async def crash(self, node: int) -> None:
        """End an engine without any of its farewells."""
        engine = self.engines.pop(node)
        engine._stopped = True
        engine._ticker.cancel()
        await asyncio.gather(engine._ticker, return_exceptions=True)
        await engine._transport.stop()
        engine._raft.destroy()

    async def leader(self, among: Iterable[int] | None = None) -> int:
        """Wait until one of them leads and has its state."""
        nodes = list(among or self.engines)
        found: list[int] = []

        def leads() -> bool:
            found[:] = [n for n in nodes if self.engines[n]._readable() and self.leads(n)]
            return bool(found)

        await until(leads)
        return found[0]

    def leads(self, node: int) -> bool:
        return self.engines[node].status().role is Role.LEADER

    async def follow(self, nodes: Iterable[int], leader: int) -> None:
        await until(lambda: all(self.engines[n].status().leader_id == leader for n in nodes))

    async def equal(self, commands: list[bytes]) -> None:
        await until(lambda: all(self.machines[node].commands == commands for node in self.engines))


@asynccontextmanager
async def group(directory: Path, size: int, **options: Any) -> AsyncIterator[Group]:
    made = Group(directory, options)
    try:
        for node in range(1, size + 1):
            await made.start(node, range(1, size + 1))
        yield made
    finally:
        for node in list(made.engines):
            await made.crash(node)


async def test_the_installed_library_has_the_names_the_engine_relies_on(tmp_path: Path) -> None:
    async with group(tmp_path, 1) as made:
        assert raft_module.missing_names(made.engines[1]._raft) == []


async def test_a_lone_node_leads_at_once(tmp_path: Path) -> None:
    async with group(tmp_path, 1, timing=Timing(60, 120, 0.1)) as made:
        assert made.leads(1)
        assert await made.engines[1].propose(b"a") == 1
        await made.engines[1].read_barrier()


async def test_proposals_in_parallel_are_each_answered_in_log_order(tmp_path: Path) -> None:
    async with group(tmp_path, 3) as made:
        leader = await made.leader()
        commands = [b"%d" % number for number in range(200)]
        flushes = made.engines[leader].flushes
        answers = await asyncio.gather(*[made.engines[leader].propose(command) for command in commands])
        assert answers == list(range(1, 201))
        assert made.engines[leader].flushes - flushes < 50  # Together, not one by one.
        await made.equal(commands)


async def test_a_follower_and_an_oversized_command_are_refused(tmp_path: Path) -> None:
    async with group(tmp_path, 3) as made:
        leader = await made.leader()
        follower = next(node for node in made.engines if node != leader)
        with pytest.raises(NotLeader):
            await made.engines[follower].propose(b"a")
        with pytest.raises(ValueError, match="exceeds"):
            await made.engines[leader].propose(b"x" * wire.MAX_COMMAND)
        large = b"y" * (wire.MAX_COMMAND - 1)
        assert await made.engines[leader].propose(large, within=20) == 1
        await made.equal([large])


async def test_without_a_majority_nothing_is_acknowledged(tmp_path: Path) -> None:
    async with group(tmp_path, 3) as made:
        leader = await made.leader()
        for node in [node for node in made.engines if node != leader]:
            await made.crash(node)
        with pytest.raises(CommitTimeout):
            await made.engines[leader].propose(b"a", within=0.05)
        with pytest.raises(ConsensusError):  # It notices, and stops leading.
            await made.engines[leader].propose(b"b", within=20)
        assert not made.leads(leader)
        assert made.engines[leader].status().leader_id is None
        assert made.machines[leader].commands == []


async def test_reads_wait_until_the_state_is_there(tmp_path: Path) -> None:
    async with group(tmp_path, 1) as made:
        alone = await made.start(2, [1, 2])
        with pytest.raises(NotReady):
            await alone.read_barrier(within=0.05)
        assert not alone.status().caught_up


async def test_a_node_out_of_touch_does_not_disturb_the_term(tmp_path: Path) -> None:
    async with group(tmp_path, 3) as made:
        leader = await made.leader()
        lonely = next(node for node in made.engines if node != leader)
        await made.follow(made.engines, leader)
        term = made.engines[leader].status().term
        transport = made.engines[lonely]._transport
        deliver, send = transport._deliver, transport.send
        transport._deliver = lambda sender, message: None
        transport.send = lambda peer, message: False  # type: ignore[method-assign]
        await until(lambda: made.engines[lonely].status().leader_id is None)
        await asyncio.sleep(2 * TIMING.election_max)  # Long enough to have stood twice.
        transport._deliver, transport.send = deliver, send  # type: ignore[method-assign]
        await made.follow([lonely], leader)
        assert {engine.status().term for engine in made.engines.values()} == {term}


async def test_a_member_ahead_in_terms_is_taken_back(tmp_path: Path) -> None:
    async with group(tmp_path, 3) as made:
        leader = await made.leader()
        ahead = next(node for node in made.engines if node != leader)
        term = made.engines[leader].status().term + 7
        made.engines[ahead]._raft.adopt_term(term)
        new = await made.leader()
        await until(lambda: made.engines[ahead].status().leader_id is not None)
        assert made.engines[new].status().term >= term
        await made.engines[await made.leader()].propose(b"a")
        await made.equal([b"a"])


async def test_leadership_is_handed_over_on_request(tmp_path: Path) -> None:
    async with group(tmp_path, 3) as made:
        leader = await made.leader()
        await made.engines[leader].propose(b"a")
        await made.engines[leader].hand_over()
        assert not made.leads(leader)
        new = await made.leader()
        assert new != leader
        await made.engines[new].propose(b"b")
        await made.equal([b"a", b"b"])


async def test_a_member_far_behind_is_brought_up_by_a_snapshot(tmp_path: Path) -> None:
    async with group(tmp_path, 3, snapshot_every=5) as made:
        leader = await made.leader()
        behind = next(node for node in made.engines if node != leader)
        await made.crash(behind)
        commands = [b"%d" % number * 3000 for number in range(40)]
        for command in commands:
            await made.engines[leader].propose(command)
        await made.start(behind, [1, 2, 3])
        await made.equal(commands)
        await made.crash(behind)
        await made.start(behind, [1, 2, 3])
        await made.equal(commands)


@pytest.mark.parametrize("file", ["snapshot", "journal"])
async def test_a_lost_or_damaged_snapshot_is_not_passed_over(tmp_path: Path, file: str) -> None:
    made = Group(tmp_path, {"snapshot_every": 5})
    await made.start(1, [1])
    for number in range(20):
        await made.engines[1].propose(b"%d" % number)
    await made.crash(1)
    stored = tmp_path / "1" / "snapshot"
    if file == "snapshot":
        stored.write_bytes(stored.read_bytes()[:-1])
    else:
        stored.unlink()
    with pytest.raises(StorageCorrupt, match="snapshot"):
        await made.start(1, [1])


async def test_a_crash_between_snapshot_and_journal_loses_nothing(tmp_path: Path) -> None:
    made = Group(tmp_path, {"snapshot_every": 10})
    await made.start(1, [1])
    shutil_copy = tmp_path / "journal.before"
    for number in range(7):
        await made.engines[1].propose(b"%d" % number)
    for number in range(7, 14):
        if not (tmp_path / "1" / "snapshot").exists():
            shutil.copy(tmp_path / "1" / "journal", shutil_copy)
        await made.engines[1].propose(b"%d" % number)
    await made.crash(1)
    # The journal as it would be had the shortening after the snapshot never reached the disk, and the writes
    # behind it had: the old head, then the new tail.
    tail = DiskJournal(tmp_path / "1")
    entries = tail[:]
    tail.close()
    shutil.copy(shutil_copy, tmp_path / "1" / "journal")
    whole = DiskJournal(tmp_path / "1")
    for entry in entries:
        if entry[1] > whole[-1][1]:
            whole.add(*entry)
    whole.sync()
    whole.close()
    await made.start(1, [1])
    await made.engines[1].read_barrier()
    assert made.machines[1].commands == [b"%d" % number for number in range(14)]
    await made.crash(1)


async def test_nothing_is_answered_or_applied_before_it_is_flushed(tmp_path: Path) -> None:
    async with group(tmp_path, 3) as made:
        answers: list[tuple[wire.Message, bool]] = []
        applied: list[bool] = []

        def watch(engine: EmbeddedEngine, machine: Log) -> None:
            send, apply = engine._transport.send, machine.apply

            def sending(peer: int, message: wire.Message) -> bool:
                if isinstance(message, wire.NextIndex | wire.ResponseVote | wire.RequestVote):
                    answers.append((message, engine._journal.flushed))
                return send(peer, message)

            def applying(command: bytes) -> int:
                applied.append(engine._journal.flushed)
                return apply(command)

            engine._transport.send = sending  # type: ignore[method-assign]
            engine._raft._apply = applying

        for node, engine in made.engines.items():
            watch(engine, made.machines[node])
        leader = await made.leader()
        await asyncio.gather(*[made.engines[leader].propose(b"%d" % number) for number in range(50)])
        await made.engines[leader].hand_over()
        await made.engines[await made.leader()].propose(b"last")
        assert {type(message) for message, _ in answers} == {
            wire.NextIndex,
            wire.ResponseVote,
            wire.RequestVote,
        }
        assert all(flushed for _, flushed in answers)
        assert len(applied) > 50
        assert all(applied)


async def test_acknowledged_writes_survive_a_power_cut_of_all_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written but not flushed vanishes everywhere at once; what was acknowledged must be back."""
    sync = DiskJournal.sync

    def keep_a_copy(self: DiskJournal) -> None:
        flushes = self.syncs
        sync(self)
        if self.syncs != flushes:
            shutil.copy(self.directory / "journal", self.directory / "flushed")

    monkeypatch.setattr(DiskJournal, "sync", keep_a_copy)
    async with group(tmp_path, 3) as made:
        acknowledged: list[bytes] = []
        for cut in range(3):
            leader = await made.leader()
            proposals = [made.engines[leader].propose(b"%d/%d" % (cut, n)) for n in range(40)]
            tasks = [asyncio.ensure_future(proposal) for proposal in proposals]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for node in (1, 2, 3):
                await made.crash(node)
                shutil.copy(tmp_path / str(node) / "flushed", tmp_path / str(node) / "journal")
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            acknowledged += [b"%d/%d" % (cut, n) for n, a in enumerate(answers) if isinstance(a, int)]
            for node in (1, 2, 3):
                await made.start(node, [1, 2, 3])
        assert acknowledged
        leader = await made.leader()
        assert set(acknowledged) <= set(made.machines[leader].commands)
        await made.equal(list(made.machines[leader].commands))


@pytest.mark.parametrize("seed", [1, 2])
async def test_logs_never_part_under_lost_messages_partitions_and_restarts(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with group(tmp_path, 3, snapshot_every=20) as made:
        cut: set[tuple[int, int]] = set()

        def lossy(node: int) -> None:
            transport = made.engines[node]._transport
            send = transport.send

            def maybe(peer: int, message: wire.Message) -> bool:
                if (node, peer) in cut or chance.random() < 0.1:
                    return True  # Thought to be sent, as on a real network.
                return send(peer, message)

            transport.send = maybe  # type: ignore[method-assign]

        for node in made.engines:
            lossy(node)
        acknowledged: list[bytes] = []
        done = asyncio.Event()

        async def write(worker: int) -> None:
            number = 0
            while not done.is_set():
                number += 1
                command = b"%d/%d" % (worker, number)
                for engine in list(made.engines.values()):
                    try:
                        await engine.propose(command, within=0.5)
                    except (NotLeader, OutcomeUnknown):
                        await asyncio.sleep(0.01)
                        continue
                    acknowledged.append(command)
                    break

        writers = [asyncio.create_task(write(worker)) for worker in range(3)]
        for _ in range(6):
            await asyncio.sleep(0.4)
            victim = chance.choice([1, 2, 3])
            if chance.random() < 0.5:
                cut = {(a, b) for a in (1, 2, 3) for b in (1, 2, 3) if victim in (a, b)}
            else:
                cut = set()
                await made.crash(victim)
                await made.start(victim, [1, 2, 3])
                lossy(victim)
        done.set()
        cut = set()
        chance.random = lambda: 1.0  # type: ignore[method-assign]
        await asyncio.gather(*writers)
        leader = await made.leader()
        await made.engines[leader].propose(b"last")
        final = list(made.machines[await made.leader()].commands)
        assert acknowledged
        assert set(acknowledged) <= set(final)
        assert len(set(final)) >= len(set(acknowledged))
        await made.equal(final)


async def test_a_name_that_does_not_resolve_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Group(tmp_path)
    known = False
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo

    async def names(host: Any, *rest: Any, **options: Any) -> Any:
        if host != "node-2.example":
            return await resolve(host, *rest, **options)
        if not known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return await resolve(f"{made.network}.2", *rest, **options)

    monkeypatch.setattr(loop, "getaddrinfo", names)
    first = EmbeddedEngine(
        1,
        made.address(1),
        {2: Address("node-2.example", PORT)},
        tmp_path / "1",
        Log(),
        timing=TIMING,
    )
    await first.start()
    made.engines[1], made.machines[1] = first, Log()
    await made.start(2, [1, 2])
    await until(lambda: "not known" in first._transport._links[2].trouble)
    assert first.status().leader_id is None
    known = True
    await made.leader()
    for node in (1, 2):
        await made.crash(node)


class Peerless:
    """A transport without an engine, to dial one."""

    def __init__(self, node: int, bind: Address, peers: dict[int, Address], cluster: str, **tls: Any) -> None:
        self.heard: list[wire.Message] = []
        self.up = False
        self.transport = PeerTransport(
            node,
            bind,
            peers,
            cluster=lambda: cluster,
            deliver=lambda sender, message: self.heard.append(message),
            connected=lambda peer, up: setattr(self, "up", up),
            **tls,
        )

    def trouble(self, peer: int) -> str:
        return self.transport._links[peer].trouble


@pytest.mark.parametrize(
    ("me", "other", "cluster", "trouble"),
    [
        (2, 1, "theirs", "belongs to another cluster"),
        (9, 1, "ours", "node 9 is not a member"),
        (2, 3, "ours", "this is node 1, not node 3"),
        (2, 1, "ours", ""),
        (2, 1, "", ""),
    ],
)
async def test_only_members_of_the_same_cluster_are_let_in(
    tmp_path: Path, me: int, other: int, cluster: str, trouble: str
) -> None:
    made = Group(tmp_path, {"cluster": lambda: "ours"})
    await made.start(1, [1, 2])
    dialling = Peerless(me, made.address(me), {other: made.address(1)}, cluster)
    await dialling.transport.start()
    await until(lambda: dialling.up or bool(dialling.trouble(other)))
    assert trouble in dialling.trouble(other)
    assert dialling.up is not bool(trouble)
    await dialling.transport.stop()
    await made.crash(1)


async def test_garbage_on_the_raft_port_is_dropped(tmp_path: Path) -> None:
    async with group(tmp_path, 1) as made:
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x02\xc1\xc1", b"\x00\x00\x00\x01"):
            reader, writer = await asyncio.open_connection(made.network + ".1", PORT)
            writer.write(garbage)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
        assert await made.engines[1].propose(b"a") == 1


def certificate(directory: Path, name: str, authority: str | None = None) -> None:
    """A key and a certificate, signed by ``authority`` or by itself."""
    base = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    sign = ["-CA", f"{authority}.crt", "-CAkey", f"{authority}.key"] if authority else []
    extra = ["-addext", "basicConstraints=critical,CA:FALSE"] if authority else []
    command = [*base, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}", *sign, *extra]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
async def test_mutual_tls_lets_members_in_and_strangers_not(tmp_path: Path) -> None:
    certificate(tmp_path, "ours")
    certificate(tmp_path, "theirs")
    certificate(tmp_path, "node", "ours")
    certificate(tmp_path, "stranger", "theirs")

    def contexts(name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        return RaftTls(tmp_path / f"{name}.crt", tmp_path / f"{name}.key", tmp_path / "ours.crt").contexts()

    server, client = contexts("node")
    made = Group(tmp_path, {"server_tls": server, "client_tls": client})
    for node in (1, 2):
        await made.start(node, [1, 2])
    leader = await made.leader()
    await made.engines[leader].propose(b"a")
    await made.equal([b"a"])
    await made.crash(2)
    strange_server, strange_client = contexts("stranger")
    for tls in (
        {"server_tls": strange_server, "client_tls": strange_client},
        {"server_tls": None, "client_tls": None},
    ):
        stranger = Peerless(2, made.address(2), {1: made.address(1)}, "", **tls)
        await stranger.transport.start()
        await until(lambda stranger=stranger: bool(stranger.trouble(1)))  # type: ignore[misc]
        assert not stranger.up
        await stranger.transport.stop()
    await made.crash(1)
