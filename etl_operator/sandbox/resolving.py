"""Cluster DNS names to addresses, from Services and EndpointSlices. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from informers.objects import Object, ObjectKey

SERVICE_LABEL = "kubernetes.io/service-name"
"""The label by which an EndpointSlice names its Service."""

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"


class Target(NamedTuple):
    """Where to connect."""

    address: str
    port: int


class Unresolvable(Exception):
    """The name is a cluster name, and there is nothing behind it; the text says why."""


class ClusterNames:
    """Resolves ``pod.service.namespace.svc`` and ``service.namespace.svc``, with or without the domain.

    :param services: a Service by key, or ``None``.
    :param slices: the EndpointSlices of a Service, by the Service's key.
    :param domain: the cluster domain.
    """

    def __init__(
        self,
        services: Callable[[ObjectKey], Object | None],
        slices: Callable[[ObjectKey], Iterable[Object]],
        domain: str = "cluster.local",
    ) -> None:
        self._services = services
        self._slices = slices
        self._pattern = re.compile(
            rf"(?:({_LABEL})\.)?({_LABEL})\.({_LABEL})\.svc(?:\.{re.escape(domain)})?\.?", re.IGNORECASE
        )

    def knows(self, host: str) -> bool:
        """Whether the name has the form of a cluster name."""
        return self._pattern.fullmatch(host) is not None

    def exists(self, host: str) -> bool:
        """Whether it is a cluster name of a Service that there is."""
        match = self._pattern.fullmatch(host.lower())
        return match is not None and self._services(ObjectKey(match[3], match[2])) is not None

    def resolve(self, host: str, port: int) -> list[Target]:
        """Everything behind the name, in a fixed order; never empty.

        A pod's name and a headless Service's lead to the very port asked for; a Service with an address of
        its own maps its ports to those of the pods.

        :raises Unresolvable: when there is nothing, saying what is missing.
        """
        match = self._pattern.fullmatch(host.lower())
        if match is None:
            raise Unresolvable(f"{host} is not a DNS name of the cluster")
        pod, name, namespace = match.groups()
        key = ObjectKey(namespace, name)
        service = self._services(key)
        if service is None:
            raise Unresolvable(f"Service {key} not found")
        slices = list(self._slices(key))
        if pod is not None:
            return self._of_pod(pod, key, slices, port)
        if service["spec"].get("clusterIP") == "None":
            return self._ready(key, [(entry, port) for entry in _endpoints(slices)])
        return self._ready(key, list(_mapped(service, slices, port, key)))

    @staticmethod
    def _of_pod(pod: str, key: ObjectKey, slices: Iterable[Object], port: int) -> list[Target]:
        found = [entry for entry in _endpoints(slices) if entry.get("hostname") == pod]
        ready = [entry for entry in found if _is_ready(entry)]
        if not found:
            raise Unresolvable(f"Service {key} has no pod {pod}")
        if not ready:
            raise Unresolvable(f"pod {pod} of Service {key} is not ready")
        return [Target(entry["addresses"][0], port) for entry in ready]

    @staticmethod
    def _ready(key: ObjectKey, entries: list[tuple[Mapping[str, Any], int]]) -> list[Target]:
        targets = [Target(entry["addresses"][0], port) for entry, port in entries if _is_ready(entry)]
        if not targets:
            raise Unresolvable(f"Service {key} has no ready endpoint")
        return targets


def _endpoints(slices: Iterable[Object]) -> list[Mapping[str, Any]]:
    return [entry for one in slices for entry in one.get("endpoints") or ()]


def _is_ready(entry: Mapping[str, Any]) -> bool:
    return bool((entry.get("conditions") or {}).get("ready", True))


def _mapped(
    service: Object, slices: Iterable[Object], port: int, key: ObjectKey
) -> Iterable[tuple[Mapping[str, Any], int]]:
    names = [entry.get("name", "") for entry in service["spec"].get("ports") or () if entry["port"] == port]
    if not names:
        raise Unresolvable(f"Service {key} has no port {port}")
    for one in slices:
        for entry in one.get("ports") or ():
            if (entry.get("name") or "") == names[0] and entry.get("port"):
                for endpoint in one.get("endpoints") or ():
                    yield endpoint, int(entry["port"])
