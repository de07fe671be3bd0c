"""EndpointSlices of Services. Pure, and the loop's one step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from etl_operator.sandbox.loops import pods as p
from etl_operator.sandbox.loops.kinds import ENDPOINT_SLICE, SERVICE
from etl_operator.sandbox.loops.owners import owner_reference
from etl_operator.sandbox.resolving import SERVICE_LABEL
from informers.objects import Object

MANAGER_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"


def endpoint_slice(service: Object, pods: Iterable[Object]) -> Object | None:
    """The EndpointSlice of a Service, or ``None`` for one that selects nothing.

    One slice holds all endpoints: a port that different pods call by different numbers gets the number of
    the first pod that has it.

    :param pods: those of its namespace.
    """
    selector = service["spec"].get("selector")
    if not selector or service["spec"].get("type") == "ExternalName":
        return None
    chosen = sorted(
        (pod for pod in pods if _belongs(pod, selector)), key=lambda pod: str(pod["metadata"]["name"])
    )
    meta = service["metadata"]
    labels = {**(meta.get("labels") or {}), SERVICE_LABEL: meta["name"], MANAGER_LABEL: MANAGER}
    if service["spec"].get("clusterIP") == "None":
        labels["service.kubernetes.io/headless"] = ""
    return {
        "apiVersion": ENDPOINT_SLICE.api_version,
        "kind": ENDPOINT_SLICE.kind,
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": labels,
            "ownerReferences": [owner_reference(service, SERVICE)],
        },
        "addressType": "IPv4",
        "endpoints": [_endpoint(service, pod) for pod in chosen],
        "ports": [_port(port, chosen) for port in service["spec"].get("ports") or ()],
    }


def _belongs(pod: Object, selector: Mapping[str, str]) -> bool:
    labels = pod["metadata"].get("labels") or {}
    has_address = bool(p.status_of(pod).get("podIP"))
    return has_address and not p.is_finished(pod) and p.matches({"matchLabels": selector}, labels)


def _endpoint(service: Object, pod: Object) -> dict[str, Any]:
    terminating = p.is_terminating(pod)
    serving = p.is_ready(pod)
    anyway = bool(service["spec"].get("publishNotReadyAddresses"))
    meta, spec = pod["metadata"], pod["spec"]
    endpoint: dict[str, Any] = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": anyway or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": {
            "kind": "Pod",
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        },
    }
    if spec.get("nodeName"):
        endpoint["nodeName"] = spec["nodeName"]
    if spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]:
        endpoint["hostname"] = spec["hostname"]
    return endpoint


def _port(port: Mapping[str, Any], pods: Iterable[Object]) -> dict[str, Any]:
    target = port.get("targetPort", port["port"])
    numbers = (target if isinstance(target, int) else named_port(pod, target) for pod in pods)
    number = next((number for number in numbers if number), None)
    entry: dict[str, Any] = {"name": port.get("name", ""), "protocol": port.get("protocol", "TCP")}
    if number is None and isinstance(target, int):
        number = target
    if number is not None:
        entry["port"] = number
    if port.get("appProtocol"):
        entry["appProtocol"] = port["appProtocol"]
    return entry


def named_port(pod: Object, name: str) -> int | None:
    """The container port a pod gives this name, or ``None``."""
    for container in pod["spec"].get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") == name:
                return int(port["containerPort"])
    return None
