"""Snapshots: the whole state and the two log entries it ends with, in one checksummed file."""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec

from etl_operator.node.consensus.engine import StorageCorrupt
from etl_operator.node.consensus.journal import Entry, replace_file

_MAGIC = b"ETLRSNP1"


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """A state and where in the log it was taken."""

    last: Entry
    previous: Entry
    state: bytes


def store(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot durably.

    :raises OSError: the old one is still there.
    """
    body = msgspec.msgpack.encode(snapshot)
    replace_file(path, _MAGIC + zlib.crc32(body).to_bytes(4, "little") + body)


def load(path: Path) -> Snapshot:
    """Read a snapshot.

    :raises StorageCorrupt: it is damaged; starting without it would forget acknowledged writes.
    :raises OSError: it cannot be read.
    """
    data = path.read_bytes()
    head = len(_MAGIC) + 4
    body = data[head:]
    intact = data[: len(_MAGIC)] == _MAGIC and int.from_bytes(
        data[len(_MAGIC) : head], "little"
    ) == zlib.crc32(body)
    try:
        if intact:
            return msgspec.msgpack.decode(body, type=Snapshot)
    except ValueError:
        pass
    raise StorageCorrupt(
        f"the snapshot {path} is damaged. If a majority of the other members is intact, delete this node's "
        "directory and start it again: it fetches everything from them."
    )
