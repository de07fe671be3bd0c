"""Backups on a node's disk: what comes back is what was written, or an error that says what is wrong."""

from __future__ import annotations

import gzip
import io
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_operator.node.control import archive, backups, restoring
from etl_operator.node.control.archive import ArchiveError, Head
from etl_operator.node.control.backups import Backups, Exists, InvalidId, NoRoom, Unknown

CONTENT = bytes(range(256)) * 5000


def head(content: bytes = CONTENT, number: int = archive.FORMAT) -> Head:
    return Head(
        format=number,
        version="1.2.3",
        commit_index=17,
        term=3,
        created_at=5.5,
        pipelines=2,
        size=len(content),
    )


def encoded(content: bytes = CONTENT, number: int = archive.FORMAT) -> bytes:
    file = io.BytesIO()
    archive.write(file, head(content, number), content)
    return file.getvalue()


def upload(kept: Backups, backup_id: str, data: bytes, piece: int = 100_000) -> backups.Kept:
    with kept.receive(backup_id) as receiving:
        for begin in range(0, len(data), piece):
            receiving.write(data[begin : begin + piece])
        return receiving.keep()


def test_a_backup_comes_back(tmp_path: Path) -> None:
    kept = Backups(tmp_path / "made")
    made = kept.create("one", head(), CONTENT)
    assert made.path.read_bytes() == encoded()
    assert archive.verify(made.path) == head()
    assert archive.content(made.path) == CONTENT
    assert upload(kept, "raw", encoded()).head == head()
    assert upload(kept, "packed", gzip.compress(encoded()), 1000).path.read_bytes() == encoded()
    assert [one.backup_id for one in kept.all()] == ["one", "packed", "raw"]
    with pytest.raises(Exists):
        kept.create("one", head(), CONTENT)
    kept.delete("one")
    kept.delete("one")
    with pytest.raises(Unknown, match="one"):
        kept.find("one")
    assert [file.suffix for file in (tmp_path / "made").iterdir()] == [".backup"] * 2


@settings(max_examples=40)
@given(at=st.integers(0, 399), change=st.integers(1, 255))
def test_every_damage_is_found(tmp_path_factory: pytest.TempPathFactory, at: int, change: int) -> None:
    data = bytearray(encoded(b"state" * 20))
    data[at % len(data)] ^= change
    path = tmp_path_factory.mktemp("damaged") / "file"
    path.write_bytes(data)
    with pytest.raises(ArchiveError):
        archive.verify(path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a backup"),
        (b"something else", "not a backup"),
        (encoded()[:-1], "bytes instead of"),
        (encoded() + b"x", "bytes instead of"),
        (encoded(number=archive.FORMAT + 1), "use a newer router"),
        (gzip.compress(encoded())[:-20], "incomplete"),
        (gzip.compress(encoded())[:5000], "incomplete"),
        (gzip.compress(encoded())[:3000] + b"\xff" * 3000, "cannot be decompressed"),
        (gzip.compress(encoded()) + b"more", "behind the end"),
        (gzip.compress(b"something else"), "not a backup"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_what_is_no_backup_is_not_kept(tmp_path: Path, data: bytes, reason: str) -> None:
    kept = Backups(tmp_path)
    with pytest.raises(ArchiveError, match=reason):
        upload(kept, "one", data)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backup_id", ["", "..", ".hidden", "a/b", "../x", "a\0", "x" * 101, "é"])
def test_an_id_is_no_path(tmp_path: Path, backup_id: str) -> None:
    kept = Backups(tmp_path)
    for call in (kept.find, kept.delete, kept.receive):
        with pytest.raises(InvalidId):
            call(backup_id)


def test_a_node_keeps_a_limited_number_and_leaves_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Backups(tmp_path)
    for number in range(backups.MOST):
        kept.create(str(number), head(b""), b"")
    with pytest.raises(NoRoom, match="DeleteSnapshot"):
        kept.receive("more")
    kept.delete("0")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=len(CONTENT)))
    with pytest.raises(NoRoom, match="free space"):
        kept.create("large", head(), CONTENT)
    with pytest.raises(NoRoom, match="free space"):
        upload(kept, "large", gzip.compress(encoded(CONTENT * 2)))


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "one.123.part").write_bytes(b"half")
    kept = Backups(tmp_path)
    kept.create("one", head(b""), b"")
    kept.clean()
    assert [one.backup_id for one in kept.all()] == ["one"]
    assert not list(tmp_path.glob("*.part"))


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoring, "MOST_BYTES", 3 * 2**20)
    with pytest.raises(ArchiveError, match="the maximum"):
        upload(Backups(tmp_path), "one", gzip.compress(bytes(50 * 2**20)))
    assert list(tmp_path.iterdir()) == []
