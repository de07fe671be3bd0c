"""Sources: they send records to a router, and keep each until it is acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from etl_operator.router.pb.common_pb2 import Record
from etl_operator.services.errors import StartError
from etl_operator.services.metrics import SourceMetrics
from etl_operator.services.outstanding import Outstanding, split
from etl_operator.services.pushing import Pusher
from etl_operator.services.records import name_of
from etl_operator.services.routers import Position, Routers, RouterTls
from etl_operator.services.service import Service

log = logging.getLogger(__name__)

PIPELINE_HEADER = "etl-pipeline"
"""Header of a stream: the only pipeline that gets its records."""


@dataclass(frozen=True, slots=True)
class Pushing:
    """How a source sends records to its router."""

    routers: Sequence[str]
    """``HOST:PORT`` of any nodes of one cluster."""
    source_id: str
    """The name of its EtlSource, or ``namespace/name``."""
    pipeline: str = ""
    """``namespace/name``: send to this pipeline only, not to all pipelines of the source."""
    batch_size: int = 1_000
    """Maximum records in a batch."""
    batch_bytes: int = 1_000_000
    """Maximum bytes of a batch; a larger record has a batch of its own."""
    window: int = 8
    """Maximum batches without an acknowledgement."""
    stay: bool = False
    """Keep serving probes and metrics after the last record, until the process is stopped."""
    tls: RouterTls | None = None
    """TLS on the connections to the routers."""


class Source(Service):
    """Base of sources: override :meth:`read`.

    :param pushing: how the records are sent.
    :raises StartError: no router or no source is set.
    """

    kind = "source"
    metrics: SourceMetrics

    def __init__(self, pushing: Pushing) -> None:
        super().__init__()
        if not pushing.routers or not pushing.source_id:
            raise StartError("a source needs the address of a router and the name of its EtlSource")
        if pushing.tls is not None:
            pushing.tls.check()
        self.pushing = pushing
        self._outstanding = Outstanding(pushing.window)
        self._routers: Routers | None = None
        self._last: dict[int, int] = {}

    def read(self, position: Position) -> AsyncGenerator[Sequence[Record], None]:
        """An ``async`` generator of lists of records: those that are available, starting after ``position``.

        Sequence numbers must increase within a partition; 0 is replaced by the next number. Source ids are
        set by the caller. The generator is suspended while too many batches have no acknowledgement, and is
        closed when the process stops. When it returns, the source has no more records.
        """
        raise NotImplementedError

    def rejected(self, record: Record, message: str) -> None:
        """Called if the router rejects a record for good. The default logs it, and the source continues."""
        log.error("the router rejected a record: %s", message, extra={"record": name_of(record.id)})

    async def save(self, state: bytes) -> bool:
        """Store a state of at most 1 MiB in the router; :class:`Position` has it after a restart. Call it
        from :meth:`read` only.

        :returns: False if the router has not stored it.
        """
        assert self._routers is not None, "read is running"
        return await self._routers.save(self.pushing.source_id, state)

    def _metrics(self) -> SourceMetrics:
        return SourceMetrics()

    async def _run(self, stop: asyncio.Event, grace: float) -> None:
        self._routers = Routers(self.pushing.routers, self.pushing.tls)
        metadata = [(PIPELINE_HEADER, self.pushing.pipeline)] if self.pushing.pipeline else []
        pusher = Pusher(self._routers, self._outstanding, self.rejected, self.metrics, metadata)
        pushing = asyncio.create_task(pusher.run())
        reading = asyncio.create_task(self._read(self._routers, pusher))
        stopping = asyncio.create_task(stop.wait())
        try:
            await _first(pushing, reading, stopping)
            if reading.done() and not reading.exception():
                await _first(pushing, stopping)
            # Everything is acknowledged, the process is to stop, or the code of the source failed.
            reading.cancel()
            await asyncio.wait([reading])
            pusher.finish()
            await asyncio.wait([pushing], timeout=grace)
            self._conclude(pushing, reading)
            if self.pushing.stay:
                await stopping
        finally:
            for task in (pushing, reading, stopping):
                task.cancel()
            await asyncio.gather(pushing, reading, stopping, return_exceptions=True)
            await self._routers.close()

    def _conclude(self, pushing: asyncio.Task[None], reading: asyncio.Task[None]) -> None:
        if not pushing.done():
            log.warning(
                "the router has not acknowledged %d records: they are sent again after the next start",
                self._outstanding.records,
            )
        else:
            pushing.result()
            log.info("the router has acknowledged all records")
        if not reading.cancelled():
            reading.result()

    async def _read(self, routers: Routers, pusher: Pusher) -> None:
        """Read records while the window has room, until the last one."""
        position = await routers.position(self.pushing.source_id)
        self._last = dict(position.offsets)
        log.info("reading", extra={"after": position.offsets or "nothing"})
        async with contextlib.aclosing(self.read(position)) as lists:
            async for records in lists:
                self._number(records)
                size = min(self._outstanding.recommended or self.pushing.batch_size, self.pushing.batch_size)
                for part in split(records, size, self.pushing.batch_bytes):
                    await pusher.offer(part)
        pusher.finish()

    def _number(self, records: Sequence[Record]) -> None:
        last = self._last
        for record in records:
            record_id = record.id
            record_id.source_id = self.pushing.source_id
            before = last.get(record_id.partition, 0)
            if not record_id.sequence_number:
                record_id.sequence_number = before + 1
            if record_id.sequence_number <= before:
                raise ValueError(
                    f"sequence number {record_id.sequence_number} of partition {record_id.partition} comes "
                    f"after {before}: sequence numbers must increase"
                )
            last[record_id.partition] = record_id.sequence_number


async def _first(*tasks: asyncio.Task[object]) -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
