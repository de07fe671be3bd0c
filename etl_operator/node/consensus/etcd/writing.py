"""Writes entries: what was proposed meanwhile goes into one transaction, one transaction at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from etl_operator.node.consensus.engine import (
    ConsensusError,
    LeadershipLost,
    NotLeader,
    StorageError,
    StorageFull,
)
from etl_operator.node.consensus.etcd.client import Client, EtcdError, NoSpace, Refused, put, unchanged
from etl_operator.node.consensus.etcd.log import PIECE, Keys, entries_of

_MOST_ENTRIES = 100
"""Of a transaction; etcd takes 128 operations."""
_MOST_BYTES = 2 * PIECE
"""Of a transaction; etcd takes 1.5 MiB."""

Answer = asyncio.Future[object]


@dataclass(slots=True)
class _Proposal:
    entries: list[bytes]
    answer: Answer


@dataclass(slots=True)
class _Waiting:
    """Sent, and not applied yet."""

    answer: Answer
    fence: int


class Writer:
    """The entries of a leader.

    :param doubt: called with a fence that must not be used any more: it is lost, or what was written under it
        is not known.
    """

    def __init__(self, client: Client, keys: Keys, *, doubt: Callable[[int], None]) -> None:
        self._client = client
        self._keys = keys
        self._doubt = doubt
        self._queue: deque[_Proposal] = deque()
        self._waiting: dict[int, _Waiting] = {}
        self._due = asyncio.Event()
        self._fence = 0
        self._next = 0
        self.transactions = 0
        """Sent since the start."""
        self._sending: asyncio.Task[tuple[bool, int]] | None = None

    @property
    def pending(self) -> set[Answer]:
        """Proposals without an answer."""
        queued = (proposal.answer for proposal in self._queue)
        sent = (waiting.answer for waiting in self._waiting.values())
        return {answer for answer in (*queued, *sent) if not answer.done()}

    def propose(self, command: bytes) -> Answer:
        """Have a command written; the answer is that of the state machine."""
        answer: Answer = asyncio.get_running_loop().create_future()
        self._queue.append(_Proposal(entries_of(command), answer))
        self._due.set()
        return answer

    def open(self, fence: int, number: int) -> None:
        """This node leads, and ``number`` is the last entry."""
        self._fence, self._next = fence, number + 1
        self._due.set()

    def close(self) -> None:
        """It does not lead: what was not sent is not made."""
        self._fence = 0
        while self._queue:
            _fail(self._queue.popleft().answer, NotLeader("not the leader"))

    def shake(self) -> None:
        """etcd's leader changed: a transaction that was sent to the former one may never be answered."""
        if self._sending is not None:
            self._sending.cancel()

    def applied(self, number: int, result: object) -> None:
        """An entry was applied here."""
        waiting = self._waiting.pop(number, None)
        if waiting is not None and not waiting.answer.done():
            waiting.answer.set_result(result)

    def settle(self, fence: int, number: int) -> None:
        """All entries written before ``fence`` are applied, up to ``number``; others will never be."""
        for at in [at for at, one in self._waiting.items() if one.fence != fence or at <= number]:
            waiting = self._waiting.pop(at)
            # It was in a snapshot that was loaded in place of the entries.
            lost = LeadershipLost("the answer was lost; the outcome is unknown")
            _fail(waiting.answer, lost if at <= number else NotLeader("not the leader any more"))

    def fail(self, error: ConsensusError) -> None:
        """End all that waits."""
        for answer in self.pending:
            _fail(answer, error)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            while self._queue and self._fence:
                await self._write(self._take())

    def _take(self) -> list[_Proposal]:
        batch: list[_Proposal] = []
        entries = size = 0
        while self._queue:
            proposal = self._queue[0]
            entries += len(proposal.entries)
            size += sum(map(len, proposal.entries))
            if batch and (entries > _MOST_ENTRIES or size > _MOST_BYTES):
                break
            batch.append(self._queue.popleft())
        return [one for one in batch if not one.answer.done()]

    async def _write(self, batch: list[_Proposal]) -> None:
        values = [value for proposal in batch for value in proposal.entries]
        fence, first = self._fence, self._next
        last = first - 1
        for proposal in batch:
            last += len(proposal.entries)
            self._waiting[last] = _Waiting(proposal.answer, fence)
        try:
            # More than one transaction only if the command alone is too large for one.
            for start in range(0, len(values), _MOST_ENTRIES if len(batch) > 1 else 1):
                part = values[start : start + (_MOST_ENTRIES if len(batch) > 1 else 1)]
                if not await self._send(fence, first + start, part):
                    raise NotLeader("not the leader any more")
                self._next = first + start + len(part)
        except NoSpace as error:
            self._refuse(first, last, StorageFull(f"etcd has no space: {error}"))
        except Refused as error:
            self._refuse(first, last, StorageError(f"etcd refused the entry: {error}"))
        except NotLeader as error:
            self._refuse(first, last, error)
            self._lose(fence)
        except EtcdError:
            self._lose(fence)

    def _lose(self, fence: int) -> None:
        if self._fence == fence:
            self.close()
        self._doubt(fence)

    def _refuse(self, first: int, last: int, error: ConsensusError) -> None:
        for number in range(first, last + 1):
            waiting = self._waiting.pop(number, None)
            if waiting is not None:
                _fail(waiting.answer, error)

    async def _send(self, fence: int, first: int, values: list[bytes]) -> bool:
        puts = [put(self._keys.entry(first + index), value) for index, value in enumerate(values)]
        puts.append(put(self._keys.head, b"%016x" % (first + len(values) - 1)))
        held = [unchanged(self._keys.leader, fence)]
        self.transactions += 1
        self._sending = asyncio.ensure_future(self._client.txn(held, puts))
        try:
            succeeded, _ = await self._sending
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise EtcdError("etcd's leader changed") from None
        finally:
            self._sending = None
        return succeeded


def _fail(answer: Answer, error: ConsensusError) -> None:
    if not answer.done():
        answer.set_exception(error)
