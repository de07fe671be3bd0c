"""What is kept on disk: committed before it is acknowledged, and never lost in silence."""

from __future__ import annotations

import contextlib
import resource
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_operator.sandbox.http.files.journal import Journal, JournalFailed


@contextlib.contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file of this process may grow beyond ``limit`` bytes meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_is_seen_by_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "objects.sqlite"
    journal = Journal(path)
    journal.put("pods", "ns", "a", 11, b"1")
    journal.put("pods", "ns", "b", 12, b"2")
    other = Journal(path)
    assert (list(other.load()), other.revision()) == ([b"1", b"2"], 12)
    other.close()
    journal.put("pods", "ns", "a", 13, b"3")
    journal.remove("pods", "ns", "b", 14)
    journal.close()
    again = Journal(path)
    assert (list(again.load()), again.revision()) == ([b"3"], 14)
    again.close()
    assert path.stat().st_mode & 0o077 == 0


def test_a_full_disk_refuses_loudly_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "objects.sqlite"
    journal = Journal(path)
    journal.put("secrets", "ns", "a", 1, b"kept")
    with full_disk(path.with_name("objects.sqlite-wal").stat().st_size + 100):
        for _ in range(2):
            with pytest.raises(JournalFailed, match="cannot store objects in the state directory"):
                journal.put("secrets", "ns", "a", 2, b"x" * 500_000)
        assert (list(journal.load()), journal.revision()) == ([b"kept"], 1)
    journal.put("secrets", "ns", "b", 3, b"too")
    assert list(journal.load()) == [b"kept", b"too"]
    journal.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "objects.sqlite"
    path.write_text("this is somebody's diary, not a database, and it is long enough to tell")
    with pytest.raises(sqlite3.DatabaseError):
        Journal(path)


OPERATIONS = st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.binary(max_size=4)))


@settings(max_examples=40)
@given(OPERATIONS)
def test_it_holds_the_newest_version_of_everything(operations: list[tuple[str, bytes | None]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        _check(Journal(Path(directory) / "objects.sqlite"), operations)


def _check(journal: Journal, operations: list[tuple[str, bytes | None]]) -> None:
    expected: dict[str, tuple[int, bytes]] = {}
    for revision, (name, body) in enumerate(operations, start=1):
        if body is None:
            journal.remove("r", "", name, revision)
            expected.pop(name, None)
        else:
            journal.put("r", "", name, revision, body)
            expected[name] = revision, body
    assert list(journal.load()) == [body for _, body in sorted(expected.values())]
    assert journal.revision() == len(operations)
    journal.close()
