"""Objects on disk: a SQLite table with the newest version of each, so that a restart finds them.

The store in memory stays the one that answers; this is its shadow. A write is committed here before it is
acknowledged, so what a client was told survives the death of the process. The disk itself is flushed at
SQLite's own checkpoints: a crash of the whole machine may take the last moments.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    revision INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


class JournalFailed(Exception):
    """What was written in memory cannot be made durable; the text says why."""


class _Entry(NamedTuple):
    """The newest version of an object; no body means that it was deleted."""

    revision: int
    body: bytes | None


class Journal:
    """A store of the newest version of every object.

    What cannot be written stays pending and is tried again with the next commit, so that a full disk that
    is emptied again loses nothing.

    :param path: the database file; made when missing, readable by its owner only.
    :raises sqlite3.Error: when the file is not a usable database.
    :raises OSError: when it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        # Transactions are opened by hand: one per commit, however many objects it covers.
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)
        self._pending: dict[tuple[str, str, str], _Entry] = {}

    def load(self) -> Iterator[bytes]:
        """Every object, encoded, in the order of their last writes."""
        query = "SELECT body FROM objects ORDER BY revision"
        yield from (row[0] for row in self._database.execute(query))

    def revision(self) -> int:
        """The highest revision ever recorded, deletions included; 0 for a new file."""
        row = self._database.execute("SELECT value FROM counters WHERE name = 'revision'").fetchone()
        return int(row[0]) if row else 0

    def put(self, resource: str, namespace: str, name: str, revision: int, body: bytes) -> None:
        """Note the newest version of an object for the next commit."""
        self._pending[resource, namespace, name] = _Entry(revision, body)

    def remove(self, resource: str, namespace: str, name: str, revision: int) -> None:
        """Note that an object was deleted at ``revision``, for the next commit."""
        self._pending[resource, namespace, name] = _Entry(revision, None)

    def commit(self) -> None:
        """Write what is pending, all of it or nothing. Costs nothing when nothing is.

        :raises JournalFailed: when the database refuses; everything stays pending.
        """
        if not self._pending:
            return
        try:
            with self._database:
                self._database.execute("BEGIN")
                self._write()
        except sqlite3.Error as error:
            raise JournalFailed(
                f"the sandbox cannot store objects in its state directory ({error}); "
                "the write may get lost, and nothing more is written until this is solved"
            ) from error
        self._pending.clear()

    def close(self) -> None:
        """Commit what is pending and close the file.

        :raises JournalFailed: when that is not possible; the file is closed all the same.
        """
        try:
            self.commit()
        finally:
            self._database.close()

    def _write(self) -> None:
        kept = [(*key, one.revision, one.body) for key, one in self._pending.items() if one.body is not None]
        gone = [key for key, one in self._pending.items() if one.body is None]
        self._database.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)", kept)
        self._database.executemany(
            "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?", gone
        )
        newest = max(one.revision for one in self._pending.values())
        self._database.execute("INSERT OR REPLACE INTO counters VALUES ('revision', ?)", (newest,))
