"""The engine on real etcd processes: what only it does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from etl_operator.node.consensus.address import Address
from etl_operator.node.consensus.engine import (
    CommitTimeout,
    ConsensusError,
    NotLeader,
    OutcomeUnknown,
    StorageFull,
)
from etl_operator.node.consensus.etcd import program
from etl_operator.node.consensus.etcd.engine import EtcdEngine, Outside, Own
from etl_operator.node.consensus.settings import Timing
from tests.hanging import HANGS
from tests.node.etcd import EtcdGroup, binary, gone
from tests.node.group import Log, engines
from tests.processes import until

MIB = 2**20


@pytest.fixture(autouse=True)
def needs_etcd() -> None:
    binary()


async def test_reads_anywhere_have_what_was_acknowledged_before(tmp_path: Path) -> None:
    async with engines(EtcdGroup, tmp_path, 3) as made:
        await made.leader()
        for number in range(20):
            await made.write(b"%d" % number)
            for node, engine in made.engines.items():
                await engine.read_barrier(within=HANGS)
                assert made.machines[node].commands[-1] == b"%d" % number


async def test_no_value_exceeds_a_mebibyte(tmp_path: Path) -> None:
    async with engines(EtcdGroup, tmp_path, 1, snapshot_every=3) as made:
        for number in range(4):
            await made.write(b"%d" % number + b"x" * (3 * MIB))
        client = made.client(1)

        async def stored() -> bool:
            return bool((await client.range(b"etl-router/s/current")).kvs)

        await until(stored)
        everything = await client.range(b"\0", b"\xff")
        assert len(everything.kvs) > 20
        assert max(len(kv.value) for kv in everything.kvs) < MIB


async def test_a_former_leader_cannot_write(tmp_path: Path) -> None:
    async with engines(EtcdGroup, tmp_path, 3) as made:
        await made.write(b"a")
        former = made.engine(await made.leader())
        fence, number = former._replica.fence, former._replica.number
        await made.move()
        await made.write(b"b")
        assert not await former._writer._send(fence, number + 1, [b"\x03stale"])
        await made.write(b"c")
        await made.equal([b"a", b"b", b"c"])


async def test_a_snapshot_of_a_former_leader_is_not_stored(tmp_path: Path) -> None:
    async with engines(EtcdGroup, tmp_path, 3) as made:
        await made.write(b"a")
        former = made.engine(await made.leader())
        fence = former._replica.fence
        await made.move()
        await former._space.snapshot(fence, lambda: True)
        assert not (await former._client.range(b"etl-router/s/", b"etl-router/s0")).kvs


async def test_history_that_is_gone_is_read_again(tmp_path: Path) -> None:
    async with engines(EtcdGroup, tmp_path, 1, snapshot_every=10) as made:
        commands = [b"%d" % number for number in range(25)]
        for command in commands:
            await made.write(command)
        replica, client = made.engine(1)._replica, made.client(1)

        async def compacted() -> bool:
            with contextlib.suppress(Exception):
                await client.range(b"a", revision=2)
                return False
            return True

        await until(compacted)
        # As a watch that has been away for long.
        replica.seen = 1
        assert replica._watching is not None
        replica._watching.cancel()
        await until(lambda: not replica.loaded or replica.seen > 1)
        await until(lambda: replica.loaded)
        await made.write(b"last")
        assert made.machines[1].commands == [*commands, b"last"]


async def test_a_watch_that_is_silent_is_replaced(tmp_path: Path) -> None:
    async with engines(EtcdGroup, tmp_path, 1) as made:
        await made.write(b"a")
        replica = made.engine(1)._replica
        watching = replica._watching
        assert watching is not None
        replica._stall = -1.0
        replica.behind(replica.seen + 1)
        await until(lambda: replica._watching is not watching)
        await made.write(b"b")
        await made.equal([b"a", b"b"])


async def test_a_frozen_etcd_loses_leadership_and_nothing_else(tmp_path: Path) -> None:
    async with engines(EtcdGroup, tmp_path, 3) as made:
        leader = await made.leader()
        await made.write(b"a")
        os.kill(made.pid(leader), signal.SIGSTOP)
        with pytest.raises(CommitTimeout):
            await made.engines[leader].propose(b"unknown", within=0.05)
        others = [node for node in made.engines if node != leader]
        new = await made.leader(others)
        await made.engines[new].propose(b"b", within=HANGS)
        os.kill(made.pid(leader), signal.SIGCONT)
        await until(lambda: made.engines[leader].status().leader_id not in (None, leader))
        await made.write(b"c")
        final = made.machines[await made.leader()].commands
        assert [command for command in final if command != b"unknown"] == [b"a", b"b", b"c"]
        await made.equal(list(final))


async def test_an_etcd_that_is_killed_is_started_again(tmp_path: Path) -> None:
    async with engines(EtcdGroup, tmp_path, 1) as made:
        await made.write(b"a")
        killed = made.pid(1)
        os.kill(killed, signal.SIGKILL)
        await gone(killed)
        await made.write(b"b")
        assert made.machines[1].commands == [b"a", b"b"]
        assert made.pid(1) != killed


async def test_without_space_writes_are_refused_and_later_taken_again(tmp_path: Path) -> None:
    async with engines(EtcdGroup, tmp_path, 3, quota=16 * MIB) as made:
        leader = await made.leader()
        await made.write(b"a")
        await made.fill(leader)

        async def refused() -> bool:
            try:
                await made.engines[await made.leader()].propose(b"refused", within=HANGS)
            except StorageFull as error:
                assert "no space" in str(error)
                return True
            except (NotLeader, OutcomeUnknown):
                pass
            return False

        await until(refused)
        for engine in made.engines.values():  # Reads go on.
            await engine.read_barrier(within=HANGS)
        await made.empty(leader)

        async def taken() -> bool:
            try:
                await made.engines[await made.leader()].propose(b"b", within=HANGS)
            except (NotLeader, OutcomeUnknown, StorageFull):
                return False
            return True

        await until(taken)
        await until(lambda: not any(made.engine(node)._space.full for node in made.engines))


async def test_an_etcd_that_runs_elsewhere(tmp_path: Path) -> None:
    async with engines(EtcdGroup, tmp_path, 1) as made:
        await made.leader()
        server = made.engine(1)._program
        assert server is not None
        targets = ["unix:/nowhere", f"unix:{server._socket()}"]
        machines = {node: Log() for node in (1, 2)}
        network = f"{made.network}.10"
        where = {node: Address(network, 60000 + 10 * node) for node in machines}
        outside = {
            node: EtcdEngine(
                node,
                where[node],
                {peer: address for peer, address in where.items() if peer != node},
                tmp_path,
                machines[node],
                store=Outside(targets, None, "other/"),
                timing=Timing(0.5, 1.0, 0.1),
            )
            for node in machines
        }
        try:
            for engine in outside.values():
                await engine.start()
            await until(lambda: any(engine._leadership.holds for engine in outside.values()))

            async def written() -> bool:
                for engine in outside.values():
                    with contextlib.suppress(NotLeader, OutcomeUnknown):
                        await engine.propose(b"a", within=HANGS)
                        return True
                return False

            await until(written)
            await until(lambda: all(machine.commands == [b"a"] for machine in machines.values()))
            await made.write(b"own")
            assert made.machines[1].commands == [b"own"]
        finally:
            for engine in outside.values():
                await engine.stop()


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("echo etcd Version: 3.4.23", "its version is 3.4.23; 3.5.14 or newer is required"),
        ("echo something else", "does not name a version of etcd"),
    ],
)
async def test_what_cannot_be_used_is_refused_at_the_start(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConsensusError, match=problem):
        await program.check(script(tmp_path / "etcd", text))
    with pytest.raises(ConsensusError, match="cannot run etcd"):
        await program.check(str(tmp_path / "nothing"))


async def test_an_etcd_that_does_not_start_ends_the_node_with_its_last_words(tmp_path: Path) -> None:
    broken = script(
        tmp_path / "etcd",
        '[ "$1" = --version ] && echo etcd Version: 3.6.0 && exit\n'
        """echo '{"level":"fatal","msg":"discovery failed","error":"the disk is broken"}' >&2; exit 1""",
    )
    options: dict[str, Any] = {"store": Own(broken), "timing": Timing(0.5, 1.0, 0.1)}
    address = Address(EtcdGroup(tmp_path).network + ".1", 50052)
    engine = EtcdEngine(1, address, {}, tmp_path / "data", Log(), **options)
    await engine.start()
    try:
        error = await asyncio.wait_for(engine.failed(), HANGS)
        assert "discovery failed (error=the disk is broken)" in str(error)
        with pytest.raises(ConsensusError):
            await engine.propose(b"a")
    finally:
        await engine.stop()
