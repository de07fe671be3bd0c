"""The consensus engine under faults."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from pathlib import Path

import pytest

from etl_operator.node.consensus import wire
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
from tests.hanging import HANGS
from tests.node.group import Group, Log, group
from tests.processes import until


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


async def test_the_largest_command_is_replicated(tmp_path: Path) -> None:
    large = b"y" * (wire.MAX_COMMAND - 1)
    # Megabytes take their time on a busy machine: an election may come in between.
    async with group(tmp_path, 3, timing=Timing(1.5, 2.0, 0.1)) as made:
        while True:
            leader = await made.leader()
            with contextlib.suppress(NotLeader, OutcomeUnknown):
                await made.engines[leader].propose(large, within=HANGS)
                break
        await until(lambda: all(set(made.machines[node].commands) == {large} for node in made.engines))


async def test_without_a_majority_nothing_is_acknowledged(tmp_path: Path) -> None:
    async with group(tmp_path, 3) as made:
        leader = await made.leader()
        for node in [node for node in made.engines if node != leader]:
            await made.crash(node)
        with pytest.raises(CommitTimeout):
            await made.engines[leader].propose(b"a", within=0.05)
        with pytest.raises(ConsensusError):  # It notices, and stops leading.
            await made.engines[leader].propose(b"b", within=HANGS)
        assert not made.leads(leader)
        assert made.engines[leader].status().leader_id is None
        assert made.machines[leader].commands == []


async def test_reads_wait_until_the_state_is_there(tmp_path: Path) -> None:
    async with group(tmp_path, 1) as made:
        alone = await made.start(2, [1, 2])
        with pytest.raises(NotReady):
            await alone.read_barrier(within=0.05)
        assert not alone.status().caught_up


async def test_a_node_out_of_touch_asks_and_does_not_raise_the_term(tmp_path: Path) -> None:
    async with group(tmp_path, 3) as made:
        leader = await made.leader()
        lonely = made.engines[next(node for node in made.engines if node != leader)]
        await until(lambda: lonely.status().leader_id is not None)
        transport, asked = lonely._transport, []
        deliver, send = transport._deliver, transport.send

        def cut_off(peer: int, message: wire.Message) -> bool:
            asked.extend([message] if isinstance(message, wire.PreVote) else [])
            return True

        transport._deliver = lambda sender, message: None
        transport.send = cut_off  # type: ignore[method-assign]
        term = lonely.status().term
        await until(lambda: len(asked) >= 20)  # Ten times each of two peers: long enough to have stood.
        assert lonely.status().term == term
        assert lonely.status().role is Role.FOLLOWER
        transport._deliver, transport.send = deliver, send  # type: ignore[method-assign]
        await until(lambda: lonely.status().leader_id is not None)


async def test_a_member_ahead_in_terms_is_taken_back(tmp_path: Path) -> None:
    async with group(tmp_path, 3) as made:
        leader = await made.leader()
        ahead = next(node for node in made.engines if node != leader)
        term = made.engines[leader].status().term + 7
        made.engines[ahead]._member.raft.adopt_term(term)
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
            send, apply = engine._member.raft._transmit, machine.apply

            def sending(peer: int, message: wire.Message) -> object:
                if isinstance(message, wire.NextIndex | wire.ResponseVote | wire.RequestVote):
                    answers.append((message, engine._member.journal.flushed))
                return send(peer, message)

            def applying(command: bytes) -> int:
                applied.append(engine._member.journal.flushed)
                return apply(command)

            engine._member.raft._transmit = sending
            machine.apply = applying  # type: ignore[method-assign]

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
            shutil.copy(self._path, self._path.with_name("flushed"))

    monkeypatch.setattr(DiskJournal, "sync", keep_a_copy)
    async with group(tmp_path, 3) as made:
        acknowledged: list[bytes] = []
        for cut in range(2):
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


@pytest.mark.parametrize("seed", [1])
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

        async def at_rest() -> bool:
            try:
                await made.engines[await made.leader()].propose(b"last")
            except (NotLeader, OutcomeUnknown):
                return False
            return True

        await until(at_rest)
        final = list(made.machines[await made.leader()].commands)
        assert acknowledged
        assert set(acknowledged) <= set(final)
        assert len(set(final)) >= len(set(acknowledged))
        await made.equal(final)


async def test_a_late_answer_of_an_earlier_term_does_not_count(tmp_path: Path) -> None:
    async with group(tmp_path, 3) as made:
        leader = made.engines[await made.leader()]
        follower = next(node for node in made.engines if made.engines[node] is not leader)
        for node in [node for node in made.engines if made.engines[node] is not leader]:
            await made.crash(node)
        proposal = asyncio.ensure_future(leader.propose(b"a"))
        raft = leader._member.raft
        await until(lambda: raft._log.last == 3)
        term = raft.term
        leader._deliver(follower, wire.NextIndex(term=term - 1, next_index=4, reset=False, success=True))
        assert raft.match_index(follower) < 3
        # Nor does one that has more than there is.
        leader._deliver(follower, wire.NextIndex(term=term, next_index=900, reset=False, success=True))
        assert raft.match_index(follower) < 3
        leader._deliver(follower, wire.NextIndex(term=term, next_index=4, reset=False, success=True))
        assert raft.match_index(follower) == 3  # The same of this term does.
        assert await proposal == 1
