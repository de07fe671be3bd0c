"""What a running pipeline asks of whatever processes its records: services, or a durable buffer."""

from __future__ import annotations

from typing import Protocol

from etl_operator.node.data.balance import Balancer
from etl_operator.node.data.call import Parcel, Tuning
from etl_operator.node.data.chunk import Packed, Passed
from etl_operator.node.data.graph import Stage
from etl_operator.node.data.policy import Result
from etl_operator.node.data.stats import StageStats


class Processor(Protocol):
    """Processes the records of stages."""

    @property
    def tuning(self) -> Tuning:
        """Sizes of a call."""

    def balancer(self, stage: Stage) -> Balancer:
        """The strategy of a stage."""

    async def process(
        self, stage: Stage, parcel: Parcel | Packed, balancer: Balancer, stats: StageStats
    ) -> list[Result] | Passed:
        """Process records; waits until that is done. Raises what `call.Services.process` raises."""

    async def flush(self, stage: Stage) -> None:
        """Ask a sink to make what it has last."""
