"""Snapshots: the whole state and the two log entries it ends with, in one checksummed file."""

from __future__ import annotations

import zlib

import msgspec

from etl_operator.node.consensus import configuration
from etl_operator.node.consensus.disk import Files, replace
from etl_operator.node.consensus.engine import StorageCorrupt, StorageError
from etl_operator.node.consensus.journal import MOST, Entry

FILE = "snapshot"
_MAGIC = b"ETLRSNP1"
_HEAD = len(_MAGIC) + 4


LARGEST = 2**30
"""Bytes of a snapshot that are kept while it is received."""


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """A state and where in the log it was taken."""

    last: Entry
    previous: Entry
    state: bytes
    members: bytes = b""
    """The members as named up to ``last``, see `configuration`; empty if the log names none."""


def encode(snapshot: Snapshot) -> bytes:
    """A snapshot as it is stored and sent."""
    body = msgspec.msgpack.encode(snapshot)
    return _MAGIC + zlib.crc32(body).to_bytes(4, "little") + body


def decode(data: bytes) -> Snapshot | None:
    """The snapshot in ``data``; None if it is damaged, or none that a correct member makes."""
    body = memoryview(data)[_HEAD:]
    if data[: len(_MAGIC)] != _MAGIC or int.from_bytes(data[len(_MAGIC) : _HEAD], "little") != zlib.crc32(
        body
    ):
        return None
    try:
        found = msgspec.msgpack.decode(body, type=Snapshot)
        configuration.decode(found.members)
    except ValueError:
        return None
    (_, before, term_before), (_, index, term) = found.previous, found.last
    possible = 1 <= before == index - 1 < MOST and 0 <= term_before <= term <= MOST
    return found if possible else None


def store(files: Files, data: bytes) -> None:
    """Replace the stored snapshot, durably.

    :raises StorageFull: the old one is still there.
    :raises StorageError: any other failure.
    """
    replace(files, FILE, data, described="the snapshot").close()


def load(files: Files) -> Snapshot | None:
    """The stored snapshot; None if there is none.

    :raises StorageCorrupt: it is damaged; starting without it would forget acknowledged writes.
    :raises StorageError: it cannot be read.
    """
    try:
        stored = decode(files.read(FILE))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot read the snapshot: {error}") from error
    if stored is None:
        raise StorageCorrupt(
            "the snapshot is damaged. If a majority of the other members is intact, delete this node's "
            "directory and start it again: it fetches everything from them."
        )
    return stored


class Parts:
    """A snapshot as it comes in."""

    def __init__(self) -> None:
        self._data: bytearray | None = None

    @property
    def coming(self) -> bool:
        """The first part is here, and the last is not."""
        return self._data is not None

    def begin(self, *, wanted: bool) -> None:
        """A first part comes; what came before is void."""
        self._data = bytearray() if wanted else None

    def drop(self) -> None:
        """The sender has given it up."""
        self._data = None

    def take(self, data: bytes, *, last: bool) -> bytes | None:
        """Add a part. What there is of the snapshot if it ends here or is too large; None otherwise.

        Parts may have got lost: whether it is whole is for `decode` to say.
        """
        if self._data is not None:
            self._data += data
        if not last and (self._data is None or len(self._data) <= LARGEST):
            return None
        received, self._data = bytes(self._data or b""), None
        return received
