"""Keeps the store small: snapshots in place of entries, no old history, and the way out of NOSPACE."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable

from etl_operator.node.consensus.engine import StateMachine
from etl_operator.node.consensus.etcd.client import (
    Client,
    EtcdError,
    Refused,
    delete,
    prefix_end,
    put,
    unchanged,
)
from etl_operator.node.consensus.etcd.log import Keys, described, encode, split
from etl_operator.node.consensus.etcd.program import Program
from etl_operator.node.consensus.etcd.replica import Replica
from etl_operator.router.pb import etcd_pb2 as pb

log = logging.getLogger(__name__)

_MOST_BYTES = 64 * 2**20
"""Of entries, after which there is a snapshot, however many there are."""
_FIRST_RETRY, _LAST_RETRY = 0.5, 10.0


class Space:
    """Of one store.

    :param every: entries between two snapshots.
    :param program: the etcd process, if it is this node's.
    """

    def __init__(
        self,
        client: Client,
        keys: Keys,
        replica: Replica,
        machine: StateMachine,
        *,
        every: int,
        program: Program | None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._replica = replica
        self._machine = machine
        self._every = max(every, 2)
        self._program = program
        self._entries = 0
        self._bytes = 0
        self._last_size = 0
        self._retry = _FIRST_RETRY
        self._retry_at = 0.0
        self.full = False
        """There is a NOSPACE alarm."""

    def count(self, size: int) -> None:
        """An entry was applied."""
        self._entries += 1
        self._bytes += size

    @property
    def due(self) -> bool:
        """There should be a snapshot. What all of them cost grows with what is written, no faster."""
        quota = self._program.quota if self._program else 0
        most = min(_MOST_BYTES, quota // 8) if quota else _MOST_BYTES
        enough = self._entries >= self._every and 2 * self._bytes >= self._last_size
        return self._replica.between and (enough or self._bytes >= max(most, self._last_size))

    async def snapshot(self, fence: int, holds: Callable[[], bool]) -> None:
        """Write the state, then give up the entries that are in it.

        :param holds: whether the node still leads.
        :raises EtcdError: it was not finished; the entries are still there.
        """
        number, revision = self._replica.number, self._replica.revision
        entries, size = self._entries, self._bytes
        state = self._machine.snapshot()
        held = [unchanged(self._keys.leader, fence)]
        start = self._keys.pieces(number)
        try:
            for index, piece in enumerate(split(state)):
                if not holds():
                    return
                await self._client.txn(held, [put(start + b"%08x" % index, piece)])
        except Refused:
            # As without space. Deleting needs none.
            await self._client.txn(held, [delete(start, prefix_end(start))])
            raise
        kept = number - self._every // 10
        done, _ = await self._client.txn(
            held,
            [
                put(self._keys.current, encode(described(number, state))),
                delete(self._keys.snapshots + b"0", start),
                delete(self._keys.entry(0), self._keys.entry(max(kept, 0) + 1)),
            ],
        )
        if not done:
            return
        self._last_size = len(state)
        self._entries -= entries
        self._bytes -= size
        log.info("snapshot written: %d bytes, up to entry %d", len(state), number)
        await self._client.compact(revision)

    async def tend(self, status: pb.StatusResponse) -> None:
        """See to a NOSPACE alarm, if the member reports one."""
        full = any("NOSPACE" in error for error in status.errors)
        if full and not self.full:
            log.warning(
                "etcd has no space (%d bytes are used): writes are refused until there is", status.dbSize
            )
            self._retry, self._retry_at = _FIRST_RETRY, 0.0
        elif self.full and not full:
            log.info("etcd has space again")
        self.full = full
        if full and time.monotonic() >= self._retry_at:
            with contextlib.suppress(EtcdError):
                await self._heal(status.header.revision)
            self._retry_at = time.monotonic() + self._retry
            self._retry = min(2 * self._retry, _LAST_RETRY)

    async def _heal(self, revision: int) -> None:
        """Give up all history and free pages; clear the member's alarm if that was enough."""
        with contextlib.suppress(Refused):  # It may be compacted as far already.
            await self._client.compact(revision)
        status = await self._client.status(5.0)
        if status.dbSize - status.dbSizeInUse > status.dbSize // 10:
            await self._client.defragment()
            status = await self._client.status(5.0)
        quota = self._program.quota if self._program else status.dbSizeQuota
        if self._program is not None and self._program.space() > quota + quota // 10:
            log.info("the disk has grown: starting etcd with a larger quota")
            await self._program.restart()
            return
        if quota and status.dbSize >= quota - quota // 10:
            return
        for alarm in await self._client.alarms():
            if alarm.alarm == pb.NOSPACE and alarm.memberID == status.header.member_id:
                await self._client.disarm(alarm)
