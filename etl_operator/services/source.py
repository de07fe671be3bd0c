"""Sources: they push records to a router, and keep each until it is answered."""

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
"""Of a stream: the one pipeline that its records are for."""


@dataclass(frozen=True, slots=True)
class Pushing:
    """How a source talks to its router."""

    routers: Sequence[str]
    """``HOST:PORT`` of any nodes of one cluster; all are equal."""
    source_id: str
    """The name of its EtlSource, or ``namespace/name``."""
    pipeline: str = ""
    """``namespace/name``: push to this pipeline alone, not to all that name the source."""
    batch_size: int = 1_000
    """Records of a batch at most."""
    batch_bytes: int = 1_000_000
    """Bytes of a batch at most; a larger record is alone in its batch."""
    window: int = 8
    """Batches without an answer at most."""
    stay: bool = False
    """Serve probes and metrics on after the last record, until the process is to end."""
    tls: RouterTls | None = None
    """Of the connections to the routers."""


class Source(Service):
    """Base of sources: override :meth:`read`.

    :param pushing: where the records go.
    :raises StartError: no router or no source is named.
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
        """Yield records, a list at a time: what there is now, from after ``position``. An ``async``
        generator.

        Sequence numbers rise within a partition; 0 takes the next one. Source ids are filled in. The
        generator is not asked for more while too much is unanswered, and is closed when the process is to
        end. When it returns, the source is done.
        """
        raise NotImplementedError

    def rejected(self, record: Record, message: str) -> None:
        """The router will never take this record. By default this is logged, and the source goes on."""
        log.error("the router rejected a record: %s", message, extra={"record": name_of(record.id)})

    async def save(self, state: bytes) -> bool:
        """Store a state with the router, to be had again in :class:`Position`; at most 1 MiB. From
        :meth:`read` only.

        :returns: False: the router keeps none.
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
            # All is answered, or the process is to end, or the author's code failed.
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
                "%d records have no answer yet: they are sent again after the next start",
                self._outstanding.records,
            )
        else:
            pushing.result()
            log.info("everything that was sent is answered")
        if not reading.cancelled():
            reading.result()

    async def _read(self, routers: Routers, pusher: Pusher) -> None:
        """Read on while there is room, until the end."""
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
                    f"after {before}: they must rise"
                )
            last[record_id.partition] = record_id.sequence_number


async def _first(*tasks: asyncio.Task[object]) -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
