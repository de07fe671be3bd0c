"""TLS between members: who is let in, and a cluster that gets it, changes it and loses it while it works."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from etl_operator.node.consensus.address import Address
from etl_operator.tls.files import TlsFiles
from etl_operator.tls.peers import PeerTls
from tests.certificates import DAY, Authority, Issued
from tests.node.consensus.test_transport import Peerless
from tests.node.group import PORT, Group
from tests.processes import until


def written(issued: Issued, directory: Path) -> TlsFiles:
    issued.write(directory)
    return TlsFiles(*(directory / name for name in ("tls.crt", "tls.key", "ca.crt")))


def tls(issued: Issued, directory: Path, *, plaintext: bool = False) -> PeerTls:
    return PeerTls(written(issued, directory), plaintext=plaintext)


async def proposed(made: Group, command: bytes) -> None:
    """Acknowledged by whoever leads, and applied everywhere."""
    leader = await made.leader()
    await made.engines[leader].propose(command, within=60)


async def test_members_are_let_in_and_strangers_are_not(tmp_path: Path) -> None:
    made = Group(tmp_path)
    ours, theirs = Authority("ours"), Authority("theirs")
    hosts = [made.address(node).host for node in (1, 2)]
    for node in (1, 2):
        await made.start(node, [1, 2], tls=tls(ours.issue(hosts[node - 1]), tmp_path / f"tls-{node}"))
    await proposed(made, b"a")
    await made.equal([b"a"])
    await made.crash(2)
    strange = Issued(*theirs.issue(*hosts).pair, ours.certificate)
    strangers = {
        "of another authority": tls(strange, tmp_path / "strange"),
        # Signed for something else, by the same authority, which may be that of a whole organisation.
        "of another name": tls(ours.issue("web.example"), tmp_path / "web"),
        "expired": tls(ours.issue(*hosts, begins=-9 * DAY, lasts=DAY), tmp_path / "expired"),
        "without TLS": None,
    }
    for what, its in strangers.items():
        stranger = Peerless(2, made.address(2), {1: made.address(1)}, "", tls=its)
        await stranger.transport.start()
        await until(lambda stranger=stranger: bool(stranger.trouble(1)))  # type: ignore[misc]
        assert not stranger.up, what
        await stranger.transport.stop()
    await made.crash(1)


async def test_a_member_is_not_taken_for_another_one(tmp_path: Path) -> None:
    made = Group(tmp_path)
    ours = Authority()
    hosts = {node: made.address(node).host for node in (1, 2)}
    await made.start(1, [1, 2], tls=tls(ours.issue(hosts[1]), tmp_path / "1-tls"))
    # It dials as node 2, and its certificate is that of another host.
    liar = Peerless(
        2, made.address(2), {1: made.address(1)}, "", tls=tls(ours.issue("127.0.0.9"), tmp_path / "l")
    )
    await liar.transport.start()
    await until(lambda: bool(liar.trouble(1)))
    assert f"not valid for {hosts[2]}, only for 127.0.0.9" in liar.trouble(1)
    await liar.transport.stop()
    # It is dialled as node 1, and its certificate is that of node 2.
    dialling = Peerless(
        2, made.address(2), {1: made.address(1)}, "", tls=tls(ours.issue(hosts[2]), tmp_path / "d")
    )
    await made.crash(1)
    await made.start(1, [1, 2], tls=tls(ours.issue(hosts[2]), tmp_path / "1-tls"))
    await dialling.transport.start()
    await until(lambda: bool(dialling.trouble(1)))
    assert "not valid for" in dialling.trouble(1)
    await dialling.transport.stop()
    await made.crash(1)


@pytest.mark.parametrize("way", [["plain", "mixed", "tls"], ["tls", "mixed", "plain"]])
async def test_members_get_and_lose_tls_one_by_one_and_a_majority_always_talks(
    tmp_path: Path, way: list[str]
) -> None:
    made = Group(tmp_path)
    members = [1, 2, 3]
    authority = Authority()
    mixed = authority.issue(*(made.address(node).host for node in members))
    modes: dict[str, PeerTls | None] = {
        "plain": None,
        "mixed": tls(mixed, tmp_path / "mixed", plaintext=True),
        "tls": tls(mixed, tmp_path / "tls"),
    }
    for node in members:
        await made.start(node, members, tls=modes[way[0]])
    written = [b"0"]
    await proposed(made, b"0")
    for mode in way[1:]:
        for node in members:
            await made.crash(node)
            await made.start(node, members, tls=modes[mode])
            written.append(f"{mode}-{node}".encode())
            await proposed(made, written[-1])
            # Also the one that has just started again: it talks with those before and after it.
            await made.equal(written)
    for node in members:
        await made.crash(node)


async def test_rotated_certificates_are_used_for_new_connections_and_old_ones_continue(
    tmp_path: Path,
) -> None:
    made = Group(tmp_path)
    old, new = Authority("old"), Authority("new")
    hosts = {node: made.address(node).host for node in (1, 2)}
    both = old.certificate + new.certificate
    for node in (1, 2):
        await made.start(node, [1, 2], tls=tls(old.issue(hosts[node]), tmp_path / f"tls-{node}"))
    await proposed(made, b"a")
    before = made.engines[1]._transport._links[2].writer
    assert before is not None
    for node in (1, 2):
        # As an authority is replaced: first both are trusted, then members get new certificates.
        Issued(*old.issue(hosts[node]).pair, both).write(tmp_path / f"tls-{node}")
    for node in (1, 2):
        Issued(*new.issue(hosts[node]).pair, both).write(tmp_path / f"tls-{node}")
    await proposed(made, b"b")
    assert made.engines[1]._transport._links[2].writer is before
    before.transport.abort()
    await until(lambda: made.engines[1]._transport._links[2].writer not in (None, before))
    after = made.engines[1]._transport._links[2].writer
    assert after is not None
    issuer = dict(pair[0] for pair in after.get_extra_info("peercert")["issuer"])
    assert issuer["commonName"].startswith("new")
    await proposed(made, b"c")
    await made.equal([b"a", b"b", b"c"])
    for node in (1, 2):
        await made.crash(node)


async def test_a_connection_that_says_nothing_does_not_keep_others_waiting(tmp_path: Path) -> None:
    made = Group(tmp_path)
    issued = Authority().issue(*(made.address(node).host for node in (1, 2)))
    silent = [await _silent(made, node, issued, tmp_path) for node in (1,)]
    await made.start(2, [1, 2], tls=tls(issued, tmp_path / "2-tls", plaintext=True))
    await proposed(made, b"a")
    for writer in silent:
        writer.transport.abort()
    for node in (1, 2):
        await made.crash(node)


async def _silent(made: Group, node: int, issued: Issued, tmp_path: Path) -> asyncio.StreamWriter:
    await made.start(node, [1, 2], tls=tls(issued, tmp_path / f"{node}-tls", plaintext=True))
    where: Address = made.address(node)
    _, writer = await asyncio.open_connection(where.host, PORT)
    return writer
