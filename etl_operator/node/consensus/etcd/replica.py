"""This node's copy of the state: loaded from the store, then kept up to date by a watch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from etl_operator.node.consensus.engine import StateMachine
from etl_operator.node.consensus.etcd.client import (
    Client,
    Compacted,
    EtcdError,
    prefix_end,
)
from etl_operator.node.consensus.etcd.log import (
    Assembler,
    BadLog,
    Keys,
    Owner,
    decode_owner,
    decode_snapshot,
    joined,
)
from etl_operator.router.pb import etcd_pb2 as pb

log = logging.getLogger(__name__)

_PAGE = 16
"""Pieces of a snapshot that are read at once."""
_ENTRIES = 200
"""Entries of the log that are read at once."""
_PAUSE = 0.1


class Replica:
    """Applies every entry once, in order.

    :param applied: called after each command with its number, its bytes and the machine's answer.
    :param owned: called when the election key changed, after all that was written before was applied.
    :param stall: seconds after which a watch that does not get as far as the store is replaced.
    """

    def __init__(
        self,
        client: Client,
        keys: Keys,
        machine: StateMachine,
        *,
        applied: Callable[[int, int, object], None],
        owned: Callable[[], None],
        stall: float,
    ) -> None:
        self._client = client
        self._keys = keys
        self._machine = machine
        self._applied = applied
        self._owned = owned
        self._stall = stall
        self._log = Assembler()
        self.revision = 0
        """Of the last change that was seen."""
        self.seen = 0
        """Of the store, as far as the watch has come: all changes up to it were seen."""
        self.loaded = False
        self.owner: Owner | None = None
        self.fence = 0
        """The revision of the election key; 0 if there is none."""
        self._ping = asyncio.Event()
        self._advanced = asyncio.Event()
        self._response_at = time.monotonic()
        self._watching: asyncio.Task[None] | None = None

    @property
    def number(self) -> int:
        """Of the last entry that was applied."""
        return self._log.number

    @property
    def between(self) -> bool:
        """See `Assembler.between`."""
        return self._log.between

    async def run(self) -> None:
        """Keep the copy up to date until cancelled.

        :raises BadLog: the store holds what no node wrote.
        """
        trouble = ""
        while True:
            try:
                if not self.loaded:
                    await self._load()
                await self._follow()
            except Compacted as error:
                log.info("reading the state again: %s", error)
                self.loaded = False
                continue
            except EtcdError as error:
                if str(error) != trouble:
                    log.debug("etcd does not serve the log, trying again: %s", error)
                trouble = str(error)
            await asyncio.sleep(_PAUSE)

    def behind(self, revision: int) -> None:
        """The store is known to be at ``revision``: see that the watch gets there."""
        if revision <= self.seen or not self.loaded:
            self._response_at = time.monotonic()
            return
        self._ping.set()
        if time.monotonic() - self._response_at > self._stall and self._watching is not None:
            log.warning("the watch on etcd is silent at revision %d of %d; replacing it", self.seen, revision)
            self._response_at = time.monotonic()
            self._watching.cancel()

    def forget(self) -> None:
        """What was seen is of no use: read all of it again."""
        self.loaded, self.owner, self.fence = False, None, 0
        if self._watching is not None:
            self._watching.cancel()

    async def barrier(self) -> None:
        """Wait until all that was acknowledged before the call is applied.

        :raises EtcdError: etcd has no majority, or does not answer.
        """
        answer = await self._client.range(self._keys.head, keys_only=True)
        needed = answer.kvs[0].mod_revision if answer.kvs else 0
        while not self.loaded or self.revision < needed:
            await self.advance()

    async def advance(self) -> None:
        """Wait for the next change."""
        await self._advanced.wait()

    def _wake(self) -> None:
        self._advanced.set()
        self._advanced = asyncio.Event()

    async def _load(self) -> None:
        """The newest snapshot and the entries after it, all of one revision."""
        first = await self._client.range(self._keys.current)
        revision = first.header.revision
        if first.kvs:
            snapshot = decode_snapshot(first.kvs[0].value)
            if snapshot.number > self._log.number:
                pieces = self._keys.pieces(snapshot.number)
                values = await self._all(pieces, prefix_end(pieces), revision, _PAGE)
                state = joined(snapshot, [kv.value for kv in values])
                if not self._machine.valid(state):
                    raise BadLog(f"the snapshot after entry {snapshot.number} cannot be read")
                self._machine.restore(state)
                self._log = Assembler(snapshot.number)
        start = self._keys.entry(self._log.number + 1)
        for kv in await self._all(start, prefix_end(self._keys.entries), revision, _ENTRIES):
            self._apply(kv)
        head = await self._client.range(self._keys.head, revision=revision, keys_only=True)
        owner = await self._client.range(self._keys.leader, revision=revision)
        self.seen = revision
        # As whoever watched has it: what was written elsewhere in the store does not count.
        self.revision = max([self.revision, *(kv.mod_revision for kv in [*head.kvs, *owner.kvs])])
        self._own(owner.kvs[0] if owner.kvs else None)
        self.loaded = True
        self._response_at = time.monotonic()
        self._wake()

    async def _all(self, start: bytes, end: bytes, revision: int, page: int) -> list[pb.KeyValue]:
        found: list[pb.KeyValue] = []
        while True:
            answer = await self._client.range(start, end, limit=page, revision=revision)
            found += answer.kvs
            if not answer.more:
                return found
            start = answer.kvs[-1].key + b"\0"

    async def _follow(self) -> None:
        # In a task of its own, so that a watch that is silent can be given up.
        self._watching = asyncio.create_task(self._watch(), name="etcd watch")
        try:
            await asyncio.wait([self._watching])
        finally:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if not self._watching.cancelled():
            self._watching.result()

    async def _watch(self) -> None:
        watched = self._keys.watched
        self._response_at = time.monotonic()
        async for response in self._client.watch(watched, prefix_end(watched), self.seen + 1, self._ping):
            self._response_at = time.monotonic()
            for event in response.events:
                if event.type == pb.Event.PUT:
                    self._take(event.kv)
            if response.events:
                self.revision = response.events[-1].kv.mod_revision
            # The header of a response with events can be ahead of what the watch has sent.
            quiet = not response.created and not response.events
            self.seen = max(self.seen, self.revision, response.header.revision if quiet else 0)
            self._wake()

    def _take(self, kv: pb.KeyValue) -> None:
        if kv.key.startswith(self._keys.entries):
            self.revision = kv.mod_revision
            self._apply(kv)
        elif kv.key == self._keys.leader:
            self.revision = kv.mod_revision
            self._own(kv)

    def _apply(self, kv: pb.KeyValue) -> None:
        number = self._keys.number(kv.key)
        command = self._log.add(number, kv.value)
        if command is not None:
            self._applied(number, len(command), self._machine.apply(command))

    def _own(self, kv: pb.KeyValue | None) -> None:
        self.owner = decode_owner(kv.value) if kv is not None else None
        self.fence = kv.mod_revision if kv is not None else 0
        self._owned()
