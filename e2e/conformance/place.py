"""A namespace of one test, on a server without nodes: tests write the status of pods, as a kubelet would."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from informers.client import Client
from informers.errors import NotFound
from informers.objects import Object, ObjectKey, Resource

T = TypeVar("T")
NAMESPACE = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODE = Resource("", "v1", "nodes", "Node", namespaced=False)
MAP = Resource("", "v1", "configmaps", "ConfigMap")
POD = Resource("", "v1", "pods", "Pod")
ACCOUNT = Resource("", "v1", "serviceaccounts", "ServiceAccount")
SERVICE = Resource("", "v1", "services", "Service")
CLAIM = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SET = Resource("apps", "v1", "statefulsets", "StatefulSet")
REVISION = Resource("apps", "v1", "controllerrevisions", "ControllerRevision")
BUDGET = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
SLICE = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
WITHIN = 60.0
SINCE = "2026-01-01T00:00:00Z"


async def becomes(check: Callable[[], Awaitable[T]], what: str) -> T:
    """Wait until a check gives something true."""
    try:
        async with asyncio.timeout(WITHIN):
            while not (found := await check()):  # noqa: ASYNC110 (a server has no event)
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {WITHIN:.0f} s: {what}") from None
    return found


class Place:
    """A namespace of one test."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name

    def key(self, name: str) -> ObjectKey:
        return ObjectKey(self.name, name)

    async def create(self, resource: Resource, name: str, **parts: Any) -> Object:
        metadata = {"name": name, "namespace": self.name, **parts.pop("metadata", {})}
        kind = {"apiVersion": resource.api_version, "kind": resource.kind}
        return await self.client.create(resource, {**kind, "metadata": metadata, **parts})

    async def get(self, resource: Resource, name: str) -> Object | None:
        try:
            return await self.client.get(resource, self.key(name))
        except NotFound:
            return None

    async def all(self, resource: Resource, labels: str = "") -> list[Object]:
        page = await self.client.list(resource, namespace=self.name, label_selector=labels)
        return sorted(page.items, key=lambda one: str(one["metadata"]["name"]))

    async def names(self, resource: Resource, labels: str = "") -> list[str]:
        return [one["metadata"]["name"] for one in await self.all(resource, labels)]

    async def gone(self, resource: Resource, name: str) -> None:
        async def check() -> bool:
            return await self.get(resource, name) is None

        await becomes(check, f"{resource.kind} {name} goes away")

    async def pods_are(self, *names: str) -> list[Object]:
        """Wait until there are just these pods, and none on its way out."""

        async def check() -> bool:
            return [one["metadata"]["name"] for one in await self.all(POD)] == list(names)

        await becomes(check, f"the pods are {', '.join(names) or 'none'}")
        return await self.all(POD)

    async def bind(self, name: str, node: str) -> None:
        """Put a pod on a node, as a scheduler would."""
        binding = {"metadata": {"name": name}, "target": {"kind": "Node", "name": node}}
        await self.client.raw("POST", f"{POD.path(self.name, name)}/binding", body=binding)

    async def run(self, name: str, *, ready: bool = True, address: str = "") -> None:
        """Say of a pod what a kubelet would."""
        status = {
            "phase": "Running",
            "conditions": [
                {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}
            ],
        }
        if address:
            status |= {"podIP": address, "podIPs": [{"ip": address}]}
        await self.client.patch(POD, self.key(name), {"status": status}, subresource="status")
