"""The data plane of a node, as its process has it: what it is given, what it reports, and its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import grpc

from etl_operator.node.bridge.committer import Committer
from etl_operator.node.bridge.feed import Feed
from etl_operator.node.bridge.planes import InProcess, Plane
from etl_operator.node.bridge.reports import Reports
from etl_operator.node.bridge.workers import Figures, Workers
from etl_operator.node.consensus.address import Address
from etl_operator.node.consensus.engine import ConsensusEngine
from etl_operator.node.control.peers import Peers
from etl_operator.node.control.registry import Registry
from etl_operator.node.control.state import RouterState
from etl_operator.node.data import rpc
from etl_operator.node.data.plane import DataPlane
from etl_operator.node.data.view import Report
from etl_operator.node.settings import Settings
from etl_operator.node.worker.budget import buffer_of, limits_of, tuning_of

LEAVE_SECONDS = 20.0
"""How long a node that leaves waits for records that are under way."""
COMMIT_SECONDS = 2.0
"""How long it then tries to commit how far they came."""


class DataSide:
    """Lives as long as the node.

    :param listen: the public address, for workers.
    :param control: gRPC target of this process, for workers.
    :param on_serving: called when a worker begins or ceases to serve.
    """

    def __init__(
        self,
        engine: ConsensusEngine,
        pipelines: RouterState,
        registry: Registry,
        settings: Settings,
        *,
        listen: Address,
        control: str,
        on_serving: Callable[[], None],
    ) -> None:
        self._here: DataPlane | None = None
        self._workers: Workers | None = None
        plane: Plane
        if settings.node.data_workers:
            plane = self._workers = Workers(settings.node.data_workers, listen, control, settings, on_serving)
        else:
            self._here = DataPlane(limits_of(settings), tuning_of(settings), buffer=buffer_of(settings))
            plane = InProcess(self._here)
        self._plane = plane
        self.peers = Peers(engine)
        self.records = Reports(engine, self.report, lambda: plane.buffer_trouble)
        self._prefix = settings.node.package_prefix
        self._engine = engine
        self._feed = Feed(pipelines, registry, self._applied, plane.update)
        engine.on_change(self._feed.wake)
        self._committer = Committer(plane, self.peers, pipelines)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_serving(self) -> bool:
        """Sources can connect."""
        return self._plane.is_serving

    def prepare(self) -> None:
        """Load what it needs, while the node does other things."""
        self._plane.start()

    def start(self) -> None:
        """Begin to take records, as soon as there are pipelines."""
        self._feed.refresh()
        self._plane.open()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._feed.run()), loop.create_task(self._committer.run())]

    def _applied(self) -> int | None:
        status = self._engine.status()
        return status.applied_index if status.caught_up else None

    async def report(self, only: str = "") -> Report:
        """What this node holds, by all that it has applied."""
        self._feed.refresh()
        return await self._plane.report(only)

    def handlers(self, count: Callable[[str], None]) -> list[grpc.GenericRpcHandler[Any, Any]]:
        """Its services; none if workers have them.

        :param count: called with ``Service/Method`` for every call.
        """
        return rpc.handlers(self._here, self._prefix, count) if self._here is not None else []

    def calls(self) -> Mapping[str, int]:
        """gRPC calls that workers served themselves, by ``Service/Method``."""
        return self._workers.calls() if self._workers is not None else {}

    def figures(self) -> list[Figures]:
        """Of each worker."""
        return self._workers.figures() if self._workers is not None else []

    async def leave(self) -> None:
        """Take no more records and bring to their end those under way, within `LEAVE_SECONDS`."""
        await self._plane.leave(LEAVE_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._committer.commit()

    async def stop(self) -> None:
        """Let everything go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._plane.close()
