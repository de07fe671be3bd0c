"""Whether everything around an object is on its way out: then nothing is worth waiting for any more."""

from __future__ import annotations

from dataclasses import dataclass

from controllers.objects.kinds import DEFINITION, NAMESPACE
from etl_operator.api import CLUSTER
from informers.client import Client
from informers.clock import Clock
from informers.errors import Forbidden, NotFound
from informers.objects import ObjectKey, Resource

_AGE = 1.0
"""Seconds an answer about a definition or a namespace is shared: thousands of objects go together with it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What goes together with the object."""

    why: str
    """For people: what is being deleted."""
    with_cluster: bool
    """Its cluster goes as well, with all it holds; one that stays would go on with what nobody could delete
    any more."""


class Endings:
    """Asks the API server when an object goes, which is rare: watches would need rights on all namespaces and
    definitions. Where even this one may not be read the deletion takes its usual course."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._definitions: dict[Resource, tuple[float, bool]] = {}
        self._ended: dict[str, float] = {}
        """Namespaces that are being deleted, and when that was seen."""

    async def of(self, resource: Resource, key: ObjectKey, cluster: ObjectKey) -> Ending | None:
        """What ends around an object, or ``None``.

        :param cluster: the object's.
        """
        # First, as there may be little time: the operator's rights are often deleted next.
        if await self.definition_goes(resource):
            why = f"the CRD of {resource.kind} is being deleted"
            return Ending(why, await self.definition_goes(CLUSTER))
        if await self._namespace_goes(key.namespace):
            return Ending(f"namespace {key.namespace} is being deleted", cluster.namespace == key.namespace)
        return None

    async def _namespace_goes(self, name: str) -> bool:
        now = self._clock.monotonic()
        self._ended = {one: seen for one, seen in self._ended.items() if now - seen < _AGE}
        if name not in self._ended:
            if not await self._goes(NAMESPACE, name):
                return False
            self._ended[name] = now
        return True

    async def definition_goes(self, resource: Resource) -> bool:
        """Whether the kind itself is being deleted, and all objects of it."""
        now = self._clock.monotonic()
        asked, goes = self._definitions.get(resource, (0.0, False))
        if resource not in self._definitions or now - asked >= _AGE:
            goes = await self._goes(DEFINITION, f"{resource.plural}.{resource.group}")
            self._definitions[resource] = now, goes
        return goes

    async def _goes(self, resource: Resource, name: str) -> bool:
        try:
            found = await self._client.get(resource, ObjectKey("", name))
        except (Forbidden, NotFound):
            return False
        return "deletionTimestamp" in found["metadata"]
