"""What ``kubectl get`` shows of the built-in kinds: the columns, and how a row's cells are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from etl_operator.sandbox.apiserver.duration import age
from informers.objects import Object

_NONE = "<none>"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``wide`` ones are shown with ``-o wide`` only."""

    name: str
    cell: Callable[[Object, float], Any]
    type: str = "string"
    wide: bool = False
    format: str = field(default="")

    def definition(self) -> dict[str, Any]:
        """The ``TableColumnDefinition`` shape."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": "",
            "priority": 1 if self.wide else 0,
        }


def at(*path: str, default: Any = _NONE) -> Callable[[Object, float], Any]:
    """A cell that is the value at a path of fields."""

    def cell(obj: Object, _: float) -> Any:
        value: Any = obj
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return default if value is None or value == "" else value

    return cell


def _meta(obj: Object) -> Mapping[str, Any]:
    metadata: Mapping[str, Any] = obj["metadata"]
    return metadata


NAME = Column("Name", lambda obj, _: _meta(obj)["name"], format="name")
AGE = Column("Age", lambda obj, now: age(_meta(obj).get("creationTimestamp"), now))


def _text(name: str, *path: str, default: Any = _NONE, wide: bool = False) -> Column:
    return Column(name, at(*path, default=default), wide=wide)


def _number(name: str, *path: str, default: int = 0) -> Column:
    return Column(name, at(*path, default=default), type="integer")


def _count(name: str, path: str) -> Column:
    return Column(name, lambda obj, _: len(obj.get(path) or ()))


def _joined(values: Iterable[Any]) -> str:
    return ",".join(str(value) for value in values) or _NONE


def _labels(labels: Mapping[str, str] | None) -> str:
    return _joined(f"{key}={value}" for key, value in sorted((labels or {}).items()))


def _containers(obj: Object, *path: str) -> list[Object]:
    spec: Any = obj
    for name in (*path, "spec"):
        spec = spec.get(name) or {}
    found: list[Object] = spec.get("containers") or []
    return found


def _template_columns() -> tuple[Column, ...]:
    def of(name: str) -> Callable[[Object, float], str]:
        return lambda obj, _: _joined(one.get(name, "") for one in _containers(obj, "spec", "template"))

    return (Column("Containers", of("name"), wide=True), Column("Images", of("image"), wide=True))


def _pod_statuses(pod: Object) -> list[Object]:
    statuses: list[Object] = (pod.get("status") or {}).get("containerStatuses") or []
    return statuses


def _pod_ready(pod: Object, _: float) -> str:
    ready = sum(1 for status in _pod_statuses(pod) if status.get("ready"))
    return f"{ready}/{len(_containers(pod))}"


def _pod_status(pod: Object, _: float) -> str:
    status = pod.get("status") or {}
    reason: str = status.get("reason") or status.get("phase") or "Unknown"
    for one in reversed(_pod_statuses(pod)):
        state = one.get("state") or {}
        waiting, terminated = state.get("waiting") or {}, state.get("terminated")
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif terminated is not None:
            reason = terminated.get("reason") or f"ExitCode:{terminated.get('exitCode', 0)}"
    return "Terminating" if _meta(pod).get("deletionTimestamp") else reason


def _pod_restarts(pod: Object, now: float) -> str:
    statuses = _pod_statuses(pod)
    restarts = sum(int(status.get("restartCount") or 0) for status in statuses)
    ended = [
        (status.get("lastState") or {}).get("terminated", {}).get("finishedAt")
        for status in statuses
        if (status.get("lastState") or {}).get("terminated")
    ]
    latest = max((when for when in ended if when), default=None)
    return f"{restarts} ({age(latest, now)} ago)" if restarts and latest else str(restarts)


def _service_ports(service: Object, _: float) -> str:
    def one(port: Mapping[str, Any]) -> str:
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        return f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}"

    return _joined(one(port) for port in (service.get("spec") or {}).get("ports") or ())


def _ready_of(obj: Object, _: float) -> str:
    ready = (obj.get("status") or {}).get("readyReplicas") or 0
    return f"{ready}/{(obj.get('spec') or {}).get('replicas', 0)}"


def _endpoints(obj: Object, _: float) -> str:
    return _joined(address for one in obj.get("endpoints") or () for address in one.get("addresses") or ())


def _slice_ports(obj: Object, _: float) -> str:
    return _joined(port.get("port") for port in obj.get("ports") or ())


def _event_object(event: Object, _: float) -> str:
    involved = event.get("involvedObject") or event.get("regarding") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _event_seen(event: Object, now: float) -> str:
    series = event.get("series") or {}
    moments = (
        series.get("lastObservedTime"),
        event.get("lastTimestamp") or event.get("deprecatedLastTimestamp"),
        event.get("eventTime"),
        _meta(event).get("creationTimestamp"),
    )
    return age(next((moment for moment in moments if moment), None), now)


def _event_source(event: Object, _: float) -> str:
    source = event.get("source") or event.get("deprecatedSource") or {}
    parts = (
        source.get("component") or event.get("reportingComponent") or event.get("reportingController"),
        source.get("host") or event.get("reportingInstance"),
    )
    return ", ".join(part for part in parts if part)


def _event_part(event: Object, _: float) -> str:
    involved = event.get("involvedObject") or event.get("regarding") or {}
    return str(involved.get("fieldPath") or "")


def _event_first(event: Object, now: float) -> str:
    first = event.get("firstTimestamp") or event.get("deprecatedFirstTimestamp")
    return age(first or event.get("eventTime"), now)


def _event_count(event: Object, _: float) -> Any:
    series = event.get("series") or {}
    return series.get("count") or event.get("count") or event.get("deprecatedCount") or 1


def _event_message(event: Object, _: float) -> str:
    return str(event.get("message") or event.get("note") or "").strip()


def _access_modes(claim: Object, _: float) -> str:
    short = {
        "ReadWriteOnce": "RWO",
        "ReadOnlyMany": "ROX",
        "ReadWriteMany": "RWX",
        "ReadWriteOncePod": "RWOP",
    }
    modes = (claim.get("status") or {}).get("accessModes") or ()
    return ",".join(short.get(mode, mode) for mode in modes)


def _node_status(node: Object, _: float) -> str:
    for condition in (node.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Ready":
            return "Ready" if condition.get("status") == "True" else "NotReady"
    return "Unknown"


def _node_address(kind: str) -> Callable[[Object, float], str]:
    def cell(node: Object, _: float) -> str:
        found = (node.get("status") or {}).get("addresses") or ()
        return next((one["address"] for one in found if one.get("type") == kind), _NONE)

    return cell


def _subjects(kind: str) -> Callable[[Object, float], str]:
    def cell(binding: Object, _: float) -> str:
        found = [one for one in binding.get("subjects") or () if one.get("kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{one.get('namespace', '')}/{one['name']}" for one in found)
        return ", ".join(one["name"] for one in found)

    return cell


def _versions(definition: Object, _: float) -> str:
    return ",".join(
        f"{one['name']}(storage)" if one.get("storage") else one["name"]
        for one in definition["spec"]["versions"]
    )


def _short_names(definition: Object, _: float) -> str:
    return ",".join(definition["spec"]["names"].get("shortNames") or ())


def _established(definition: Object, _: float) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


def _controller(obj: Object, _: float) -> str:
    for owner in _meta(obj).get("ownerReferences") or ():
        if owner.get("controller"):
            group = owner["apiVersion"].partition("/")[0] if "/" in owner["apiVersion"] else ""
            kind = owner["kind"].lower()
            return f"{kind}.{group}/{owner['name']}" if group else f"{kind}/{owner['name']}"
    return _NONE


def _role_reference(obj: Object, _: float) -> str:
    reference = obj.get("roleRef") or {}
    return f"{reference.get('kind')}/{reference.get('name')}"


_SELECTOR = Column("Selector", lambda obj, _: _labels((obj.get("spec") or {}).get("selector")), wide=True)
_MATCH_SELECTOR = Column(
    "Selector",
    lambda obj, _: _labels(((obj.get("spec") or {}).get("selector") or {}).get("matchLabels")),
    wide=True,
)
_EVENT = (
    Column("Last Seen", _event_seen),
    _text("Type", "type"),
    _text("Reason", "reason"),
    Column("Object", _event_object),
    Column("Subobject", _event_part, wide=True),
    Column("Source", _event_source, wide=True),
    Column("Message", _event_message),
    Column("First Seen", _event_first, wide=True),
    Column("Count", _event_count, wide=True),
    Column("Name", lambda obj, _: _meta(obj)["name"], wide=True, format="name"),
)
_CREATED_AT = Column("Created At", at("metadata", "creationTimestamp", default=""), type="date")
_BINDING = (
    NAME,
    Column("Role", _role_reference),
    AGE,
    Column("Users", _subjects("User"), wide=True),
    Column("Groups", _subjects("Group"), wide=True),
    Column("ServiceAccounts", _subjects("ServiceAccount"), wide=True),
)

BUILT_IN: Mapping[tuple[str, str], Sequence[Column]] = {
    ("", "pods"): (
        NAME,
        Column("Ready", _pod_ready),
        Column("Status", _pod_status),
        Column("Restarts", _pod_restarts),
        AGE,
        _text("IP", "status", "podIP", wide=True),
        _text("Node", "spec", "nodeName", wide=True),
        _text("Nominated Node", "status", "nominatedNodeName", wide=True),
        Column("Readiness Gates", lambda obj, _: _NONE, wide=True),
    ),
    ("", "services"): (
        NAME,
        _text("Type", "spec", "type", default="ClusterIP"),
        _text("Cluster-IP", "spec", "clusterIP"),
        Column("External-IP", lambda obj, _: _joined((obj.get("spec") or {}).get("externalIPs") or ())),
        Column("Port(s)", _service_ports),
        AGE,
        _SELECTOR,
    ),
    ("", "configmaps"): (NAME, _count("Data", "data"), AGE),
    ("", "secrets"): (NAME, _text("Type", "type", default="Opaque"), _count("Data", "data"), AGE),
    ("", "serviceaccounts"): (NAME, AGE),
    ("", "namespaces"): (NAME, _text("Status", "status", "phase"), AGE),
    ("", "nodes"): (
        NAME,
        Column("Status", _node_status),
        Column("Roles", lambda obj, _: _NONE),
        AGE,
        _text("Version", "status", "nodeInfo", "kubeletVersion", default=""),
        Column("Internal-IP", _node_address("InternalIP"), wide=True),
        Column("External-IP", _node_address("ExternalIP"), wide=True),
        _text("OS-Image", "status", "nodeInfo", "osImage", wide=True),
        _text("Kernel-Version", "status", "nodeInfo", "kernelVersion", wide=True),
        _text("Container-Runtime", "status", "nodeInfo", "containerRuntimeVersion", wide=True),
    ),
    ("", "events"): _EVENT,
    ("events.k8s.io", "events"): _EVENT,
    ("", "persistentvolumeclaims"): (
        NAME,
        _text("Status", "status", "phase", default=""),
        _text("Volume", "spec", "volumeName", default=""),
        _text("Capacity", "status", "capacity", "storage", default=""),
        Column("Access Modes", _access_modes),
        _text("StorageClass", "spec", "storageClassName", default=""),
        _text("VolumeAttributesClass", "spec", "volumeAttributesClassName", default="<unset>"),
        AGE,
        _text("VolumeMode", "spec", "volumeMode", default="Filesystem", wide=True),
    ),
    ("apps", "statefulsets"): (NAME, Column("Ready", _ready_of), AGE, *_template_columns()),
    ("apps", "deployments"): (
        NAME,
        Column("Ready", _ready_of),
        Column("Up-to-date", at("status", "updatedReplicas", default=0)),
        Column("Available", at("status", "availableReplicas", default=0)),
        AGE,
        *_template_columns(),
        _MATCH_SELECTOR,
    ),
    ("apps", "replicasets"): (
        NAME,
        _number("Desired", "spec", "replicas"),
        _number("Current", "status", "replicas"),
        _number("Ready", "status", "readyReplicas"),
        AGE,
        *_template_columns(),
        _MATCH_SELECTOR,
    ),
    ("apps", "controllerrevisions"): (
        NAME,
        Column("Controller", _controller),
        Column("Revision", at("revision", default=0)),
        AGE,
    ),
    ("policy", "poddisruptionbudgets"): (
        NAME,
        _text("Min Available", "spec", "minAvailable", default="N/A"),
        _text("Max Unavailable", "spec", "maxUnavailable", default="N/A"),
        _number("Allowed Disruptions", "status", "disruptionsAllowed"),
        AGE,
    ),
    ("coordination.k8s.io", "leases"): (NAME, _text("Holder", "spec", "holderIdentity", default=""), AGE),
    ("discovery.k8s.io", "endpointslices"): (
        NAME,
        _text("AddressType", "addressType"),
        Column("Ports", _slice_ports),
        Column("Endpoints", _endpoints),
        AGE,
    ),
    ("storage.k8s.io", "storageclasses"): (
        NAME,
        _text("Provisioner", "provisioner"),
        _text("ReclaimPolicy", "reclaimPolicy", default="Delete"),
        _text("VolumeBindingMode", "volumeBindingMode", default="Immediate"),
        Column("AllowVolumeExpansion", at("allowVolumeExpansion", default=False)),
        AGE,
    ),
    ("rbac.authorization.k8s.io", "roles"): (NAME, _CREATED_AT),
    ("rbac.authorization.k8s.io", "clusterroles"): (NAME, _CREATED_AT),
    ("rbac.authorization.k8s.io", "rolebindings"): _BINDING,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): _BINDING,
    ("apiextensions.k8s.io", "customresourcedefinitions"): (
        NAME,
        _text("Scope", "spec", "scope"),
        Column("Versions", _versions),
        _CREATED_AT,
        _text("Group", "spec", "group", wide=True),
        _text("Kind", "spec", "names", "kind", wide=True),
        Column("ShortNames", _short_names, wide=True),
        Column("Established", _established, type="boolean", wide=True),
    ),
}
"""Columns by group and plural. A kind without an entry shows its name and age."""

DEFAULT: Sequence[Column] = (NAME, AGE)
