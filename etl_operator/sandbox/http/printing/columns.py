"""What ``kubectl get`` shows of the built-in kinds. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etl_operator.sandbox.http.printing.cells import (
    AGE,
    CREATED_AT,
    NAME,
    NONE,
    Column,
    access_modes,
    addresses,
    at,
    count,
    first,
    joined,
    labels,
    meta,
    number,
    selector,
    spec,
    status,
    text,
)
from etl_operator.sandbox.http.printing.events import EVENT
from etl_operator.sandbox.http.printing.passive import PASSIVE
from etl_operator.sandbox.http.printing.pods import POD
from etl_operator.sandbox.http.printing.workloads import WORKLOADS
from informers.objects import Object

_SHOWN = 3
"""How many entries of a list are shown before ``+ n more...``."""
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_ROLE = "node-role.kubernetes.io/"


def _service_ports(service: Object, _: float) -> str:
    def one(port: Mapping[str, Any]) -> str:
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        return f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}"

    return joined(one(port) for port in (service.get("spec") or {}).get("ports") or ())


def _external(service: Object, _: float) -> str:
    kind, own = spec(service).get("type", "ClusterIP"), spec(service).get("externalIPs") or ()
    if kind == "ExternalName":
        return str(spec(service).get("externalName") or NONE)
    if kind == "LoadBalancer":
        return joined([*addresses(service), *own], "<pending>")
    return joined(own)


def _endpoints(obj: Object, _: float) -> str:
    found = [address for one in obj.get("endpoints") or () for address in one.get("addresses") or ()]
    return first(found, _SHOWN, "<unset>")


def _slice_ports(obj: Object, _: float) -> str:
    return first([port.get("port", "*") for port in obj.get("ports") or ()], _SHOWN, "<unset>")


def _subsets(obj: Object, _: float) -> str:
    found = [
        f"{address['ip']}:{port['port']}"
        for subset in obj.get("subsets") or ()
        for port in subset.get("ports") or ()
        for address in subset.get("addresses") or ()
    ]
    return first(found, _SHOWN)


def _quota(prefixes: tuple[str, ...], *, inverted: bool = False) -> Callable[[Object, float], str]:
    def cell(quota: Object, _: float) -> str:
        hard, used = (
            status(quota).get("hard") or spec(quota).get("hard") or {},
            status(quota).get("used") or {},
        )
        names = (name for name in sorted(hard) if name.startswith(prefixes) != inverted)
        return ", ".join(f"{name}: {used.get(name, '0')}/{hard[name]}" for name in names)

    return cell


def _hosts(ingress: Object, _: float) -> str:
    rules = spec(ingress).get("rules") or ()
    return first([str(rule["host"]) for rule in rules if rule.get("host")], _SHOWN, "*")


def _parameters(ingress_class: Object, _: float) -> str:
    found = spec(ingress_class).get("parameters")
    if not found:
        return NONE
    kind = f"{found['kind']}.{found['apiGroup']}" if found.get("apiGroup") else str(found["kind"])
    return f"{kind}/{found['name']}"


def _phase(obj: Object, _: float) -> str:
    """The phase of a volume or claim. Its controller does not write there that it is being deleted."""
    return "Terminating" if meta(obj).get("deletionTimestamp") else str(status(obj).get("phase") or "")


def _claim(volume: Object, _: float) -> str:
    found = spec(volume).get("claimRef")
    return f"{found.get('namespace', '')}/{found.get('name', '')}" if found else ""


def _class_name(storage_class: Object, _: float) -> str:
    is_default = (meta(storage_class).get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
    return f"{meta(storage_class)['name']} (default)" if is_default else str(meta(storage_class)["name"])


def _node_status(node: Object, _: float) -> str:
    conditions = status(node).get("conditions") or ()
    ready = next((one for one in conditions if one.get("type") == "Ready"), None)
    word = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    return f"{word},SchedulingDisabled" if spec(node).get("unschedulable") else word


def _node_roles(node: Object, _: float) -> str:
    marks = sorted(name for name in meta(node).get("labels") or {} if name.startswith(_ROLE))
    return joined(name.removeprefix(_ROLE) for name in marks)


def _node_address(kind: str) -> Callable[[Object, float], str]:
    def cell(node: Object, _: float) -> str:
        found = (node.get("status") or {}).get("addresses") or ()
        return next((one["address"] for one in found if one.get("type") == kind), NONE)

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


def _role_reference(obj: Object, _: float) -> str:
    reference = obj.get("roleRef") or {}
    return f"{reference.get('kind')}/{reference.get('name')}"


_BINDING = (
    NAME,
    Column("Role", _role_reference),
    AGE,
    Column("Users", _subjects("User"), wide=True),
    Column("Groups", _subjects("Group"), wide=True),
    Column("ServiceAccounts", _subjects("ServiceAccount"), wide=True),
)

BUILT_IN: Mapping[tuple[str, str], Sequence[Column]] = {
    **WORKLOADS,
    **PASSIVE,
    ("", "pods"): POD,
    ("", "services"): (
        NAME,
        text("Type", "spec", "type", default="ClusterIP"),
        text("Cluster-IP", "spec", "clusterIP"),
        Column("External-IP", _external),
        Column("Port(s)", _service_ports),
        AGE,
        Column("Selector", lambda obj, _: labels(spec(obj).get("selector")), wide=True),
    ),
    ("", "configmaps"): (NAME, count("Data", "data", "binaryData"), AGE),
    ("", "secrets"): (NAME, text("Type", "type", default="Opaque"), count("Data", "data"), AGE),
    ("", "serviceaccounts"): (NAME, AGE),
    ("", "namespaces"): (NAME, text("Status", "status", "phase"), AGE),
    ("", "nodes"): (
        NAME,
        Column("Status", _node_status),
        Column("Roles", _node_roles),
        AGE,
        text("Version", "status", "nodeInfo", "kubeletVersion", default=""),
        Column("Internal-IP", _node_address("InternalIP"), wide=True),
        Column("External-IP", _node_address("ExternalIP"), wide=True),
        text("OS-Image", "status", "nodeInfo", "osImage", default="<unknown>", wide=True),
        text("Kernel-Version", "status", "nodeInfo", "kernelVersion", default="<unknown>", wide=True),
        text(
            "Container-Runtime",
            "status",
            "nodeInfo",
            "containerRuntimeVersion",
            default="<unknown>",
            wide=True,
        ),
    ),
    ("", "events"): EVENT,
    ("events.k8s.io", "events"): EVENT,
    ("", "endpoints"): (NAME, Column("Endpoints", _subsets), AGE),
    ("", "limitranges"): (NAME, CREATED_AT),
    ("", "resourcequotas"): (
        NAME,
        Column("Request", _quota(("limits",), inverted=True)),
        Column("Limit", _quota(("limits",))),
        AGE,
    ),
    ("", "persistentvolumes"): (
        NAME,
        text("Capacity", "spec", "capacity", "storage", default=""),
        Column("Access Modes", lambda obj, _: access_modes(spec(obj).get("accessModes") or ())),
        text("Reclaim Policy", "spec", "persistentVolumeReclaimPolicy", default=""),
        Column("Status", _phase),
        Column("Claim", _claim),
        text("StorageClass", "spec", "storageClassName", default=""),
        text("VolumeAttributesClass", "spec", "volumeAttributesClassName", default="<unset>"),
        text("Reason", "status", "reason", default=""),
        AGE,
        text("VolumeMode", "spec", "volumeMode", default="Filesystem", wide=True),
    ),
    ("networking.k8s.io", "ingresses"): (
        NAME,
        text("Class", "spec", "ingressClassName"),
        Column("Hosts", _hosts),
        Column("Address", lambda obj, _: joined(addresses(obj), "")),
        Column("Ports", lambda obj, _: "80, 443" if spec(obj).get("tls") else "80"),
        AGE,
    ),
    ("networking.k8s.io", "ingressclasses"): (
        NAME,
        text("Controller", "spec", "controller"),
        Column("Parameters", _parameters),
        AGE,
    ),
    ("networking.k8s.io", "networkpolicies"): (
        NAME,
        Column("Pod-Selector", lambda obj, _: selector(spec(obj).get("podSelector"))),
        AGE,
    ),
    ("scheduling.k8s.io", "priorityclasses"): (
        NAME,
        number("Value", "value"),
        Column("Global-Default", at("globalDefault", default=False), type="boolean"),
        AGE,
        text("PreemptionPolicy", "preemptionPolicy", default=""),
    ),
    ("", "persistentvolumeclaims"): (
        NAME,
        Column("Status", _phase),
        text("Volume", "spec", "volumeName", default=""),
        text("Capacity", "status", "capacity", "storage", default=""),
        Column("Access Modes", lambda obj, _: access_modes(status(obj).get("accessModes") or ())),
        text("StorageClass", "spec", "storageClassName", default=""),
        text("VolumeAttributesClass", "spec", "volumeAttributesClassName", default="<unset>"),
        AGE,
        text("VolumeMode", "spec", "volumeMode", default="Filesystem", wide=True),
    ),
    ("policy", "poddisruptionbudgets"): (
        NAME,
        text("Min Available", "spec", "minAvailable", default="N/A"),
        text("Max Unavailable", "spec", "maxUnavailable", default="N/A"),
        number("Allowed Disruptions", "status", "disruptionsAllowed"),
        AGE,
    ),
    ("coordination.k8s.io", "leases"): (NAME, text("Holder", "spec", "holderIdentity", default=""), AGE),
    ("discovery.k8s.io", "endpointslices"): (
        NAME,
        text("AddressType", "addressType"),
        Column("Ports", _slice_ports),
        Column("Endpoints", _endpoints),
        AGE,
    ),
    ("storage.k8s.io", "storageclasses"): (
        Column("Name", _class_name, format="name"),
        text("Provisioner", "provisioner"),
        text("ReclaimPolicy", "reclaimPolicy", default="Delete"),
        text("VolumeBindingMode", "volumeBindingMode", default="Immediate"),
        Column("AllowVolumeExpansion", at("allowVolumeExpansion", default=False)),
        AGE,
    ),
    ("rbac.authorization.k8s.io", "roles"): (NAME, CREATED_AT),
    ("rbac.authorization.k8s.io", "clusterroles"): (NAME, CREATED_AT),
    ("rbac.authorization.k8s.io", "rolebindings"): _BINDING,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): _BINDING,
    ("apiextensions.k8s.io", "customresourcedefinitions"): (
        NAME,
        text("Scope", "spec", "scope"),
        Column("Versions", _versions),
        CREATED_AT,
        text("Group", "spec", "group", wide=True),
        text("Kind", "spec", "names", "kind", wide=True),
        Column("ShortNames", _short_names, wide=True),
        Column("Established", _established, type="boolean", wide=True),
    ),
}
"""Columns by group and plural. A kind without an entry shows its name and age."""

DEFAULT: Sequence[Column] = (NAME, AGE)
