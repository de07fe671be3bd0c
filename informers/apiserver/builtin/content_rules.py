"""Validation of ConfigMaps, Secrets, claims, disruption budgets, roles, EndpointSlices, leases and events."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from informers.apiserver.builtin.workload_rules import validate_selector
from informers.apiserver.errors import Cause
from informers.apiserver.errors.causes import (
    duplicate,
    each_invalid,
    forbidden,
    immutable,
    invalid,
    not_negative,
    required,
    shown_inside,
    unsupported,
)
from informers.apiserver.values.names import config_key, dns_label
from informers.apiserver.values.quantity import parse
from informers.objects import Object

_RBAC = "rbac.authorization.k8s.io"
_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_PERCENT = "[0-9]+%"
_CLAIM_WORDS = (
    "spec is immutable after creation except resources.requests "
    "and volumeAttributesClassName for bound claims"
)
_ACCOUNT = "kubernetes.io/service-account"
_EVENT_TEXTS = {"reportingController": 0, "reportingInstance": 128, "action": 128, "reason": 128}
_OTHER_NAMES = {"reportingController": "reportingComponent"}
# Fields of the older form that the newer one no longer takes, by the names of the older.
_OLD_FIELDS = {
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "source": "deprecatedSource",
}
_NEEDED_KEYS: Mapping[str, tuple[str, ...]] = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def config_map(new: Object, old: Object | None) -> Iterator[Cause]:
    """A ConfigMap."""
    binary = new.get("binaryData") or {}
    for key in sorted(new.get("data") or {}):
        yield from each_invalid(f"data[{key}]", key, config_key(key))
        if key in binary:
            yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    for key in sorted(binary):
        yield from each_invalid(f"binaryData[{key}]", key, config_key(key))
    yield from _frozen(new, old, ("data", "binaryData"))


def secret(new: Object, old: Object | None) -> Iterator[Cause]:
    """A Secret."""
    data = new.get("data") or {}
    for key in sorted(data):
        yield from each_invalid(f"data[{key}]", key, config_key(key))
    kind = str(new.get("type"))
    for key in _NEEDED_KEYS.get(kind, ()):
        if key not in data:
            yield required(f"data[{key}]")
    annotations = new["metadata"].get("annotations") or {}
    if kind == f"{_ACCOUNT}-token" and not annotations.get(f"{_ACCOUNT}.name"):
        yield required(f"metadata.annotations[{_ACCOUNT}.name]")
    if old is not None:
        yield from immutable("type", kind, old.get("type"))
    yield from _frozen(new, old, ("data",))


def _frozen(new: Object, old: Object | None, fields: tuple[str, ...]) -> Iterator[Cause]:
    if old is None or not old.get("immutable"):
        return
    for name in ("immutable", *fields):
        if new.get(name) != old.get(name):
            yield forbidden(name, "field is immutable when `immutable` is set")


def claim(new: Object, old: Object | None) -> Iterator[Cause]:
    """A PersistentVolumeClaim: once bound it may grow, and nothing else."""
    spec = new["spec"]
    modes = spec.get("accessModes") or []
    if not modes:
        yield required("spec.accessModes", "at least 1 access mode is required")
    for mode in modes:
        if mode not in _ACCESS_MODES:
            yield unsupported("spec.accessModes", mode, _ACCESS_MODES)
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        yield required("spec.resources[storage]")
    elif parse(size).value <= 0:
        yield invalid("spec.resources[storage]", size, "must be greater than zero")
    if spec.get("volumeMode") not in ("Block", "Filesystem"):
        yield unsupported("spec.volumeMode", spec.get("volumeMode"), ("Block", "Filesystem"))
    if old is not None:
        yield from _claim_change(new, old)


def _claim_change(new: Object, old: Object) -> Iterator[Cause]:
    bound = (old.get("status") or {}).get("phase") == "Bound"
    loose = {"volumeAttributesClassName"}
    # Binding writes the volume's name and the defaulted class once.
    loose |= {name for name in ("volumeName", "storageClassName") if not old["spec"].get(name)}

    def fixed(spec: Object) -> Object:
        result = {key: value for key, value in spec.items() if key not in loose}
        if bound:
            resources = result.get("resources") or {}
            result["resources"] = {key: value for key, value in resources.items() if key != "requests"}
        return result

    if fixed(new["spec"]) != fixed(old["spec"]):
        yield forbidden("spec", _CLAIM_WORDS)
    capacity = ((old.get("status") or {}).get("capacity") or {}).get("storage")
    size = ((new["spec"].get("resources") or {}).get("requests") or {}).get("storage")
    if bound and capacity and size and parse(size).value < parse(capacity).value:
        yield forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")


def disruption_budget(new: Object, old: Object | None) -> Iterator[Cause]:
    """A PodDisruptionBudget."""
    spec = new["spec"]
    if "minAvailable" in spec and "maxUnavailable" in spec:
        value = shown_inside(
            MinAvailable=spec["minAvailable"],
            Selector=spec.get("selector"),
            MaxUnavailable=spec["maxUnavailable"],
            UnhealthyPodEvictionPolicy=spec.get("unhealthyPodEvictionPolicy"),
        )
        detail = f"Invalid value: {value}: minAvailable and maxUnavailable cannot be both set"
        yield Cause("FieldValueInvalid", detail, "spec")
    for name in ("minAvailable", "maxUnavailable"):
        yield from _number_or_percent(f"spec.{name}", spec.get(name))
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy not in (None, "AlwaysAllow", "IfHealthyBudget"):
        yield unsupported("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget"))
    yield from validate_selector(spec.get("selector") or {}, "spec.selector")


def _number_or_percent(field: str, value: Any) -> Iterator[Cause]:
    if isinstance(value, str):
        if not re.fullmatch(_PERCENT, value, re.ASCII):
            detail = (
                "a valid percent string must be a numeric string followed by an ending '%' "
                f"(e.g. '1%',  or '93%', regex used for validation is '{_PERCENT}')"
            )
            yield invalid(field, value, detail)
        elif len(share := value[:-1].lstrip("0")) > 3 or int(share or "0") > 100:
            yield invalid(field, value, "must not be greater than 100%")
    else:
        yield from not_negative(field, value)


def role(new: Object, old: Object | None) -> Iterator[Cause]:
    """A Role or ClusterRole."""
    namespaced = new.get("kind") == "Role"
    for position, rule in enumerate(new.get("rules") or ()):
        field = f"rules[{position}]"
        if not rule.get("verbs"):
            yield required(f"{field}.verbs")
        urls = rule.get("nonResourceURLs")
        if urls:
            if namespaced:
                detail = "namespaced rules cannot apply to non-resource URLs"
                yield invalid(f"{field}.nonResourceURLs", urls, detail)
            elif rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                detail = "rules cannot apply to both regular resources and non-resource URLs"
                yield invalid(f"{field}.nonResourceURLs", urls, detail)
            continue
        if not rule.get("apiGroups"):
            yield required(f"{field}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{field}.resources", "resource rules must supply at least one resource")


def binding(new: Object, old: Object | None) -> Iterator[Cause]:
    """A RoleBinding or ClusterRoleBinding: what it binds to may not change."""
    target = new["roleRef"]
    if target.get("apiGroup") != _RBAC:
        yield unsupported("roleRef.apiGroup", target.get("apiGroup"), (_RBAC,))
    kinds = ("Role", "ClusterRole") if new.get("kind") == "RoleBinding" else ("ClusterRole",)
    if "kind" in target and target["kind"] not in kinds:
        yield unsupported("roleRef.kind", target["kind"], kinds)
    if target.get("name") == "":
        yield required("roleRef.name")
    for position, subject in enumerate(new.get("subjects") or ()):
        field = f"subjects[{position}]"
        kind = subject.get("kind")
        if subject.get("name") == "":
            yield required(f"{field}.name")
        if kind not in ("ServiceAccount", "User", "Group"):
            yield unsupported(f"{field}.kind", kind, ("ServiceAccount", "User", "Group"))
        elif kind == "ServiceAccount":
            if subject.get("name"):
                yield from each_invalid(f"{field}.name", subject["name"], dns_label(subject["name"]))
            if new.get("kind") == "ClusterRoleBinding" and not subject.get("namespace"):
                yield required(f"{field}.namespace")
            if subject.get("apiGroup"):
                yield unsupported(f"{field}.apiGroup", subject["apiGroup"], ("",))
    if old is not None and target != old["roleRef"]:
        names = {"APIGroup": "apiGroup", "Kind": "kind", "Name": "name"}
        value = shown_inside(**{inside: target.get(name) for inside, name in names.items()})
        yield Cause("FieldValueInvalid", f"Invalid value: {value}: field is immutable", "roleRef")


def endpoint_slice(new: Object, old: Object | None) -> Iterator[Cause]:
    """An EndpointSlice."""
    kind = new.get("addressType")
    if kind not in (None, "FQDN", "IPv4", "IPv6"):
        yield unsupported("addressType", kind, ("FQDN", "IPv4", "IPv6"))
    names: set[str] = set()
    for position, port in enumerate(new.get("ports") or ()):
        field, name = f"ports[{position}].name", port.get("name") or ""
        if name:
            yield from each_invalid(field, name, dns_label(name))
        if name in names:
            yield duplicate(field, name)
        names.add(name)
    for position, endpoint in enumerate(new.get("endpoints") or ()):
        field = f"endpoints[{position}].addresses"
        if endpoint.get("addresses") == []:
            yield required(field)
        for place, address in enumerate(endpoint.get("addresses") or ()):
            if kind in ("IPv4", "IPv6") and not _is_address(address):
                detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
                yield invalid(f"{field}[{place}]", address, detail)
    if old is not None and kind != old.get("addressType"):
        # Servers do not show the value here.
        yield invalid("addressType", None, "field is immutable")


def _is_address(text: Any) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def lease(new: Object, old: Object | None) -> Iterator[Cause]:
    """A Lease."""
    spec = new["spec"]
    duration = spec.get("leaseDurationSeconds")
    if isinstance(duration, int) and duration <= 0:
        yield invalid("spec.leaseDurationSeconds", duration, "must be greater than 0")
    yield from not_negative("spec.leaseTransitions", spec.get("leaseTransitions"))


def event(new: Object, old: Object | None) -> Iterator[Cause]:
    """An Event, of either group."""
    namespace = new["metadata"].get("namespace")
    target = (new.get("involvedObject") or new.get("regarding") or {}).get("namespace", "")
    if new.get("eventTime"):
        fits = bool(target) or namespace in ("default", "kube-system")
    else:
        fits = namespace == (target or "default")
    if not fits:
        yield invalid("involvedObject.namespace", target, "does not match event.namespace")
    if new.get("eventTime"):
        for name, most in _EVENT_TEXTS.items():
            text = new.get(name) or new.get(_OTHER_NAMES.get(name, name))
            if not text:
                yield required(name)
            elif most and len(text.encode()) > most:
                yield invalid(name, text, f"can have at most {most} characters")
        # It says characters, and counts bytes.
        if len(str(new.get("note") or new.get("message") or "").encode()) > 1024:
            yield invalid("message", "", "can have at most 1024 characters")
    if old is None and str(new.get("apiVersion", "")).startswith("events.k8s.io/"):
        yield from _new_event(new)


def _new_event(new: Object) -> Iterator[Cause]:
    if not new.get("eventTime"):
        yield required("eventTime")
    if new.get("type") not in ("Normal", "Warning"):
        yield invalid("type", "", f"has invalid value: {new.get('type') or ''}")
    for inside, name in _OLD_FIELDS.items():
        if new.get(name):
            yield invalid(inside, "", "needs to be unset")


def namespace(new: Object, old: Object | None) -> Iterator[Cause]:
    """A Namespace."""
    for position, name in enumerate(new["spec"].get("finalizers") or ()):
        if "/" not in name and name != "kubernetes":
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            yield invalid(f"spec.finalizers[{position}]", name, detail)


RULES: Mapping[tuple[str, str], Callable[[Object, Object | None], Iterator[Cause]]] = {
    ("", "ConfigMap"): config_map,
    ("", "Secret"): secret,
    ("", "PersistentVolumeClaim"): claim,
    ("", "Namespace"): namespace,
    ("", "Event"): event,
    ("events.k8s.io", "Event"): event,
    ("policy", "PodDisruptionBudget"): disruption_budget,
    (_RBAC, "Role"): role,
    (_RBAC, "ClusterRole"): role,
    (_RBAC, "RoleBinding"): binding,
    (_RBAC, "ClusterRoleBinding"): binding,
    ("discovery.k8s.io", "EndpointSlice"): endpoint_slice,
    ("coordination.k8s.io", "Lease"): lease,
}
"""What may stand in each kind, by group and kind."""
