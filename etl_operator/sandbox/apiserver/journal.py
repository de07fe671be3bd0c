"""Objects on disk: a SQLite table with the newest version of each, so that a restart finds them.

The store in memory stays the one that answers; this is its shadow. Writes of one turn of the event
loop share a transaction, and the disk is flushed at SQLite's own checkpoints: after a crash of the
machine the last moments may be missing, after a crash of the process nothing is.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    revision INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


class Journal:
    """A store of the newest version of every object.

    :param path: the database file; made when missing, readable by its owner only.
    :raises sqlite3.DatabaseError: when the file is not a usable database.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        # Transactions are opened by hand: one per turn of the loop, however many writes it made.
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)
        self._commit: asyncio.Handle | None = None

    def load(self) -> Iterator[tuple[str, bytes]]:
        """Every object as ``(resource, encoded)``, in the order of their last writes."""
        query = "SELECT resource, body FROM objects ORDER BY revision"
        yield from self._database.execute(query)

    def revision(self) -> int:
        """The highest revision ever recorded, deletions included; 0 for a new file."""
        row = self._database.execute("SELECT value FROM counters WHERE name = 'revision'").fetchone()
        return int(row[0]) if row else 0

    def put(self, resource: str, namespace: str, name: str, revision: int, body: bytes) -> None:
        """Record the newest version of an object."""
        self._begin()
        self._database.execute(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)",
            (resource, namespace, name, revision, body),
        )
        self._count(revision)

    def remove(self, resource: str, namespace: str, name: str, revision: int) -> None:
        """Forget an object that was deleted at ``revision``."""
        self._begin()
        self._database.execute(
            "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?",
            (resource, namespace, name),
        )
        self._count(revision)

    def close(self) -> None:
        """Commit what is open and close the file."""
        self._end()
        self._database.close()

    def _count(self, revision: int) -> None:
        self._database.execute("INSERT OR REPLACE INTO counters VALUES ('revision', ?)", (revision,))

    def _begin(self) -> None:
        if self._commit is None:
            self._database.execute("BEGIN")
            self._commit = asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        if self._commit is not None:
            self._commit.cancel()
            self._commit = None
            self._database.execute("COMMIT")
