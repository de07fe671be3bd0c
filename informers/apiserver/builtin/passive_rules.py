"""Validation, beside their schemas, of the kinds that no controller of the sandbox acts on."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from informers.apiserver.errors import Cause
from informers.apiserver.errors.causes import (
    each_invalid,
    forbidden,
    immutable,
    invalid,
    required,
    unsupported,
)
from informers.apiserver.values.names import dns_label, dns_subdomain
from informers.objects import Object

_Check: TypeAlias = Callable[[Object, Object | None], Iterator[Cause]]

_FLOW = "flowcontrol.apiserver.k8s.io"
_STORAGE = "storage.k8s.io"
_HIGHEST_USER_PRIORITY = 1_000_000_000
_MOST_PRECEDENCE = 10_000


def runtime_class(new: Object, old: Object | None) -> Iterator[Cause]:
    """A RuntimeClass."""
    handler = str(new.get("handler") or "")
    if handler:
        yield from each_invalid("handler", handler, dns_label(handler))
    else:
        yield required("handler")
    if old is not None:
        yield from _fixed("handler", new, old)


def priority_class(new: Object, old: Object | None) -> Iterator[Cause]:
    """A PriorityClass: those of the system have names and values of their own."""
    name, value = str(new["metadata"].get("name") or ""), new.get("value", 0)
    system = SYSTEM_PRIORITIES.get(name)
    if name.startswith("system-"):
        if (system is None or system != value) or new.get("globalDefault"):
            detail = "priority class names with 'system-' prefix are reserved for system use only"
            why = detail + (
                f". error: {name} is not a known system priority class"
                if system is None
                else f". error: value of {name} PriorityClass must be {system}"
                if system != value
                else f". error: globalDefault of {name} PriorityClass must be false"
            )
            yield forbidden("metadata.name", why)
    elif isinstance(value, int) and value > _HIGHEST_USER_PRIORITY:
        detail = f"maximum allowed value of a user defined priority is {_HIGHEST_USER_PRIORITY}"
        yield forbidden("value", detail)
    policy = new.get("preemptionPolicy")
    if policy not in (None, "Never", "PreemptLowerPriority"):
        yield unsupported("preemptionPolicy", policy, ("PreemptLowerPriority", "Never"))
    if old is not None:
        if value != old.get("value", 0):
            yield forbidden("value", "may not be changed in an update.")
        yield from immutable("preemptionPolicy", policy, old.get("preemptionPolicy"))


SYSTEM_PRIORITIES: Mapping[str, int] = {
    "system-cluster-critical": 2_000_000_000,
    "system-node-critical": 2_000_001_000,
}
"""The priority classes every cluster has, and their values."""


def attributes_class(new: Object, old: Object | None) -> Iterator[Cause]:
    """A VolumeAttributesClass: nothing of it may change."""
    if not new.get("driverName"):
        yield required("driverName")
    if not new.get("parameters"):
        yield required("parameters", "must contain at least one key/value pair")
    if old is not None:
        for field in ("driverName", "parameters"):
            if new.get(field) != old.get(field):
                yield forbidden(field, "updates to " + field + " are forbidden.")


def attachment(new: Object, old: Object | None) -> Iterator[Cause]:
    """A VolumeAttachment: its spec may not change."""
    spec = new["spec"]
    yield from _needed(spec, "spec", ("attacher",))
    yield from each_invalid("spec.nodeName", spec.get("nodeName"), dns_subdomain(spec.get("nodeName") or ""))
    source = spec.get("source") or {}
    if not source:
        yield required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
    if old is not None:
        yield from _fixed("spec", new, old)


def csi_node(new: Object, old: Object | None) -> Iterator[Cause]:
    """A CSINode: every driver once."""
    for position, driver in enumerate(new["spec"].get("drivers") or ()):
        yield from _needed(driver, f"spec.drivers[{position}]", ("name", "nodeID"))


def capacity(new: Object, old: Object | None) -> Iterator[Cause]:
    """A CSIStorageCapacity: what it is about may not change."""
    name = str(new.get("storageClassName") or "")
    yield from each_invalid("storageClassName", name, dns_subdomain(name))
    if old is not None:
        for field in ("nodeTopology", "storageClassName"):
            yield from immutable(field, new.get(field), old.get(field))


def flow_schema(new: Object, old: Object | None) -> Iterator[Cause]:
    """A FlowSchema."""
    spec = new["spec"]
    precedence = spec.get("matchingPrecedence")
    if isinstance(precedence, int) and precedence <= 0:
        yield invalid("spec.matchingPrecedence", precedence, "must be a positive value")
    elif isinstance(precedence, int) and precedence > _MOST_PRECEDENCE:
        detail = f"must not be greater than {_MOST_PRECEDENCE}"
        yield invalid("spec.matchingPrecedence", precedence, detail)
    if not (spec.get("priorityLevelConfiguration") or {}).get("name"):
        yield required("spec.priorityLevelConfiguration.name", "must reference a priority level")


def priority_level(new: Object, old: Object | None) -> Iterator[Cause]:
    """A PriorityLevelConfiguration."""
    spec = new["spec"]
    kind = spec.get("type")
    if kind not in ("Exempt", "Limited"):
        yield unsupported("spec.type", kind or "", ("Exempt", "Limited"))
    elif kind == "Limited" and "limited" not in spec:
        yield required("spec.limited")
    elif kind == "Exempt" and "limited" in spec:
        yield forbidden("spec.limited", "must be nil if the type is not Limited")


def ip_address(new: Object, old: Object | None) -> Iterator[Cause]:
    """An IPAddress: named by the address, and about one object."""
    name = str(new["metadata"].get("name") or "")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        yield invalid("metadata.name", name, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
    parent = new["spec"].get("parentRef")
    if not parent:
        yield required("spec.parentRef")
        return
    yield from _needed(parent, "spec.parentRef", ("resource", "name"))
    if old is not None and parent != old["spec"].get("parentRef"):
        yield invalid("spec.parentRef", parent.get("name"), "field is immutable")


def migration(new: Object, old: Object | None) -> Iterator[Cause]:
    """A StorageVersionMigration: of one resource, forever."""
    if not new["spec"]["resource"].get("resource"):
        yield required("spec.resource.resource", "resource is required to be set")
    if old is not None:
        yield from _fixed("spec", new, old)


def claim(new: Object, old: Object | None) -> Iterator[Cause]:
    """A ResourceClaim or a template of one: its spec may not change."""
    if old is not None:
        yield from _fixed("spec", new, old)


def trust_bundle(new: Object, old: Object | None) -> Iterator[Cause]:
    """A ClusterTrustBundle: named after its signer, if it has one."""
    name, spec = str(new["metadata"].get("name") or ""), new["spec"]
    signer = str(spec.get("signerName") or "")
    prefix = signer.replace("/", ":") + ":" if signer else ""
    if signer and not name.startswith(prefix):
        detail = f"ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"
        yield invalid("metadata.name", name, detail)
    elif not signer and ":" in name:
        detail = 'ClusterTrustBundle without signer name must not have ":" in its name'
        yield invalid("metadata.name", name, detail)
    else:
        yield from each_invalid("metadata.name", name, dns_subdomain(name.removeprefix(prefix)))
    if (old is None or old["spec"] != spec) and "BEGIN CERTIFICATE" not in str(spec.get("trustBundle")):
        detail = "at least one trust anchor must be provided"
        yield invalid("spec.trustBundle", "<value omitted>", detail)
    if old is not None:
        yield from immutable("spec.signerName", signer, str(old["spec"].get("signerName") or ""))


def policy(new: Object, old: Object | None) -> Iterator[Cause]:
    """A ValidatingAdmissionPolicy; its expressions are not looked at."""
    spec = new["spec"]
    if not spec.get("matchConstraints"):
        yield required("spec.matchConstraints")
    elif not spec["matchConstraints"].get("resourceRules"):
        yield required("spec.matchConstraints.resourceRules")
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        detail = "validations or auditAnnotations must contain at least one item"
        yield required("spec.validations", detail)
        yield required("spec.auditAnnotations", detail)


def autoscaler(new: Object, old: Object | None) -> Iterator[Cause]:
    """A HorizontalPodAutoscaler, of either version."""
    spec = new["spec"]
    most, least = spec.get("maxReplicas"), spec.get("minReplicas")
    if isinstance(least, int) and least < 1:
        yield invalid("spec.minReplicas", least, "must be greater than or equal to 1")
    if most == 0:
        yield required("spec.maxReplicas")
    elif isinstance(most, int) and most < 0:
        yield invalid("spec.maxReplicas", most, "must be greater than 0")
    if isinstance(most, int) and isinstance(least, int) and most < least:
        yield invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")
    target = spec.get("scaleTargetRef") or {}
    yield from _needed(target, "spec.scaleTargetRef", ("kind", "name"))
    if not target.get("apiVersion"):
        yield invalid("spec.scaleTargetRef.apiVersion", "", "apiVersion must specify API group")


def _fixed(field: str, new: Object, old: Object) -> Iterator[Cause]:
    """A field that may not change; these kinds do not show its value."""
    if new.get(field) != old.get(field):
        yield invalid(field, None, "field is immutable")


def _needed(value: Mapping[str, Any], field: str, names: tuple[str, ...]) -> Iterator[Cause]:
    for name in names:
        if not value.get(name):
            yield required(f"{field}.{name}")


RULES: Mapping[tuple[str, str], _Check] = {
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): policy,
    ("certificates.k8s.io", "ClusterTrustBundle"): trust_bundle,
    ("node.k8s.io", "RuntimeClass"): runtime_class,
    ("scheduling.k8s.io", "PriorityClass"): priority_class,
    ("autoscaling", "HorizontalPodAutoscaler"): autoscaler,
    (_STORAGE, "VolumeAttributesClass"): attributes_class,
    (_STORAGE, "VolumeAttachment"): attachment,
    (_STORAGE, "CSINode"): csi_node,
    (_STORAGE, "CSIStorageCapacity"): capacity,
    (_FLOW, "FlowSchema"): flow_schema,
    (_FLOW, "PriorityLevelConfiguration"): priority_level,
    ("networking.k8s.io", "IPAddress"): ip_address,
    ("resource.k8s.io", "ResourceClaim"): claim,
    ("resource.k8s.io", "ResourceClaimTemplate"): claim,
    ("storagemigration.k8s.io", "StorageVersionMigration"): migration,
}
"""What may stand in each kind, by group and kind."""
