"""An APIService for every group version served here, as the aggregation layer of a real server keeps them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from etl_operator.sandbox.http.documents.discovery import REVIEWS
from informers.apiserver.core import ApiServer
from informers.apiserver.errors import StatusError
from informers.objects import Object, ObjectKey, Resource

APISERVICE = Resource("apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False)

_MANAGED = "kube-aggregator.kubernetes.io/automanaged"
_BUILT_IN, _CUSTOM = "onstart", "true"
# Group and version priority, as a real server registers them; custom groups come after all of these.
_PRIORITIES: Mapping[str, int] = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "resource.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
    "storagemigration.k8s.io": 15800,
}
_CUSTOM_PRIORITY = 1000
_VERSION_PRIORITIES: Mapping[tuple[str, str], int] = {
    ("", "v1"): 1,
    ("autoscaling", "v2"): 30,
    ("flowcontrol.apiserver.k8s.io", "v1"): 21,
    ("resource.k8s.io", "v1"): 21,
}
_VERSION_PRIORITY, _CUSTOM_VERSION_PRIORITY = 15, 100


class LocalServices:
    """Keeps the APIServices of what this server serves itself.

    :param core: is written to; what it serves is followed.
    """

    def __init__(self, core: ApiServer) -> None:
        self._core = core
        self._due: asyncio.Handle | None = None

    def start(self) -> None:
        """Write what is missing now, and follow the definitions."""
        self._agree()
        self._core.registry.followers.append(self._follow)

    def _follow(self) -> None:
        # A follower must not write: it is called in the middle of a change.
        if self._due is None:
            self._due = asyncio.get_running_loop().call_soon(self._agree)

    def _agree(self) -> None:
        self._due = None
        wanted: dict[str, Object] = {}
        for group, version, custom in self._served():
            wanted[f"{version}.{group}"] = _service(group, version, custom=custom)
        for found in list(self._core.all(APISERVICE)):
            name, labels = found["metadata"]["name"], found["metadata"].get("labels") or {}
            if name not in wanted and _MANAGED in labels:
                self._core.delete(APISERVICE, ObjectKey("", name))
            wanted.pop(name, None)
        for service in wanted.values():
            self._register(service)

    def _served(self) -> set[tuple[str, str, bool]]:
        types = {
            (one.resource.group, one.resource.version, one.custom) for one in self._core.registry.types()
        }
        types |= {(one.resource.group, one.resource.version, False) for one in REVIEWS}
        # The group of APIServices themselves has none.
        return {one for one in types if one[0] != APISERVICE.group}

    def _register(self, service: Object) -> None:
        # A full disk refuses the write; what is served works without it.
        with contextlib.suppress(StatusError):
            self._core.create(service)
            key = ObjectKey("", service["metadata"]["name"])
            available = {
                "type": "Available",
                "status": "True",
                "reason": "Local",
                "message": "Local APIServices are always available",
                "lastTransitionTime": self._core.now(),
            }
            self._core.edit(
                APISERVICE,
                key,
                lambda live: {**live, "status": {"conditions": [available]}},
                subresource="status",
                manager="kube-apiserver",
            )


def _service(group: str, version: str, *, custom: bool) -> Object:
    version_priority = _VERSION_PRIORITIES.get((group, version), _VERSION_PRIORITY)
    spec = {
        "version": version,
        "groupPriorityMinimum": _CUSTOM_PRIORITY if custom else _PRIORITIES.get(group, _CUSTOM_PRIORITY),
        "versionPriority": _CUSTOM_VERSION_PRIORITY if custom else version_priority,
    }
    return {
        "apiVersion": APISERVICE.api_version,
        "kind": APISERVICE.kind,
        "metadata": {
            "name": f"{version}.{group}",
            "labels": {_MANAGED: _CUSTOM if custom else _BUILT_IN},
        },
        "spec": {**spec, "group": group} if group else spec,
    }
