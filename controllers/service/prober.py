"""Probes the endpoints of services, apart from everything else: an endpoint that is down takes seconds."""

from __future__ import annotations

import random
from collections.abc import Callable

from controllers.objects.specs import spec_of
from controllers.references.services import SERVICES
from controllers.service.health import EndpointHealth
from controllers.service.probe import probe
from controllers.service.registration import probe_settings, probe_target
from controllers.wiring.context import Context
from informers.objects import ObjectKey, Resource, Result

JITTER = 0.1
"""Part of the interval by which probes are earlier or later, so that those that began together part."""


class ProbeReconciler:
    """Probes the source, transform and sink of one key, as far as their specs ask for it.

    :param health: what the probes have shown is kept there.
    :param turned: called when the verdict about an endpoint has changed.
    """

    def __init__(
        self, context: Context, health: EndpointHealth, turned: Callable[[Resource, ObjectKey], None]
    ) -> None:
        self._context = context
        self._health = health
        self._turned = turned
        # Jitter needs no secrecy.
        self._rng = random.Random()  # noqa: S311

    async def reconcile(self, key: ObjectKey) -> Result:
        """Probe once. The next probe comes after the interval, and at once when the spec changes."""
        waits = [wait for resource in SERVICES if (wait := await self._probe(resource, key)) is not None]
        return Result.after(min(waits)) if waits else Result.done()

    async def _probe(self, resource: Resource, key: ObjectKey) -> float | None:
        view = self._context.informers[resource].get(key)
        obj = None if view is None else view.object()
        enabled, interval = (False, 0.0) if obj is None else probe_settings(spec_of(obj))
        target = probe_target(obj, self._context.settings.cluster_domain) if obj and enabled else None
        if obj is None or target is None:
            self._forget(resource, key)
            return None
        health = await probe(target.hosts, target.port, target.use_tls)
        now = self._context.informers[resource].get(key)
        if now is None or now.uid != obj["metadata"]["uid"]:
            # Whoever has the name now brings this key back.
            self._forget(resource, key)
            return None
        if self._health.heard(resource, obj, target, health):
            self._turned(resource, key)
        verdict = self._health.verdict(resource, obj, target)
        self._context.metrics.endpoint(resource.kind, key, verdict is not None and verdict.healthy)
        return interval * self._rng.uniform(1 - JITTER, 1 + JITTER)

    def _forget(self, resource: Resource, key: ObjectKey) -> None:
        self._health.forget(resource, key)
        self._context.metrics.forget_endpoint(resource.kind, key)
