"""The Node object and its lease: how the cluster knows that the node is there and well."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
from datetime import UTC, datetime
from typing import Any

from etl_operator.sandbox.kubelet.place import NODE_ADDRESS
from etl_operator.sandbox.loops.kinds import LEASE, NODE
from informers.client import Client
from informers.clock import Clock, timestamp
from informers.errors import AlreadyExists, NotFound, RuntimeFault
from informers.objects import Object, ObjectKey

log = logging.getLogger(__name__)

_LEASE_NAMESPACE = "kube-node-lease"
_LEASE_SECONDS = 40
_RENEW_EVERY = 10.0
_REPORT_EVERY = 300.0
"""Seconds between two node statuses in which nothing has changed, as the kubelet's."""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_VERSION = "v1.37.0-etl-operator-sandbox"


class Registration:
    """Registers the node and keeps its lease fresh.

    :param name: the node's name.
    """

    def __init__(self, client: Client, name: str, clock: Clock) -> None:
        self._client = client
        self._name = name
        self._clock = clock
        self._since = timestamp(clock.time())

    async def register(self) -> None:
        """Create the Node, or take over the one an earlier sandbox has left.

        :raises informers.errors.RuntimeFault: when the server does not take it.
        """
        try:
            await self._client.create(NODE, self._node())
        except AlreadyExists:
            log.debug("node %s is registered already", self._name)
        await self._report()

    async def run(self) -> None:
        """Renew until cancelled. A renewal that fails is only tried again: the node works on."""
        reported = self._clock.monotonic()
        while True:
            try:
                await self._renew()
                if self._clock.monotonic() - reported >= _REPORT_EVERY:
                    await self._report()
                    reported = self._clock.monotonic()
            except RuntimeFault as error:
                log.warning("cannot renew the lease of the node, trying again: %s", error)
            await asyncio.sleep(_RENEW_EVERY)

    async def _report(self) -> None:
        await self._client.patch(
            NODE, ObjectKey("", self._name), {"status": self._status()}, subresource="status"
        )

    async def _renew(self) -> None:
        now = datetime.fromtimestamp(self._clock.time(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": self._name, "leaseDurationSeconds": _LEASE_SECONDS, "renewTime": now}
        key = ObjectKey(_LEASE_NAMESPACE, self._name)
        try:
            await self._client.patch(LEASE, key, {"spec": spec})
        except NotFound:
            meta = {"name": self._name, "namespace": _LEASE_NAMESPACE}
            body = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": meta, "spec": spec}
            await self._client.create(LEASE, body)

    def _node(self) -> Object:
        machine = _ARCHITECTURES.get(platform.machine(), platform.machine())
        labels = {
            "kubernetes.io/hostname": self._name,
            "kubernetes.io/os": platform.system().lower(),
            "kubernetes.io/arch": machine,
        }
        meta = {"name": self._name, "labels": labels}
        return {"apiVersion": NODE.api_version, "kind": NODE.kind, "metadata": meta, "spec": {}}

    def _status(self) -> dict[str, Any]:
        resources = {"cpu": str(os.cpu_count() or 1), "memory": f"{_memory_kib()}Ki", "pods": "1000"}
        return {
            "capacity": resources,
            "allocatable": resources,
            "addresses": [
                {"type": "InternalIP", "address": NODE_ADDRESS},
                {"type": "Hostname", "address": self._name},
            ],
            "conditions": [self._condition(*entry) for entry in _CONDITIONS],
            "nodeInfo": {
                "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
                "bootID": "",
                "containerRuntimeVersion": "processes://1",
                "kernelVersion": platform.release(),
                "kubeProxyVersion": "",
                "kubeletVersion": _VERSION,
                "machineID": "",
                "operatingSystem": platform.system().lower(),
                "osImage": platform.platform(terse=True),
                "systemUUID": "",
            },
        }

    def _condition(self, kind: str, status: str, reason: str, message: str) -> dict[str, str]:
        return {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": timestamp(self._clock.time()),
            "lastTransitionTime": self._since,
        }


_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "the process node is running"),
)


def _memory_kib() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024
    except (ValueError, OSError):
        return 1024 * 1024
