"""What is known of the health of the endpoints that are probed. A single failure says little."""

from __future__ import annotations

from dataclasses import dataclass

from controllers.service.registration import Target
from controllers.status import reasons as r
from etl_operator.router.registry import Health
from informers.objects import Object, ObjectKey, Resource

STRIKES = 3
"""Failures in a row after which a healthy endpoint counts as unhealthy, as in a probe of a container. One
success is enough the other way; and so is one failure of an endpoint that was never healthy."""


@dataclass(slots=True)
class _Known:
    """What the probes of one endpoint have shown."""

    target: Target
    verdict: Health | None = None
    other: Health | None = None
    """The last outcome, where it differs from the verdict."""
    strikes: int = 0
    """How often in a row it differed."""

    def heard(self, health: Health) -> bool:
        """Note an outcome. True if it changes the verdict."""
        now = self.verdict
        if health == now:
            self.other, self.strikes = None, 0
            return False
        turns = now is None or health.healthy is not now.healthy
        # Failures count whatever their text; another text for the same verdict has to be repeated.
        repeated = self.other is not None and (turns or health == self.other)
        self.strikes = self.strikes + 1 if repeated else 1
        self.other = health
        if now is None or (turns and health.healthy) or self.strikes >= STRIKES:
            self.verdict, self.other, self.strikes = health, None, 0
            return True
        return False


class EndpointHealth:
    """The verdicts about all services. Shared by who probes and who writes the status."""

    def __init__(self) -> None:
        self._known: dict[tuple[Resource, ObjectKey], _Known] = {}

    def heard(self, resource: Resource, obj: Object, target: Target, health: Health) -> bool:
        """Note the outcome of one probe. True if it changes the verdict."""
        return self._of(resource, obj, target).heard(health)

    def verdict(self, resource: Resource, obj: Object, target: Target) -> Health | None:
        """The verdict about an endpoint, ``None`` before the first probe."""
        return self._of(resource, obj, target).verdict

    def forget(self, resource: Resource, key: ObjectKey) -> None:
        """The object is gone, or is not probed."""
        self._known.pop((resource, key), None)

    def _of(self, resource: Resource, obj: Object, target: Target) -> _Known:
        at = resource, ObjectKey.of(obj)
        known = self._known.get(at)
        if known is None:
            # A process before this one has probed: its verdict stands until there is another.
            known = self._known[at] = _Known(target, _stored(obj))
        elif known.target != target:
            known = self._known[at] = _Known(target)
        return known


def _stored(obj: Object) -> Health | None:
    """The verdict in the status, if it is about this very spec."""
    status, generation = obj.get("status") or {}, obj["metadata"].get("generation")
    for condition in status.get("conditions") or ():
        if condition["type"] == r.ENDPOINT_HEALTHY and condition.get("observedGeneration") == generation:
            return Health(condition["status"] == "True", condition["message"])
    return None
