"""The Service ``default/kubernetes`` and its endpoints: the API server as clients inside the cluster find it.

Like a real API server this one makes them when it starts and looks after them every ten seconds: a Service
that is gone comes back, endpoints that are wrong are put right, the rest of the Service is left alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from informers.apiserver.builtin import ADDRESSES
from informers.apiserver.core import ApiServer
from informers.apiserver.errors import StatusError
from informers.objects import Object, ObjectKey, Resource

log = logging.getLogger(__name__)

_EVERY = 10.0
"""Seconds, as in a real server."""
_PORT = 443
_KEY = ObjectKey("default", "kubernetes")
_SERVICE = Resource("", "v1", "services", "Service")
_ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints")
_SLICE = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")


async def maintain(core: ApiServer, address: str, port: int) -> None:
    """Keep the Service and its endpoints right until cancelled.

    :param address: where the server listens.
    """
    while True:
        await asyncio.sleep(_EVERY)
        reconcile(core, address, port)


def reconcile(core: ApiServer, address: str, port: int) -> None:
    """Make what is missing, and put endpoints right that lead elsewhere.

    A refusal, for instance because another Service has the address, is logged.
    """
    try:
        _reconcile(core, address, port)
    except StatusError as error:
        log.warning("cannot update the Service default/kubernetes: %s", error)


def _reconcile(core: ApiServer, address: str, port: int) -> None:
    if core.find(_SERVICE, _KEY) is None:
        core.create(_service(port))
    _put(core, _ENDPOINTS, _endpoints(address, port), ("subsets",))
    _put(core, _SLICE, _slice(address, port), ("endpoints", "ports"))


def _put(core: ApiServer, resource: Resource, wanted: Object, parts: Sequence[str]) -> None:
    live = core.find(resource, _KEY)
    if live is None:
        core.create(wanted)
        return
    labels = {**(live["metadata"].get("labels") or {}), **wanted["metadata"]["labels"]}
    metadata = {**live["metadata"], "labels": labels}
    changed = {**live, **{part: wanted[part] for part in parts}, "metadata": metadata}
    if changed != live:
        core.edit(resource, _KEY, lambda _: changed, manager="kube-apiserver")


def _metadata(**labels: str) -> Object:
    return {"name": _KEY.name, "namespace": _KEY.namespace, "labels": labels}


def _service(port: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(component="apiserver", provider="kubernetes"),
        "spec": {
            "type": "ClusterIP",
            # The first address of the network; no other Service is given it.
            "clusterIP": str(ADDRESSES[1]),
            "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None",
            "ports": [{"name": "https", "port": _PORT, "protocol": "TCP", "targetPort": port}],
        },
    }


def _endpoints(address: str, port: int) -> Object:
    subset = {
        "addresses": [{"ip": address}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
    labels = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": _metadata(**labels), "subsets": [subset]}


def _slice(address: str, port: int) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": _metadata(**{"kubernetes.io/service-name": _KEY.name}),
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
