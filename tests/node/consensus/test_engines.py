"""What every consensus engine does: the same tests for the embedded one and for the one on etcd."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from etl_operator.node.consensus.engine import (
    CommitTimeout,
    ConsensusError,
    Expected,
    NotLeader,
    NotReady,
    OutcomeUnknown,
)
from etl_operator.node.consensus.settings import Timing
from tests.hanging import HANGS
from tests.node.etcd import EtcdGroup, binary
from tests.node.group import Group, engines
from tests.processes import until

CALM = Timing(5.0, 10.0, 0.1)
"""Nobody is elected because a busy machine is late."""


@pytest.fixture(params=[Group, EtcdGroup], ids=["embedded", "etcd"])
def kind(request: pytest.FixtureRequest) -> type[Group]:
    """The engine."""
    if request.param is EtcdGroup:
        binary()
    made: type[Group] = request.param
    return made


async def test_a_lone_node_leads_and_answers(tmp_path: Path, kind: type[Group]) -> None:
    async with engines(kind, tmp_path, 1) as made:
        await made.leader()
        assert await made.write(b"a") == 1
        await made.engines[1].read_barrier(within=HANGS)
        status = made.engines[1].status()
        assert status.leader_id == 1
        assert status.commit_index == status.applied_index >= 2
        assert status.has_quorum


async def test_proposals_in_parallel_are_answered_in_log_order_and_written_together(
    tmp_path: Path, kind: type[Group]
) -> None:
    async with engines(kind, tmp_path, 3, timing=CALM) as made:
        leader = await made.leader()
        commands = [b"%d" % number for number in range(200)]
        before = made.engines[leader].flushes
        proposals = [made.engines[leader].propose(command, within=HANGS) for command in commands]
        assert await asyncio.gather(*proposals) == list(range(1, 201))
        assert made.engines[leader].flushes - before < 50
        await made.equal(commands)


async def test_followers_and_oversized_commands_are_refused_and_large_ones_are_taken(
    tmp_path: Path, kind: type[Group]
) -> None:
    async with engines(kind, tmp_path, 3) as made:
        leader = await made.leader()
        follower = next(node for node in made.engines if node != leader)
        with pytest.raises(NotLeader):
            await made.engines[follower].propose(b"a")
        with pytest.raises(ValueError, match="exceeds"):
            await made.engines[leader].propose(b"x" * 8 * 2**20)
        large = bytes(range(256)) * 4 * 3000
        await made.write(large)
        await made.equal([large])


async def test_without_a_majority_nothing_is_acknowledged(tmp_path: Path, kind: type[Group]) -> None:
    async with engines(kind, tmp_path, 3) as made:
        await made.write(b"before")
        leader = await made.leader()
        others = [node for node in made.engines if node != leader]
        for node in others:
            await made.crash(node)
        with pytest.raises((CommitTimeout, NotLeader)):
            await made.engines[leader].propose(b"a", within=0.05)
        await until(lambda: made.engines[leader].status().leader_id is None)
        with pytest.raises(ConsensusError):
            await made.engines[leader].propose(b"b", within=HANGS)
        assert made.machines[leader].commands == [b"before"]
        for node in others:
            await made.start(node, [1, 2, 3])
        await made.write(b"after")
        found = made.machines[await made.leader()].commands
        assert found[0] == b"before"
        assert found[-1] == b"after"
        assert b"b" not in found
        await made.equal(list(found))


async def test_reads_wait_until_the_state_is_there(tmp_path: Path, kind: type[Group]) -> None:
    async with engines(kind, tmp_path, 0) as made:
        alone = await made.start(2, [1, 2])
        with pytest.raises(NotReady):
            await alone.read_barrier(within=0.05)
        assert not alone.status().caught_up
        assert alone.status().leader_id is None


async def test_leadership_is_handed_over_on_request(tmp_path: Path, kind: type[Group]) -> None:
    async with engines(kind, tmp_path, 3) as made:
        await made.write(b"a")
        await made.move()
        await made.write(b"b")
        await made.equal([b"a", b"b"])


async def test_a_member_far_behind_is_brought_up_by_a_snapshot(tmp_path: Path, kind: type[Group]) -> None:
    async with engines(kind, tmp_path, 3, snapshot_every=5) as made:
        leader = await made.leader()
        behind = next(node for node in made.engines if node != leader)
        await made.crash(behind)
        commands = [b"%d" % number * 3000 for number in range(40)]
        for command in commands:
            await made.write(command)
        await made.start(behind, [1, 2, 3])
        await made.equal(commands)
        await made.crash(behind)
        await made.start(behind, [1, 2, 3])
        await made.equal(commands)


async def test_what_was_acknowledged_is_back_after_all_were_killed(tmp_path: Path, kind: type[Group]) -> None:
    async with engines(kind, tmp_path, 3, snapshot_every=20) as made:
        acknowledged: list[bytes] = []
        for life in range(2):
            leader = await made.leader()
            proposals = [made.engines[leader].propose(b"%d/%d" % (life, n), within=HANGS) for n in range(40)]
            tasks = [asyncio.ensure_future(proposal) for proposal in proposals]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for node in (1, 2, 3):
                await made.crash(node)
            for task in tasks:
                task.cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            acknowledged += [b"%d/%d" % (life, n) for n, a in enumerate(answers) if isinstance(a, int)]
            for node in (1, 2, 3):
                await made.start(node, [1, 2, 3])
        assert acknowledged
        final = list(made.machines[await made.leader()].commands)
        assert set(acknowledged) <= set(final)
        assert len(set(final)) == len(final)
        await made.equal(final)


@pytest.mark.parametrize("seed", [1])
async def test_logs_never_part_while_members_are_killed_and_hand_over(
    tmp_path: Path, kind: type[Group], seed: int
) -> None:
    chance = random.Random(seed)
    async with engines(kind, tmp_path, 3, snapshot_every=20) as made:
        acknowledged: list[bytes] = []
        refused: list[bytes] = []
        done = asyncio.Event()

        async def write(worker: int) -> None:
            number = 0
            while not done.is_set():
                number += 1
                for node, engine in list(made.engines.items()):
                    command = b"%d/%d/%d" % (worker, number, node)
                    try:
                        await engine.propose(command)
                    except NotLeader:
                        refused.append(command)
                        await asyncio.sleep(0.01)
                    except OutcomeUnknown:
                        await asyncio.sleep(0.01)
                    else:
                        acknowledged.append(command)
                        break

        writers = [asyncio.create_task(write(worker)) for worker in range(3)]
        for _ in range(4):
            at_first = len(acknowledged)
            await until(lambda so_far=at_first: len(acknowledged) > so_far + 30)  # type: ignore[misc]
            if chance.random() < 0.5:
                await made.engines[await made.leader()].hand_over()
            else:
                victim = await made.leader()
                await made.crash(victim)
                await made.start(victim, [1, 2, 3])
        done.set()
        await asyncio.gather(*writers)

        await made.write(b"last")
        final = list(made.machines[await made.leader()].commands)
        assert set(acknowledged) <= set(final)
        assert not set(refused) & set(final)
        await made.equal(final)


async def voters(made: Group, expected: set[int]) -> None:
    """Have these as the members by the flags of all, and wait until they are, and all vote."""
    members = {node: made.address(node) for node in expected}
    for engine in made.engines.values():
        engine.expect(Expected(members))

    def settled() -> bool:
        found = [engine.status() for engine in made.engines.values()]
        leaders = [status for status in found if status.leader_id == status.node_id]
        return any({member.node_id for member in one.members if member.voter} == expected for one in leaders)

    await until(settled)


async def test_members_are_what_the_flags_say(tmp_path: Path, kind: type[Group]) -> None:
    async with engines(kind, tmp_path, 1) as made:
        await made.write(b"1")
        for size in (2, 3):
            await made.start(size, range(1, size + 1))
            await voters(made, set(range(1, size + 1)))
            await made.write(b"%d" % size)
        await made.equal([b"1", b"2", b"3"])
        # Highest first; its directory stays, and it comes back with it.
        await voters(made, {1, 2})
        await made.crash(3)
        await made.write(b"4")
        await made.start(3, [1, 2, 3])
        await voters(made, {1, 2, 3})
        await made.write(b"5")
        await made.equal([b"1", b"2", b"3", b"4", b"5"])


async def test_a_lost_data_directory_is_a_replaced_member(tmp_path: Path, kind: type[Group]) -> None:
    async with engines(kind, tmp_path, 3) as made:
        await made.write(b"a")
        await made.equal([b"a"])
        leader = await made.leader()
        lost = next(node for node in made.engines if node != leader)
        await made.crash(lost)
        (tmp_path / str(lost)).rename(tmp_path / "lost")
        await made.write(b"b")
        await made.start(lost, [1, 2, 3])
        await made.equal([b"a", b"b"])
        await voters(made, {1, 2, 3})
