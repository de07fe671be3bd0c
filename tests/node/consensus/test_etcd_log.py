"""The log in etcd's store, without etcd."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_operator.node.consensus.address import Address
from etl_operator.node.consensus.etcd import log
from etl_operator.node.consensus.etcd.client import prefix_end, version_problem
from etl_operator.node.consensus.etcd.log import Assembler, BadLog, Keys, Owner
from etl_operator.node.consensus.etcd.program import Program
from etl_operator.node.consensus.settings import Timing


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "PIECE", 4)


@given(st.lists(st.tuples(st.binary(max_size=20), st.integers(0, 5)), max_size=10))
def test_commands_come_back_whole_and_unfinished_ones_vanish(writes: list[tuple[bytes, int]]) -> None:
    """Each command is written whole, or, as by a leader that is killed, up to some entry."""
    entries: list[bytes] = []
    whole: list[bytes] = []
    for command, cut in writes:
        parts = log.entries_of(command)
        if cut and cut < len(parts):
            entries += parts[:cut]
        else:
            entries += parts
            whole.append(command)
    assembler = Assembler()
    found = [assembler.add(number, value) for number, value in enumerate(entries, 1)]
    assert [command for command in found if command is not None] == whole
    # Seen again, as after a watch has begun anew: nothing happens.
    assert [assembler.add(number, value) for number, value in enumerate(entries, 1)] == [None] * len(entries)
    assert assembler.number == len(entries)


@pytest.mark.parametrize(
    ("number", "value", "text"),
    [
        (7, b"\x03a", "entry 7 follows entry 5"),
        (6, b"", "entry 6 is no part"),
        (6, b"\x09a", "entry 6 is no part"),
        (6, b"\x00a", "entry 6 is no part"),
    ],
)
def test_what_no_node_wrote_is_an_error(number: int, value: bytes, text: str) -> None:
    with pytest.raises(BadLog, match=text):
        Assembler(5).add(number, value)


@given(st.binary(max_size=50))
def test_a_snapshot_comes_back_only_if_it_is_whole(state: bytes) -> None:
    snapshot = log.decode_snapshot(log.encode(log.described(7, state)))
    pieces = log.split(state)
    assert log.joined(snapshot, pieces) == state
    for damaged in (pieces[:-1], [*pieces, b"x"], [pieces[0] + b"x", *pieces[1:]]):
        with pytest.raises(BadLog, match="after entry 7 is not whole"):
            log.joined(snapshot, damaged)


@given(st.integers(0, 2**63), st.integers(0, 2**63))
def test_keys_sort_as_the_entries_do(one: int, other: int) -> None:
    keys = Keys(b"etl-router/")
    assert (keys.entry(one) < keys.entry(other)) == (one < other)
    assert keys.number(keys.entry(one)) == one
    assert keys.watched <= keys.entry(one) < prefix_end(keys.watched)
    assert keys.watched <= min(keys.head, keys.leader) < prefix_end(keys.watched)
    assert not keys.watched <= keys.current < prefix_end(keys.watched)
    assert keys.pieces(one) < keys.current or one >= 0xC << 60
    with pytest.raises(BadLog):
        keys.number(keys.head)


def test_values_of_others_are_errors() -> None:
    assert log.decode_owner(log.encode(Owner(3, "a"))) == Owner(3, "a")
    for read in (log.decode_owner, log.decode_snapshot):
        with pytest.raises(BadLog):
            read(b"\xc1")


@pytest.mark.parametrize("version", ["3.5.14", "3.5.21", "3.6.0", "3.6.0-rc.1", "3.7.0", "4.0.0"])
def test_versions_that_can_be_used(version: str) -> None:
    assert version_problem(version) == ""


@pytest.mark.parametrize("version", ["3.4.39", "3.5.13", "2.3.8", "3.5", "new", ""])
def test_versions_that_cannot_be_used(version: str) -> None:
    assert version_problem(version)


def test_the_path_of_the_socket_is_never_longer_than_the_kernel_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for length in (5, 60, 200):
        temporary = tmp_path / ("t" * length)
        temporary.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        directory = tmp_path / ("d" * length)
        made = Program("etcd", directory, 1, Address("127.0.0.1", 50053), timing=Timing())
        try:
            target = made.prepare()
            assert len(target.removeprefix("unix:")) < 107
            assert Path(target.removeprefix("unix:")).parent.is_dir()
        finally:
            made.close()
