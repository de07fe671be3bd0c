"""Gives a data plane the pipelines and services of this node, whenever they change."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from etl_operator.node.control.registry import Registry
from etl_operator.node.control.state import RouterState
from etl_operator.node.data import view

_INTERVAL = 1.0
"""Seconds after which leases are looked at that may have run out."""
PAUSE = 20e-6
"""Seconds for each pipeline and service of a snapshot, until changes make the next one. A snapshot has all of
them: with one for each change, a thousand objects that come one after the other would cost a million."""


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
        self._look_again = 0.0
        self._dirty = asyncio.Event()
        pipelines.on_change = self._dirty.set
        registry.on_change = self._dirty.set

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.refresh()
            if self._last is not None:
                await asyncio.sleep(PAUSE * (len(self._last.pipelines) + len(self._last.services)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL):
                    await self._dirty.wait()

    def wake(self) -> None:
        """Look again soon."""
        self._dirty.set()

    def refresh(self) -> None:
        """Hand on what is new, now."""
        changed = self._dirty.is_set()
        self._dirty.clear()
        applied, last = self._applied(), self._last
        if applied is None:
            return
        if last is None or changed or time.monotonic() >= self._look_again:
            self._look_again = time.monotonic() + _INTERVAL
            pipelines, services = self._current_pipelines(), self._current_services()
            if last is not None:
                # The same object says that nothing in it changed.
                pipelines = last.pipelines if pipelines == last.pipelines else pipelines
                services = last.services if services == last.services else services
        else:
            pipelines, services = last.pipelines, last.services
        snapshot = view.Snapshot(applied, pipelines, services)
        if snapshot != last:
            self._last = snapshot
            self._take(snapshot)

    def _current_pipelines(self) -> list[view.Pipeline]:
        return [
            view.Pipeline(p.pipeline_id, p.config, p.enabled, p.drain, p.created_at) for p in self._pipelines
        ]

    def _current_services(self) -> list[view.Service]:
        return [
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
        ]
