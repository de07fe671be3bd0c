"""Whether this node may vote: one with an empty data directory may not, before it is known what it has lost.

A member that lost its volume has forgotten its votes and what it acknowledged. Its vote could elect a leader
without committed entries. So a node that starts with an empty directory marks it, durably and first of all,
as *joining*, and the mark goes

* when it votes in the founding of a cluster, among nodes that are all empty; or
* when its log has the entry that made it a learner. The leader names that entry when it admits the node: it
  is committed, and so is, before it, the removal of what this node was earlier. From there on its votes are
  those of a new member.
"""

from __future__ import annotations

import msgspec

from etl_operator.node.consensus.disk import Files, replace
from etl_operator.node.consensus.engine import StorageCorrupt, StorageError

FILE = "joining"


class _Mark(msgspec.Struct, forbid_unknown_fields=True):
    since: int = 0
    """The entry that made this node a learner; 0 while it is not admitted."""


class Admission:
    """The mark in a data directory.

    :param blank: the directory is new: mark it.
    :raises StorageError: it cannot be read or written.
    """

    def __init__(self, files: Files, *, blank: bool) -> None:
        self._files = files
        self._mark = self._read()
        if blank and self._mark is None:
            self._write(_Mark())

    @property
    def joining(self) -> bool:
        """This node does not vote, except to found a cluster."""
        return self._mark is not None

    @property
    def waiting(self) -> bool:
        """This node stores nothing before a leader admits it."""
        return self._mark is not None and not self._mark.since

    def admit(self, since: int) -> None:
        """A leader has added this node as a learner with the entry ``since``."""
        if self.waiting:
            self._write(_Mark(since))

    def reached(self, last: int) -> None:
        """The log goes up to ``last`` and equals a leader's."""
        if self._mark is not None and 0 < self._mark.since <= last:
            self.end()

    def end(self) -> None:
        """This node is a member like the others."""
        if self._mark is None:
            return
        try:
            self._files.remove(FILE)
            self._files.sync()
        except OSError as error:
            raise StorageError(f"cannot remove the mark {FILE}: {error}") from error
        self._mark = None

    def _read(self) -> _Mark | None:
        try:
            return msgspec.json.decode(self._files.read(FILE), type=_Mark)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read the mark {FILE}: {error}") from error
        except ValueError:
            raise StorageCorrupt(
                f"the file {FILE} is damaged. If a majority of the other members is intact, delete this "
                "node's directory and start it again: it fetches everything from them."
            ) from None

    def _write(self, mark: _Mark) -> None:
        replace(self._files, FILE, msgspec.json.encode(mark), described=f"the mark {FILE}").close()
        self._mark = mark
