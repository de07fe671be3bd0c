from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from etl_operator.node.consensus import snapshot
from etl_operator.node.consensus.disk import OsFiles
from etl_operator.node.consensus.engine import StorageBusy, StorageCorrupt, StorageError, StorageFull
from etl_operator.node.consensus.journal import DiskJournal, Entry


def filled(directory: Path, count: int = 5) -> list[Entry]:
    """A closed journal with entries 1 to ``count``."""
    journal = DiskJournal(directory)
    for index in range(1, count + 1):
        journal.add(b"command %d" % index, index, 1)
    journal.sync()
    journal.close()
    return journal[:]


def entries_of(directory: Path) -> list[Entry]:
    journal = DiskJournal(directory)
    journal.close()
    return journal[:]


class JournalLife(RuleBasedStateMachine):
    """A journal against a list, with a reopening now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.journal = DiskJournal(Path(self.place.name))
        self.model: list[Entry] = []

    @initialize()
    def first(self) -> None:
        self.append(b"first", 0)

    @rule(command=st.binary(max_size=30), term=st.integers(0, 3))
    def append(self, command: bytes, term: int) -> None:
        entry = (command, self.model[-1][1] + 1 if self.model else 1, term)
        self.journal.add(*entry)
        self.model.append(entry)

    @precondition(lambda self: len(self.model) > 1)
    @rule(data=st.data(), repeated=st.integers(0, 3))
    def cut_tail_and_repeat(self, data: st.DataObject, repeated: int) -> None:
        position = data.draw(st.integers(1, len(self.model) - 1))
        again = self.model[position : position + repeated]
        self.journal.deleteEntriesFrom(position)
        del self.model[position:]
        for entry in again:
            self.journal.add(*entry)
            self.model.append(entry)

    @precondition(lambda self: len(self.model) > 2)
    @rule(data=st.data())
    def cut_head(self, data: st.DataObject) -> None:
        position = data.draw(st.integers(0, len(self.model) - 2))
        self.journal.deleteEntriesTo(position)
        del self.model[:position]

    @rule(term=st.integers(0, 9), vote=st.none() | st.sampled_from(["1", "2"]))
    def vote(self, term: int, vote: str | None) -> None:
        self.journal.setCurrentTerm(term, vote)
        self.voted = (term, vote)

    @rule()
    def reopen(self) -> None:
        self.journal.sync()
        before = (self.journal.getCurrentTerm(), self.journal.getVotedForNodeId())
        self.journal.close()
        self.journal = DiskJournal(Path(self.place.name))
        assert (self.journal.getCurrentTerm(), self.journal.getVotedForNodeId()) == before
        assert self.journal.cut_off == 0

    @invariant()
    def agrees(self) -> None:
        assert self.journal[:] == self.model

    def teardown(self) -> None:
        self.journal.close()
        self.place.cleanup()


TestJournalLife = JournalLife.TestCase
TestJournalLife.settings = settings(max_examples=25, stateful_step_count=20)


@given(lost=st.integers(1, 40), garbage=st.binary(max_size=12))
@settings(max_examples=40)
def test_a_torn_last_record_is_cut_off(lost: int, garbage: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        entries = filled(Path(place))
        file = Path(place) / "journal"
        record = 8 + 16 + len(entries[-1][0])
        data = file.read_bytes()
        kept = max(len(data) - lost, len(data) - record)
        file.write_bytes(data[:kept] + (b"\xff" + garbage if kept < len(data) - 8 else b""))
        journal = DiskJournal(Path(place))
        assert journal[:] == entries[:-1]
        journal.add(b"goes on", 5, 2)
        journal.sync()
        journal.close()
        assert entries_of(Path(place)) == [*entries[:-1], (b"goes on", 5, 2)]


@pytest.mark.parametrize("position", [8, 12, 20, 33])
def test_damage_before_intact_entries_is_not_repaired_in_silence(tmp_path: Path, position: int) -> None:
    filled(tmp_path)
    data = bytearray((tmp_path / "journal").read_bytes())
    data[position] ^= 0x40
    (tmp_path / "journal").write_bytes(data)
    with pytest.raises(StorageCorrupt, match=r"intact entry \d follows"):
        DiskJournal(tmp_path)
    assert (tmp_path / "journal").read_bytes() == data


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(b"PYSYNCOBJ and so on")
    with pytest.raises(StorageCorrupt, match="not a journal"):
        DiskJournal(tmp_path)


@pytest.mark.parametrize(("old", "new"), [(b"7", b"8"), (b'"2"', b'"\xff"'), (b"{", b"")])
def test_a_damaged_vote_is_refused(tmp_path: Path, old: bytes, new: bytes) -> None:
    journal = DiskJournal(tmp_path)
    journal.setCurrentTerm(7, "2")
    journal.close()
    content = (tmp_path / "vote").read_bytes()
    assert old in content
    (tmp_path / "vote").write_bytes(content.replace(old, new, 1))
    with pytest.raises(StorageCorrupt, match="vote"):
        DiskJournal(tmp_path)


def test_a_directory_has_one_user(tmp_path: Path) -> None:
    journal = DiskJournal(tmp_path)
    with pytest.raises(StorageBusy, match="in use"):
        DiskJournal(tmp_path)
    journal.close()
    DiskJournal(tmp_path).close()


def test_an_unusable_directory_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot use the data directory"):
        DiskJournal(tmp_path / "file" / "data")


def test_other_entries_replace_the_tail(tmp_path: Path) -> None:
    entries = filled(tmp_path)
    journal = DiskJournal(tmp_path)
    journal.deleteEntriesFrom(2)
    journal.add(*entries[2])
    journal.add(b"another history", 4, 2)
    journal.sync()
    journal.close()
    assert entries_of(tmp_path) == [*entries[:3], (b"another history", 4, 2)]


def test_one_flush_covers_all_that_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = DiskJournal(tmp_path)
    flushed: list[int] = []
    monkeypatch.setattr(os, "fdatasync", flushed.append)
    for index in range(1, 101):
        journal.add(b"x", index, 1)
    assert flushed == []
    journal.sync()
    journal.sync()
    assert len(flushed) == 1
    journal.add(b"x", 101, 1)
    journal.sync()
    assert len(flushed) == 2
    journal.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_refuses_the_entry_and_keeps_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    entries = filled(tmp_path)
    journal = DiskJournal(tmp_path)
    write = os.pwrite

    def half_then_full(fd: int, data: Any, offset: int) -> int:
        if len(data) < 10:
            raise OSError(number, os.strerror(number))
        return write(fd, data[: len(data) - 5], offset)

    monkeypatch.setattr(os, "pwrite", half_then_full)
    with pytest.raises(StorageFull, match="cannot write"):
        journal.add(b"does not fit", 6, 1)
    assert journal[:] == entries
    monkeypatch.setattr(os, "pwrite", write)
    journal.add(b"fits", 6, 1)
    journal.sync()
    journal.close()
    assert entries_of(tmp_path) == [*entries, (b"fits", 6, 1)]


def test_a_failed_flush_is_no_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "broken")

    journal = DiskJournal(tmp_path)
    journal.add(b"x", 1, 1)
    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(StorageError, match="cannot flush") as caught:
        journal.sync()
    assert not isinstance(caught.value, StorageFull)
    journal.close()


def test_a_journal_lines_up_with_a_newer_snapshot_and_keeps_what_follows_it(tmp_path: Path) -> None:
    entries = filled(tmp_path)
    journal = DiskJournal(tmp_path)
    journal.start_at(entries[1], entries[2])
    assert journal[:] == entries[1:]
    journal.deleteEntriesFrom(3)
    journal.add(b"goes on", 5, 2)
    journal.sync()
    journal.close()
    assert entries_of(tmp_path) == [*entries[:4], (b"goes on", 5, 2)]


def test_a_journal_of_another_history_gives_way_to_the_snapshot(tmp_path: Path) -> None:
    filled(tmp_path)
    journal = DiskJournal(tmp_path)
    previous, last = (b"a", 8, 3), (b"b", 9, 3)
    journal.start_at(previous, last)
    journal.close()
    assert entries_of(tmp_path) == [previous, last]


def test_a_journal_that_begins_behind_the_snapshot_is_refused(tmp_path: Path) -> None:
    entries = filled(tmp_path)
    journal = DiskJournal(tmp_path)
    journal.deleteEntriesTo(3)
    with pytest.raises(StorageCorrupt, match="begins at entry 4"):
        journal.start_at(entries[0], entries[1])
    journal.close()


@given(state=st.binary(max_size=50), position=st.integers(0, 200))
@settings(max_examples=50)
def test_a_snapshot_comes_back_whole_or_not_at_all(state: bytes, position: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        files = OsFiles(Path(place))
        stored = snapshot.Snapshot((b"l", 9, 2), (b"p", 8, 2), state)
        snapshot.store(files, snapshot.encode(stored))
        assert snapshot.load(files) == stored
        data = bytearray(snapshot.encode(stored))
        data[position % len(data)] ^= 1
        (Path(place) / snapshot.FILE).write_bytes(data)
        with pytest.raises(StorageCorrupt, match="snapshot"):
            snapshot.load(files)
