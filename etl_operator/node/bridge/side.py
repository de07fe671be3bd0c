"""The data plane in a node's process: its limits from the settings, what it is given, and its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import grpc

from etl_operator.node.bridge.committer import Committer
from etl_operator.node.bridge.feed import Feed
from etl_operator.node.bridge.reports import Reports
from etl_operator.node.consensus.engine import ConsensusEngine
from etl_operator.node.control.peers import Peers
from etl_operator.node.control.registry import Registry
from etl_operator.node.control.state import RouterState
from etl_operator.node.data import rpc
from etl_operator.node.data.call import Tuning
from etl_operator.node.data.credit import Amount, Limits
from etl_operator.node.data.plane import DataPlane
from etl_operator.node.data.view import Report
from etl_operator.node.settings import Settings

LEAVE_SECONDS = 20.0
"""How long a node that leaves waits for records that are under way."""
COMMIT_SECONDS = 2.0
"""How long it then tries to commit how far they came."""


def limits_of(settings: Settings) -> Limits:
    """Budgets: one source may have a quarter of all bytes, one pipeline half."""
    buffer, size = settings.buffer, settings.node.buffer_bytes
    return Limits(
        Amount(buffer.max_total_records, size),
        Amount(buffer.max_per_source, size // 4),
        Amount(buffer.max_per_stage, size // 2),
        buffer.backpressure_threshold,
        buffer.backpressure_resume_threshold,
    )


def tuning_of(settings: Settings) -> Tuning:
    """Times and sizes of calls."""
    return Tuning(
        deadline=settings.node.call_seconds,
        message_bytes=settings.grpc.max_message_size,
        longest_wait=settings.node.longest_retry_seconds,
    )


class DataSide:
    """Lives as long as the node."""

    def __init__(
        self, engine: ConsensusEngine, pipelines: RouterState, registry: Registry, settings: Settings
    ) -> None:
        self.plane = DataPlane(limits_of(settings), tuning_of(settings))
        self.peers = Peers(engine)
        self.records = Reports(engine, self._report)
        self._prefix = settings.node.package_prefix
        self._engine = engine
        self._feed = Feed(pipelines, registry, self._applied, self.plane.update)
        engine.on_change(self._feed.wake)
        self._committer = Committer(self.plane, self.peers)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to take records, as soon as there are pipelines."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._feed.run()), loop.create_task(self._committer.run())]

    def _applied(self) -> int | None:
        status = self._engine.status()
        return status.applied_index if status.caught_up else None

    async def _report(self, only: str) -> Report:
        """What this node holds, by all that it has applied."""
        self._feed.refresh()
        return self.plane.report(only)

    def handlers(self, count: Callable[[str], None]) -> list[grpc.GenericRpcHandler[Any, Any]]:
        """Its services.

        :param count: called with ``Service/Method`` for every call.
        """
        return rpc.handlers(self.plane, self._prefix, count)

    async def leave(self) -> None:
        """Take no more records and bring to their end those under way, within `LEAVE_SECONDS`."""
        await self.plane.leave(LEAVE_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._committer.commit()

    async def stop(self) -> None:
        """Let everything go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.plane.close()
