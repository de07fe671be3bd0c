"""Objects on disk: a SQLite table with the newest version of each, so that a restart finds them.

The store in memory stays the one that answers; this is its shadow. A write is committed here before it
becomes visible, so an acknowledged write survives a crash of the process, and what cannot be kept is
refused. The disk itself is flushed at SQLite's own checkpoints: a crash of the whole machine may take the
last moments.
"""

from __future__ import annotations

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


class JournalFailed(Exception):
    """A write cannot be made durable; the text says why."""


class Journal:
    """A store of the newest version of every object. Each write is a transaction of its own.

    :param path: the database file; made when missing, readable by its owner only.
    :raises sqlite3.Error: when the file is not a usable database.
    :raises OSError: when it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        # Transactions are opened by hand: for the two tables a write touches.
        self._database = sqlite3.connect(path, isolation_level=None)
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(_SCHEMA)
        except sqlite3.DatabaseError:
            self._database.close()
            raise

    def load(self) -> Iterator[bytes]:
        """Every object, encoded, in the order of their last writes."""
        query = "SELECT body FROM objects ORDER BY revision"
        yield from (row[0] for row in self._database.execute(query))

    def revision(self) -> int:
        """The highest revision ever recorded, deletions included; 0 for a new file."""
        row = self._database.execute("SELECT value FROM counters WHERE name = 'revision'").fetchone()
        return int(row[0]) if row else 0

    def put(self, resource: str, namespace: str, name: str, revision: int, body: bytes) -> None:
        """Keep the newest version of an object.

        :raises JournalFailed: when the database refuses; nothing has changed then.
        """
        self._write(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)",
            (resource, namespace, name, revision, body),
            revision,
        )

    def remove(self, resource: str, namespace: str, name: str, revision: int) -> None:
        """Forget an object that is deleted at ``revision``.

        :raises JournalFailed: when the database refuses; nothing has changed then.
        """
        statement = "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?"
        self._write(statement, (resource, namespace, name), revision)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _write(self, statement: str, values: tuple[object, ...], revision: int) -> None:
        try:
            with self._database:
                self._database.execute("BEGIN")
                self._database.execute(statement, values)
                self._database.execute("INSERT OR REPLACE INTO counters VALUES ('revision', ?)", (revision,))
        except sqlite3.Error as error:
            raise JournalFailed(
                f"cannot store objects in the state directory of the sandbox: {error}"
            ) from error
