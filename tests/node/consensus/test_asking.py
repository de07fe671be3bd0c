from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from etl_operator.node.consensus import asking, wire
from etl_operator.node.consensus.engine import Unanswered
from tests.hanging import HANGS
from tests.node.group import group


async def double(sender: int, body: bytes) -> bytes:
    return body * 2 + str(sender).encode()


async def broken(sender: int, body: bytes) -> bytes:
    raise ValueError("cannot do this")


async def test_members_answer_questions_beside_raft(tmp_path: Path) -> None:
    async with group(tmp_path, 2) as made:
        one, two = made.engines[1], made.engines[2]
        two.answer("double", double)
        two.answer("broken", broken)
        assert await one.ask(2, "double", b"x" * 10**6, within=HANGS) == b"x" * 2 * 10**6 + b"1"
        answers = await asyncio.gather(*(one.ask(2, "double", b"%d" % n, within=HANGS) for n in range(20)))
        assert answers == [b"%d%d1" % (n, n) for n in range(20)]
        with pytest.raises(Unanswered, match="cannot do this"):
            await one.ask(2, "broken", b"", within=HANGS)
        with pytest.raises(Unanswered, match="does not know the question 'other'"):
            await one.ask(2, "other", b"", within=HANGS)
        with pytest.raises(Unanswered, match="node 3 is not in the member list"):
            await one.ask(3, "double", b"", within=HANGS)
        # Raft goes on, over connections of its own.
        leader = await made.leader()
        assert await made.engines[leader].propose(b"a", within=HANGS)


async def test_a_member_that_is_away_or_silent_does_not_answer(tmp_path: Path) -> None:
    async with group(tmp_path, 2) as made:

        async def silent(sender: int, body: bytes) -> bytes:
            await asyncio.Event().wait()
            return b""

        made.engines[2].answer("silent", silent)
        with pytest.raises(Unanswered, match="node 2 at"):
            await made.engines[1].ask(2, "silent", b"", within=0.1)
        await made.crash(2)
        with pytest.raises(Unanswered, match="node 2 at"):
            await made.engines[1].ask(2, "silent", b"", within=HANGS)


async def test_a_stranger_gets_no_answer_and_a_wrong_message_ends_the_connection(tmp_path: Path) -> None:
    async with group(tmp_path, 1) as made:
        made.engines[1].answer("double", double)
        question = wire.Ask(sender=7, receiver=1, cluster="", topic="double")
        with pytest.raises(Unanswered, match="node 7 is not in the member list"):
            await asking.ask(made.address(1), question, b"", None, HANGS)
        reader, writer = await asyncio.open_connection(made.address(1).host, made.address(1).port)
        writer.write(wire.encode(wire.Body(data=b"")))
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
