"""Cluster names from caches: what :mod:`~etl_operator.sandbox.resolving` decides, on what is known now.

The endpoints of a Service with a selector are computed from its pods, as the endpoints loop does, and not
read from EndpointSlices: those come a moment later, and a real API server takes none with loopback
addresses, which are all that pods have here. EndpointSlices count for Services without a selector.
"""

from __future__ import annotations

from collections.abc import Iterable

from etl_operator.sandbox.loops import pods as p
from etl_operator.sandbox.loops.endpoints import endpoint_slice
from etl_operator.sandbox.resolving import SERVICE_LABEL, ClusterNames
from informers.cache.informer import Informer
from informers.objects import Object, ObjectKey
from informers.views.view import View

SLICE_INDEX = "service"
"""The index that the informer of EndpointSlices needs: :func:`slices_by_service`."""


def slices_by_service(view: View) -> Iterable[str]:
    """The key of the Service an EndpointSlice belongs to, as text."""
    if name := view.labels.get(SERVICE_LABEL):
        yield str(ObjectKey(view.key.namespace, name))


class CachedNames:
    """The names of a cluster.

    :param slices: with the index :data:`SLICE_INDEX`.
    :param domain: the cluster domain.
    """

    def __init__(self, services: Informer, pods: Informer, slices: Informer, domain: str) -> None:
        self._services = services
        self._pods = pods
        self._slices = slices
        self.names = ClusterNames(self.service, self._slices_of, domain)

    def service(self, key: ObjectKey) -> Object | None:
        """A Service."""
        view = self._services.get(key)
        return view.object() if view is not None else None

    def _slices_of(self, key: ObjectKey) -> list[Object]:
        service = self.service(key)
        selector = service["spec"].get("selector") if service is not None else None
        if service is None or not selector:
            return [view.object() for view in self._slices.by_index(SLICE_INDEX, str(key))]
        wanted = {"matchLabels": selector}
        chosen = [one for one in self._pods.list(key.namespace) if p.matches(wanted, one.labels)]
        made = endpoint_slice(service, [one.object() for one in chosen])
        return [made] if made is not None else []
