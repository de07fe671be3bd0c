"""Plans of pipelines, compiled a few at a time before they are used: a node has tens of thousands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from etl_operator.node.data.conditions import PlanError
from etl_operator.node.data.graph import Plan, plan_of
from etl_operator.router.pb import router_pb2

SLICE_SECONDS = 0.02
"""How long plans are compiled while nothing else runs."""


def compiled(config: bytes) -> Plan:
    """The plan of a serialised ``PipelineConfig``.

    :raises PlanError: the pipeline cannot run.
    """
    return plan_of(router_pb2.PipelineConfig.FromString(config))


class Plans:
    """All plans of a data plane.

    :param adapted: changes a plan before it is used.
    """

    def __init__(self, adapted: Callable[[Plan], Plan]) -> None:
        self._adapted = adapted
        self._prepared: dict[bytes, Plan | PlanError] = {}

    async def prepare(self, configs: Iterable[bytes], on_slice: Callable[[], None]) -> None:
        """Compile what `of` will be asked for, instead of what was prepared before.

        :param on_slice: called between two slices, after which other tasks run.
        """
        self._prepared = {}
        begun = time.monotonic()
        for config in configs:
            try:
                self._prepared[config] = self._adapted(compiled(config))
            except PlanError as error:
                self._prepared[config] = error
            if time.monotonic() - begun >= SLICE_SECONDS:
                on_slice()
                await asyncio.sleep(0)
                begun = time.monotonic()

    def of(self, config: bytes) -> Plan:
        """A plan; one that was prepared is given once.

        :raises PlanError: the pipeline cannot run.
        """
        found = self._prepared.pop(config, None)
        if isinstance(found, PlanError):
            raise found
        return found or self._adapted(compiled(config))
