"""The Raft log on disk: appended, checksummed, and flushed before anybody relies on it.

File ``journal``: a magic number, then records of ``length, crc32, index, term, command`` (little endian; the
checksum covers all that follows it). File ``vote``: term and vote, replaced as a whole.

Every record is written at once and made durable by `DiskJournal.sync`, which is called before an answer to a
leader is sent and before an entry counts as committed. One flush covers all that was written since the last.

Every method changes the disk first and memory afterwards: after an error both still agree. The names of the
methods are those of pysyncobj's ``Journal``, which this class once replaced.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import overload

import msgspec

from etl_operator.node.consensus.disk import File, Files, OsFiles, failure, replace
from etl_operator.node.consensus.engine import StorageCorrupt, StorageError
from etl_operator.node.consensus.engine import StorageFull as StorageFull

Entry = tuple[bytes, int, int]
"""Command, index, term."""

_MAGIC = b"ETLRLOG1"
_HEAD = struct.Struct("<II")
_BODY = struct.Struct("<QQ")
MOST = 2**62
"""The largest index or term: they fit 64 bits with room to count on."""
_JOURNAL, _VOTE = "journal", "vote"
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


class DiskJournal:
    """A log, a term and a vote in a directory of their own, which it locks.

    :param directory: created if missing.
    :param files: the files in it; the operating system's by default.
    :raises StorageCorrupt: acknowledged records may be damaged. A torn last record is cut off instead:
        it was never flushed, hence never acknowledged.
    :raises StorageBusy: another process has the directory.
    """

    def __init__(self, directory: Path, files: Files | None = None) -> None:
        self.cut_off = 0
        """Bytes of a torn tail dropped while opening."""
        self.syncs = 0
        """How often data was forced to disk."""
        self._path = directory / _JOURNAL
        self._vote_path = directory / _VOTE
        self._entries: list[Entry] = []
        self._offsets: list[int] = []
        self._dirty = False
        try:
            self._files: Files = OsFiles(directory) if files is None else files
            self._files.lock()
        except OSError as error:
            raise failure(error, f"cannot use the data directory {directory}") from error
        try:
            # What an earlier process wrote and did not flush can be read, and is relied on from now on.
            self._files.sync()
            self._vote = self._read_vote()
            self._file = self._files.open(_JOURNAL)
            self._end = self._recover()
        except OSError as error:
            self._files.unlock()
            raise failure(error, f"cannot use the data directory {directory}") from error
        except StorageError:
            self._files.unlock()
            raise

    @property
    def files(self) -> Files:
        """Where the journal lives; the snapshots are there too."""
        return self._files

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

    @property
    def first(self) -> int:
        """Index of the first entry kept."""
        return self._entries[0][1]

    @property
    def last(self) -> int:
        """Index of the last entry."""
        return self._entries[-1][1]

    def term_at(self, index: int) -> int | None:
        """The term of an entry; None if it is not here."""
        position = index - self._entries[0][1]
        return self._entries[position][2] if 0 <= position < len(self._entries) else None

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Append an entry; durable after the next `sync`.

        :raises StorageFull: nothing was appended.
        :raises StorageError: any other failure; the journal must not be used any more.
        """
        record = _record((command, idx, term))
        try:
            self._file.write(record, self._end)
        except OSError as error:
            self._take_back(self._end)
            raise failure(error, f"cannot write {self._path}") from error
        self._offsets.append(self._end)
        self._end += len(record)
        self._entries.append((command, idx, term))
        self._dirty = True

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        """Forget entries from a position on, durably. Only what contradicts the leader may go.

        :raises StorageFull: nothing was forgotten.
        :raises StorageError: any other failure; the journal must not be used any more.
        """
        if entryFrom >= len(self._entries):
            return
        end = self._offsets[entryFrom]
        try:
            self._file.truncate(end)
        except OSError as error:
            raise failure(error, f"cannot shorten {self._path}") from error
        # At once: what is written next must not be found in front of a rest of what was cut off here.
        self._flush()
        del self._entries[entryFrom:], self._offsets[entryFrom:]
        self._end = end

    def deleteEntriesTo(self, entryTo: int) -> None:
        """Forget the entries before a position; a snapshot has them. Atomic.

        :raises StorageFull: nothing was forgotten.
        """
        self._rewrite(self._entries[entryTo:])

    def sync(self) -> None:
        """Make everything durable. Blocks for one disk flush if anything was written since the last call.

        :raises StorageError: the journal must not be used any more: what the disk holds is not known.
        """
        if self._dirty:
            self._flush()

    def close(self) -> None:
        """Release the directory. Nothing is flushed that was not before."""
        self._file.close()
        self._files.unlock()

    # Term and vote.

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        """Store term and vote durably: both must survive before any message mentions them.

        :raises StorageFull: term and vote are as before, in memory and on disk.
        """
        vote = _Vote(term, votedForNodeId, _vote_checksum(term, votedForNodeId))
        replace(self._files, _VOTE, msgspec.json.encode(vote), described=str(self._vote_path)).close()
        self._vote = vote

    def getCurrentTerm(self) -> int:
        """The last stored term; 0 at first."""
        return self._vote.term

    def getVotedForNodeId(self) -> str | None:
        """Whom this node voted for in that term."""
        return self._vote.voted_for

    # Recovery and rewriting.

    def start_at(self, previous: Entry, last: Entry) -> None:
        """Begin with the last two entries that a durable snapshot covers, and keep what follows them.

        If they are here, with their terms, so is all that was stored behind them, and it stays. If not, what
        is here is older than the snapshot or contradicts it: it goes.

        :raises StorageCorrupt: the journal begins behind the end of the snapshot.
        :raises StorageFull: the journal is as before.
        """
        if self._entries[:2] == [previous, last]:
            return
        first = self._entries[0][1] if self._entries else last[1]
        if first > last[1]:
            raise StorageCorrupt(
                f"{self._path} begins at entry {first}, but the snapshot ends at entry {last[1]}. {_REPAIR}"
            )
        position = max(previous[1] - first, 0)
        if self._entries and self.term_at(last[1]) == last[2]:
            self._forget_head(position)
        else:
            self._rewrite([previous, last])

    def _forget_head(self, position: int) -> None:
        """In memory only; the file is shortened with the next snapshot."""
        del self._entries[:position], self._offsets[:position]

    def _recover(self) -> int:
        data = self._files.read(_JOURNAL)
        if len(data) < len(_MAGIC) and _MAGIC.startswith(data):  # New, or the very first write was torn.
            self._file.write(_MAGIC, 0)
            self._file.sync()
            self._files.sync()
            return len(_MAGIC)
        if data[: len(_MAGIC)] != _MAGIC:
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
        self._file.sync()
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
        self._file.truncate(offset)

    def _read_vote(self) -> _Vote:
        try:
            data = self._files.read(_VOTE)
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

    def _take_back(self, size: int) -> None:
        try:
            self._file.truncate(size)
        except OSError as error:
            raise StorageError(f"cannot shorten {self._path}: {error}") from error

    def _flush(self) -> None:
        try:
            self._file.sync()
        except OSError as error:
            raise StorageError(f"cannot flush {self._path}: {error}") from error
        self._dirty = False
        self.syncs += 1

    def _rewrite(self, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        records = [_record(entry) for entry in entries]
        data = b"".join([_MAGIC, *records])
        file: File = replace(self._files, _JOURNAL, data, described=str(self._path))
        self._file.close()
        self._file, self._entries = file, entries
        self._offsets, self._end = [], len(_MAGIC)
        for record in records:
            self._offsets.append(self._end)
            self._end += len(record)
        self._dirty = False


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
