"""Taking pipelines out of routers: no more records in, time for those inside to leave, then deleted."""

from __future__ import annotations

from collections.abc import Sequence

from controllers.objects.specs import number, spec_of
from controllers.pipeline.graph import OWNER_UID
from controllers.pipeline.sync import foreign
from etl_operator.router.client import RouterClients, RouterNode
from etl_operator.router.cluster import RouterCluster
from informers.clock import Clock
from informers.objects import Object, ObjectKey

_Stay = tuple[ObjectKey, str]
_DEFAULT_DRAIN, _LONGEST_DRAIN = 30, 86_400


def drain_seconds(obj: Object) -> float:
    """``spec.drainTimeoutSeconds``; the default where it is not valid."""
    return float(number(spec_of(obj), "drainTimeoutSeconds", _DEFAULT_DRAIN, _LONGEST_DRAIN))


class Departures:
    """Pipelines on their way out of their clusters.

    The time they have begins when a router is first found to hold them, on this process's own clock.
    """

    def __init__(self, clients: RouterClients, clock: Clock) -> None:
        self._clients = clients
        self._clock = clock
        self._since: dict[_Stay, float] = {}
        self._drained: set[_Stay] = set()
        self._taken: set[_Stay] = set()
        """Pipelines that were disabled or deleted here, and have not come back since."""

    async def remove(
        self, cluster: ObjectKey, addresses: Sequence[str], pipeline: str, drain: float, *, owner: str = ""
    ) -> int | None:
        """Disable, drain, delete. Returns how many records still have to leave, zero when deleted, ``None``
        when there was nothing to delete.

        A pipeline of another owner is left alone.

        :param drain: seconds records have to leave.
        :param owner: only while the pipeline is marked as that owner's; any of this operator's by default.
        :raises RouterError: when the router does not do it.
        """
        stay = cluster, pipeline

        async def work(node: RouterNode) -> int | None:
            return await self._remove(node, stay, drain, owner)

        return await RouterCluster(self._clients, addresses).on_leader(work)

    def drained(self, cluster: ObjectKey, pipeline: str) -> bool:
        """Whether records were waited for, and all have left before their time was up. Answers once."""
        stay = cluster, pipeline
        found = stay in self._drained
        self._drained.discard(stay)
        return found

    def stays(self, cluster: ObjectKey, pipeline: str) -> None:
        """It does not leave the cluster, or has left it: the next time it has all its time again."""
        self._since.pop((cluster, pipeline), None)
        self._drained.discard((cluster, pipeline))

    def took(self, cluster: ObjectKey, pipeline: str) -> bool:
        """Whether it was disabled or deleted here, in order to leave, and has not come back since."""
        return (cluster, pipeline) in self._taken

    def came_back(self, cluster: ObjectKey, pipeline: str) -> None:
        """The cluster holds the pipeline as it is to."""
        self._taken.discard((cluster, pipeline))

    def forget(self, pipeline: str) -> None:
        """The pipeline's object is gone."""
        self._since = {stay: since for stay, since in self._since.items() if stay[1] != pipeline}
        self._drained = {stay for stay in self._drained if stay[1] != pipeline}
        self._taken = {stay for stay in self._taken if stay[1] != pipeline}

    async def _remove(self, node: RouterNode, stay: _Stay, drain: float, owner: str) -> int | None:
        name = stay[1]
        found = await node.get_pipeline(name)
        if found is None or foreign(found.config) or (owner and found.config.metadata[OWNER_UID] != owner):
            self._since.pop(stay, None)
            return None
        now = self._clock.monotonic()
        # The entry is made by the first answer: an outage takes no time from the records.
        waited = now - self._since.setdefault(stay, now)
        late = waited >= drain
        # Also where the answer gets lost.
        self._taken.add(stay)
        if found.status.enabled or not late:
            pending = await node.disable_pipeline(name, drain > 0)
            if pending and not late:
                self._drained.add(stay)
                return pending
        await node.delete_pipeline(name, force=late)
        self._since.pop(stay, None)
        if late:
            self._drained.discard(stay)
        return 0
