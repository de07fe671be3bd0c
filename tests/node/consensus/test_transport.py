"""Connections between members: names, strangers, garbage, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest

from etl_operator.node.consensus import wire
from etl_operator.node.consensus.address import Address
from etl_operator.node.consensus.embedded import EmbeddedEngine
from etl_operator.node.consensus.transport import PeerTransport
from tests.node.group import PORT, TIMING, Group, Log, group
from tests.processes import until


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
        (9, 1, "ours", "node 9 is not in the member list"),
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


IMPOSSIBLE = [
    wire.AppendEntries(term=9, commit_index=1, prev_index=-7, prev_term=0, entries=[]),
    wire.AppendEntries(term=9, commit_index=1, prev_index=1, prev_term=0, entries=[(b"\0", -2, 9)]),
    wire.AppendEntries(term=2**63, commit_index=2**63, prev_index=2**63, prev_term=0, entries=[]),
    wire.NextIndex(term=1, next_index=-1, reset=True, success=False),
    wire.RequestVote(term=-1, last_log_index=-1, last_log_term=-1),
]


@pytest.mark.parametrize("message", IMPOSSIBLE, ids=repr)
async def test_a_member_that_sends_the_impossible_loses_its_connection_and_nobody_else_does(
    tmp_path: Path, message: wire.Message
) -> None:
    async with group(tmp_path, 3) as made:
        leader = await made.leader()
        faulty = next(node for node in made.engines if node != leader)
        await made.crash(faulty)
        target = made.engines[leader]
        reader, writer = await asyncio.open_connection(made.address(leader).host, PORT)
        writer.write(wire.encode(wire.Hello(sender=faulty, receiver=leader, cluster="")))
        writer.write(wire.encode(message))
        with contextlib.suppress(ConnectionResetError):
            await reader.read()  # To the end: the other side has closed it.
        writer.close()
        assert await target.propose(b"a", within=20) == 1
        assert not target._failure.done()
