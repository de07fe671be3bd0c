"""Where records are between a source and the stages: the interface, and the buffer in memory.

With the buffer in memory a source is answered when its records are delivered. A durable buffer stores them
first and answers then; it delivers what it has stored to the same pipelines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from etl_operator.node.data.balance import Key
from etl_operator.node.data.chunk import Trace
from etl_operator.node.data.credit import Amount, Budget
from etl_operator.node.data.flow import Flow, Way
from etl_operator.node.data.frames import Frame
from etl_operator.node.data.graph import Plan, Stage
from etl_operator.node.data.lane import Clock
from etl_operator.node.data.ledger import Ticket
from etl_operator.node.data.processing import Processor
from etl_operator.node.data.view import Pipeline, PipelineReport
from etl_operator.router.pb import common_pb2


class Host(Protocol):
    """The data plane, as a buffer sees it."""

    budget: Budget
    clock: Clock

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task that ends with the data plane."""

    def wake(self) -> None:
        """Let all look again who wait for room, for changed pipelines, or for the end."""

    def has_services(self, stage: Stage) -> bool:
        """At least one service is registered behind a stage."""

    def take(
        self,
        batch: common_pb2.RecordBatch | Frame,
        source: str,
        ways: Sequence[Way],
        amount: Amount,
        trace: Trace,
        answered: Callable[[Ticket], None],
    ) -> None:
        """Deliver a batch; ``answered`` gets its ticket once it is decided, maybe at once."""


class Buffer(Protocol):
    """Stores records, or does not. Belongs to one data plane."""

    def attach(self, host: Host) -> None:
        """Called once, first."""

    def processor(self, services: Processor) -> Processor:
        """What the stages of all pipelines call.

        :param services: the registered services.
        """

    def plan(self, plan: Plan) -> Plan:
        """A pipeline as it runs with this buffer."""

    def update(self, pipelines: Mapping[str, Pipeline], flows: Mapping[str, Flow]) -> None:
        """Pipelines and services as they are now; both mappings have the same keys."""

    def way(self, way: Way) -> Way:
        """Where the records of a source go that takes ``way``."""

    def committed(self, flow: Flow) -> Mapping[Key, int]:
        """Positions committed of a pipeline, see `Flow.committed`."""

    def report(self, flow: Flow) -> PipelineReport:
        """The counters of a pipeline, with what is stored."""

    async def refresh(self, pipeline_id: str) -> None:
        """Find out what is stored for a pipeline, so that its report is exact."""

    @property
    def trouble(self) -> str:
        """Why no record can be stored at the moment; empty if they can."""

    @property
    def pending(self) -> int:
        """Records of all pipelines that were received and are not stored yet."""

    def leave(self) -> None:
        """The node shuts down: deliver nothing more that is stored."""

    async def close(self) -> None:
        """Let everything go."""


class Memory:
    """No buffer: records are in the lanes alone, and a source is answered when they are delivered."""

    pending = 0
    trouble = ""

    def attach(self, host: Host) -> None:
        """See `Buffer`."""

    def processor(self, services: Processor) -> Processor:
        """The services."""
        return services

    def plan(self, plan: Plan) -> Plan:
        """As it is."""
        return plan

    def update(self, pipelines: Mapping[str, Pipeline], flows: Mapping[str, Flow]) -> None:
        """See `Buffer`."""

    def way(self, way: Way) -> Way:
        """The same."""
        return way

    def committed(self, flow: Flow) -> Mapping[Key, int]:
        """What was delivered."""
        return flow.committed()

    def report(self, flow: Flow) -> PipelineReport:
        """Its own."""
        return flow.report()

    async def refresh(self, pipeline_id: str) -> None:
        """Nothing is stored."""

    def leave(self) -> None:
        """See `Buffer`."""

    async def close(self) -> None:
        """See `Buffer`."""
