"""Gives a data plane the pipelines and services of this node, whenever they change."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from etl_operator.node.control.registry import Registry
from etl_operator.node.control.state import RouterState
from etl_operator.node.data import view

_INTERVAL = 1.0
"""Seconds after which leases are looked at that may have run out."""


class Feed:
    """Makes snapshots.

    :param applied: number of the last log entry in the state; None while the node has not caught up with its
        cluster: it may know pipelines that were disabled or deleted since it ended.
    :param take: gets every snapshot that differs from the one before.
    """

    def __init__(
        self,
        pipelines: RouterState,
        registry: Registry,
        applied: Callable[[], int | None],
        take: Callable[[view.Snapshot], None],
    ) -> None:
        self._pipelines = pipelines
        self._registry = registry
        self._applied = applied
        self._take = take
        self._last: view.Snapshot | None = None
        self._dirty = asyncio.Event()
        pipelines.on_change = self._dirty.set
        registry.on_change = self._dirty.set

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.refresh()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL):
                    await self._dirty.wait()

    def wake(self) -> None:
        """Look again soon."""
        self._dirty.set()

    def refresh(self) -> None:
        """Hand on what is new, now."""
        self._dirty.clear()
        applied = self._applied()
        if applied is None:
            return
        snapshot = view.Snapshot(
            applied,
            [view.Pipeline(p.pipeline_id, p.config, p.enabled, p.drain) for p in self._pipelines],
            [
                view.Service(
                    service.service_id,
                    service.service_type,
                    service.name,
                    service.host,
                    service.port,
                    service.group_id,
                    dict(service.labels),
                    service.use_tls,
                    service.weight,
                    service.most_calls,
                    service.healthy,
                    self._registry.lives(service),
                )
                for service in self._registry
            ],
        )
        if snapshot != self._last:
            self._last = snapshot
            self._take(snapshot)
