"""The Raft log on disk: appended, checksummed, and synced before anybody relies on it.

File ``journal``: a magic number, then records of ``length, crc32, index, term, command`` (little endian; the
checksum covers all that follows it). File ``vote``: term and vote, replaced as a whole.

pysyncobj's own journal leaves syncing to the kernel. Here every record is written at once and made durable by
`sync`, which is called before an answer to a leader is sent and before an entry counts as committed. One sync
covers everything written since the last one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import overload

import msgspec
from pysyncobj.journal import Journal

from etl_operator.node.consensus.engine import StorageBusy, StorageCorrupt, StorageError, StorageFull

Entry = tuple[bytes, int, int]
"""Command, index, term: pysyncobj's order."""

_MAGIC = b"ETLRLOG1"
_HEAD = struct.Struct("<II")
_BODY = struct.Struct("<QQ")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LARGEST_GAP = 1_000_000
"""How far ahead an index may be for bytes behind a damaged record to be taken for a record."""

_REPAIR = (
    "If a majority of the other members is intact, delete this node's directory and start it again: "
    "it fetches everything from them. Otherwise restore the volume from a backup first."
)


class _Vote(msgspec.Struct, forbid_unknown_fields=True):
    term: int
    voted_for: str | None
    checksum: int


class DiskJournal(Journal):  # type: ignore[misc]
    """A `pysyncobj.journal.Journal` in a directory of its own, which it locks.

    :param directory: created if missing.
    :raises StorageCorrupt: acknowledged records may be damaged. A torn last record is cut off instead:
        it was never synced, hence never acknowledged.
    :raises StorageBusy: another process has the directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cut_off = 0
        """Bytes of a torn tail dropped while opening."""
        self.syncs = 0
        """How often data was forced to disk."""
        self._path = directory / "journal"
        self._vote_path = directory / "vote"
        self._entries: list[Entry] = []
        self._offsets: list[int] = []
        self._removed: list[Entry] = []
        self._dirty = False
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(directory)
            self._vote = self._read_vote()
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._end = self._recover()
        except OSError as error:
            raise StorageError(f"cannot use the data directory {directory}: {error}") from error

    @property
    def flushed(self) -> bool:
        """Everything written so far is durable."""
        return not self._dirty

    # Entries.

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, item: int) -> Entry: ...
    @overload
    def __getitem__(self, item: slice) -> list[Entry]: ...
    def __getitem__(self, item: int | slice) -> Entry | list[Entry]:
        return self._entries[item]

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Append an entry; durable after the next `sync`.

        :raises StorageFull: nothing was appended.
        :raises StorageError: any other failure; the journal must not be used any more.
        """
        if self._removed:
            # A leader that repeats itself must not un-store, not even for a moment, what was acknowledged.
            kept = self._removed.pop(0)
            if kept == (command, idx, term):
                self._entries.append(kept)
                return
            self._removed.clear()
            self._truncate()
        record = _record((bytes(command), idx, term))
        try:
            _write(self._fd, record, self._end)
        except OSError as error:
            os.ftruncate(self._fd, self._end)
            if error.errno in _NO_ROOM:
                raise StorageFull(f"cannot write {self._path}: {error.strerror}") from error
            raise StorageError(f"cannot write {self._path}: {error}") from error
        self._offsets.append(self._end)
        self._end += len(record)
        self._entries.append((bytes(command), idx, term))
        self._dirty = True

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        """Forget entries from a position on. Takes effect on disk with the next `add` or `sync`."""
        self._removed = self._entries[entryFrom:] + self._removed
        del self._entries[entryFrom:]
        self._dirty = True

    def deleteEntriesTo(self, entryTo: int) -> None:
        """Forget the entries before a position; a snapshot has them. Atomic."""
        self._rewrite(self._entries[entryTo:])

    def clear(self) -> None:
        """Forget everything; a snapshot that is newer than all of it was installed. Atomic."""
        self._rewrite([])

    def sync(self) -> None:
        """Make everything durable. Blocks for one disk flush if anything was written since the last call.

        :raises StorageError: the journal must not be used any more: what the disk holds is not known.
        """
        if not self._dirty:
            return
        if self._removed:
            self._removed.clear()
            self._truncate()
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise StorageError(f"cannot flush {self._path}: {error}") from error
        self._dirty = False
        self.syncs += 1

    # Term, vote, commit index.

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        """Store term and vote durably: both must survive before any message mentions them."""
        vote = _Vote(term, votedForNodeId, _vote_checksum(term, votedForNodeId))
        try:
            replace_file(self._vote_path, msgspec.json.encode(vote))
        except OSError as error:
            kind = StorageFull if error.errno in _NO_ROOM else StorageError
            raise kind(f"cannot write {self._vote_path}: {error.strerror}") from error
        self._vote = vote

    def getCurrentTerm(self) -> int:
        """The last stored term; 0 at first."""
        return self._vote.term

    def getVotedForNodeId(self) -> str | None:
        """Whom this node voted for in that term."""
        return self._vote.voted_for

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:
        """Called before entries are applied: they count as stored here, so they must be.

        The index itself is not kept. Raft finds it again, and reads wait for that (`read_barrier`).
        """
        self.sync()

    def getRaftCommitIndex(self) -> int:
        """1: only the entry every log begins with."""
        return 1

    def close(self) -> None:
        """Release the directory. Nothing is flushed that was not before."""
        os.close(self._fd)
        os.close(self._lock)

    _destroy = close

    # Recovery and rewriting.

    def start_at(self, previous: Entry, last: Entry) -> None:
        """Drop what a snapshot covers, keeping its last two entries, which pysyncobj wants to find in front.

        Without this a crash between writing a snapshot and shortening the journal would cost the entries
        behind the snapshot: pysyncobj clears a journal that does not begin where the snapshot ends.

        :raises StorageCorrupt: the journal begins behind the end of the snapshot.
        """
        if not self._entries or self._entries[:2] == [previous, last]:
            return
        first = self._entries[0][1]
        if first > previous[1]:
            raise StorageCorrupt(
                f"{self._path} begins at entry {first}, but the snapshot ends at entry {last[1]}. {_REPAIR}"
            )
        position = previous[1] - first
        if self._entries[position : position + 2] == [previous, last]:
            self._rewrite(self._entries[position:])
        else:
            self._rewrite([previous, last])

    def _recover(self) -> int:
        data = self._path.read_bytes()
        if not data:
            _write(self._fd, _MAGIC, 0)
            os.fdatasync(self._fd)
            _sync_directory(self.directory)
            return len(_MAGIC)
        if data[: len(_MAGIC)] != _MAGIC:
            if len(data) < len(_MAGIC):  # The very first write was torn.
                os.ftruncate(self._fd, 0)
                return self._recover()
            raise StorageCorrupt(f"{self._path} is not a journal of this version. {_REPAIR}")
        offset = len(_MAGIC)
        while offset < len(data):
            entry = _parse(data, offset)
            if entry is None or (self._entries and entry[1] != self._entries[-1][1] + 1):
                break
            self._entries.append(entry)
            self._offsets.append(offset)
            offset += _HEAD.size + _BODY.size + len(entry[0])
        if offset < len(data):
            self._cut_off_tail(data, offset)
        return offset

    def _cut_off_tail(self, data: bytes, offset: int) -> None:
        last = self._entries[-1][1] if self._entries else 0
        later = _later_record(data, offset, last)
        if later is not None:
            raise StorageCorrupt(
                f"{self._path} is damaged at byte {offset}, after entry {last}; an intact entry {later} "
                f"follows, so acknowledged entries may be lost here. {_REPAIR}"
            )
        self.cut_off = len(data) - offset
        os.ftruncate(self._fd, offset)
        os.fdatasync(self._fd)

    def _read_vote(self) -> _Vote:
        try:
            data = self._vote_path.read_bytes()
        except FileNotFoundError:
            return _Vote(0, None, 0)
        try:
            vote = msgspec.json.decode(data, type=_Vote)
        except ValueError:
            vote = None
        if vote is None or vote.checksum != _vote_checksum(vote.term, vote.voted_for):
            # Starting with a forgotten vote could elect two leaders in one term.
            raise StorageCorrupt(f"{self._vote_path} is damaged. {_REPAIR}")
        return vote

    def _truncate(self) -> None:
        position = len(self._entries)
        if position >= len(self._offsets):
            return
        self._end = self._offsets[position]
        del self._offsets[position:]
        try:
            os.ftruncate(self._fd, self._end)
        except OSError as error:
            raise StorageError(f"cannot shorten {self._path}: {error}") from error
        self._dirty = True

    def _rewrite(self, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        records = [_record(entry) for entry in entries]
        try:
            _sync_directory(self.directory)  # The snapshot that covers what goes now was just renamed.
            replace_file(self._path, b"".join([_MAGIC, *records]))
            os.close(self._fd)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError(f"cannot rewrite {self._path}: {error}") from error
        self._entries, self._removed = entries, []
        self._offsets, self._end = [], len(_MAGIC)
        for record in records:
            self._offsets.append(self._end)
            self._end += len(record)
        self._dirty = False


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file atomically and durably.

    :raises OSError: the old content is still there.
    """
    new = path.with_name(path.name + ".new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write(fd, data, 0)
        os.fsync(fd)
    finally:
        os.close(fd)
    new.replace(path)
    _sync_directory(path.parent)


def flush_file(path: Path) -> None:
    """Make a file that somebody else wrote durable, name and content.

    :raises OSError: it may not be.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    _sync_directory(path.parent)


def _lock(directory: Path) -> int:
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise StorageBusy(f"{directory} is in use by another process") from None
    return fd


def _record(entry: Entry) -> bytes:
    command, index, term = entry
    body = _BODY.pack(index, term) + command
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def _parse(data: bytes, offset: int) -> Entry | None:
    """The record at ``offset``, or None if there is no intact one."""
    start = offset + _HEAD.size
    if start + _BODY.size > len(data):
        return None
    length, checksum = _HEAD.unpack_from(data, offset)
    if length < _BODY.size or start + length > len(data):
        return None
    body = data[start : start + length]
    if zlib.crc32(body) != checksum:
        return None
    index, term = _BODY.unpack_from(body)
    return body[_BODY.size :], index, term


def _later_record(data: bytes, damaged: int, last: int) -> int | None:
    """The index of an intact record somewhere behind a damaged one, if any."""
    for offset in range(damaged + 1, len(data) - _HEAD.size - _BODY.size + 1):
        index, _ = _BODY.unpack_from(data, offset + _HEAD.size)
        if last < index <= last + _LARGEST_GAP and _parse(data, offset) is not None:
            return int(index)
    return None


def _vote_checksum(term: int, voted_for: str | None) -> int:
    return zlib.crc32(f"{term}/{voted_for}".encode())


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
