"""What ``kubectl get`` shows of the kinds that nothing here acts on. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etl_operator.sandbox.http.printing.cells import (
    AGE,
    CREATED_AT,
    NAME,
    NONE,
    Column,
    at,
    joined,
    labels,
    meta,
    spec,
    status,
    text,
)
from etl_operator.sandbox.http.printing.duration import age, human
from informers.objects import Object

_ADMISSION = "admissionregistration.k8s.io"
_CERTIFICATES = "certificates.k8s.io"
_FLOW = "flowcontrol.apiserver.k8s.io"
_RESOURCE = "resource.k8s.io"
_STORAGE = "storage.k8s.io"
_UNSET = "<unset>"
_DECIDED = ("Issued", "Denied", "Failed")
_MIGRATED = ("Running", "Failed", "Succeeded")


def _conditions(obj: Object) -> Sequence[Mapping[str, Any]]:
    return status(obj).get("conditions") or ()


def _true(obj: Object, *kinds: str) -> list[str]:
    return [
        one["type"] for one in _conditions(obj) if one.get("type") in kinds and one.get("status") == "True"
    ]


def _length(*path: str) -> Callable[[Object, float], int]:
    """A cell that counts the entries of a list."""
    found = at(*path, default=())
    return lambda obj, now: len(found(obj, now))


def _parameter_kind(policy: Object, _: float) -> str:
    kind = spec(policy).get("paramKind")
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else _UNSET


def _parameters(binding: Object, _: float) -> str:
    found = spec(binding).get("paramRef")
    if not found or not found.get("name"):
        return _UNSET
    return f"{found.get('namespace') or '*'}/{found['name']}"


def _service(obj: Object, _: float) -> str:
    found = spec(obj).get("service")
    return f"{found.get('namespace', '')}/{found.get('name', '')}" if found else "Local"


def _available(obj: Object, _: float) -> str:
    found = next((one for one in _conditions(obj) if one.get("type") == "Available"), None)
    if found is None:
        return "Unknown"
    if found.get("status") == "True" or not found.get("reason"):
        return str(found.get("status"))
    return f"{found.get('status')} ({found['reason']})"


def _asked_for(request: Object, _: float) -> str:
    seconds = spec(request).get("expirationSeconds")
    return human(seconds) if seconds is not None else NONE


def _decision(request: Object, _: float) -> str:
    kinds = [one.get("type") for one in _conditions(request)]
    words = ["Denied" if "Denied" in kinds else "Approved" if "Approved" in kinds else "Pending"]
    words += ["Failed"] if "Failed" in kinds else []
    words += ["Issued"] if status(request).get("certificate") else []
    return ",".join(words)


def _issued(request: Object, _: float) -> str:
    kinds = [one["type"] for one in _conditions(request) if one.get("type") in _DECIDED]
    return str(kinds[-1]) if kinds else "Pending"


def _dangling(schema: Object, _: float) -> str:
    found = next((one for one in _conditions(schema) if one.get("type") == "Dangling"), None)
    return str(found.get("status")) if found is not None else "?"


def _parent(address: Object, _: float) -> str:
    parent = spec(address).get("parentRef")
    if not parent:
        return NONE
    group = f".{parent['group']}" if parent.get("group") else ""
    kind = f"{parent.get('resource', '')}{group}".lower()
    return "/".join(filter(None, (kind, parent.get("namespace"), parent.get("name"))))


def _claimed(claim: Object, _: float) -> str:
    gone = bool(meta(claim).get("deletionTimestamp"))
    words = ["deleted"] if gone else []
    if not status(claim).get("allocation"):
        words += [] if gone else ["pending"]
    else:
        words += ["allocated", *(["reserved"] if status(claim).get("reservedFor") else [])]
    return ",".join(words)


def _audiences(driver: Object, _: float) -> str:
    found = spec(driver).get("tokenRequests")
    return ",".join(str(one.get("audience", "")) for one in found) if found else _UNSET


def _migrated_resource(migration: Object, _: float) -> str:
    found = spec(migration).get("resource") or {}
    return ".".join(filter(None, (found.get("resource"), found.get("group"))))


_POLICY_BINDING = (
    NAME,
    text("PolicyName", "spec", "policyName", default=""),
    Column("ParamRef", _parameters),
    AGE,
)
_WEBHOOKS = (NAME, Column("Webhooks", _length("webhooks"), type="integer"), AGE)
_QUEUING = ("spec", "limited", "limitResponse", "queuing")
_TAINT = ("spec", "taint")

PASSIVE: Mapping[tuple[str, str], Sequence[Column]] = {
    ("", "componentstatuses"): (
        NAME,
        Column("Status", lambda obj, _: "Unknown"),
        Column("Message", lambda obj, _: ""),
        Column("Error", lambda obj, _: ""),
    ),
    (_ADMISSION, "mutatingadmissionpolicies"): (
        NAME,
        Column("Mutations", _length("spec", "mutations"), type="integer"),
        Column("ParamKind", _parameter_kind),
        AGE,
    ),
    (_ADMISSION, "mutatingadmissionpolicybindings"): _POLICY_BINDING,
    (_ADMISSION, "mutatingwebhookconfigurations"): _WEBHOOKS,
    (_ADMISSION, "validatingadmissionpolicies"): (
        NAME,
        Column("Validations", _length("spec", "validations"), type="integer"),
        Column("ParamKind", _parameter_kind),
        AGE,
    ),
    (_ADMISSION, "validatingadmissionpolicybindings"): _POLICY_BINDING,
    (_ADMISSION, "validatingwebhookconfigurations"): _WEBHOOKS,
    ("apiregistration.k8s.io", "apiservices"): (
        NAME,
        Column("Service", _service),
        Column("Available", _available),
        AGE,
    ),
    (_CERTIFICATES, "certificatesigningrequests"): (
        NAME,
        AGE,
        text("SignerName", "spec", "signerName"),
        text("Requestor", "spec", "username", default=""),
        Column("RequestedDuration", _asked_for),
        Column("Condition", _decision),
    ),
    (_CERTIFICATES, "clustertrustbundles"): (NAME, text("SignerName", "spec", "signerName")),
    (_CERTIFICATES, "podcertificaterequests"): (
        NAME,
        text("PodName", "spec", "podName", default=""),
        text("ServiceAccountName", "spec", "serviceAccountName", default=""),
        text("NodeName", "spec", "nodeName", default=""),
        text("SignerName", "spec", "signerName", default=""),
        Column("State", _issued),
        Column(
            "UnverifiedUserAnnotations",
            lambda obj, _: labels(spec(obj).get("unverifiedUserAnnotations")),
        ),
    ),
    (_FLOW, "flowschemas"): (
        NAME,
        text("PriorityLevel", "spec", "priorityLevelConfiguration", "name", default=""),
        Column("MatchingPrecedence", at("spec", "matchingPrecedence", default=0)),
        text("DistinguisherMethod", "spec", "distinguisherMethod", "type"),
        AGE,
        Column("MissingPL", _dangling),
    ),
    (_FLOW, "prioritylevelconfigurations"): (
        NAME,
        text("Type", "spec", "type", default=""),
        text("NominalConcurrencyShares", "spec", "limited", "nominalConcurrencyShares"),
        text("Queues", *_QUEUING, "queues"),
        text("HandSize", *_QUEUING, "handSize"),
        text("QueueLengthLimit", *_QUEUING, "queueLengthLimit"),
        AGE,
    ),
    ("networking.k8s.io", "ipaddresses"): (NAME, Column("ParentRef", _parent)),
    ("networking.k8s.io", "servicecidrs"): (
        NAME,
        Column("CIDRs", lambda obj, _: joined(spec(obj).get("cidrs") or (), "")),
        AGE,
    ),
    ("node.k8s.io", "runtimeclasses"): (NAME, text("Handler", "handler", default=""), AGE),
    (_RESOURCE, "deviceclasses"): (NAME, AGE),
    (_RESOURCE, "devicetaintrules"): (
        NAME,
        text("Key", *_TAINT, "key", default=""),
        text("Value", *_TAINT, "value", default=""),
        text("Effect", *_TAINT, "effect", default=""),
        Column("TimeAdded", lambda obj, now: age((spec(obj).get("taint") or {}).get("timeAdded"), now)),
        AGE,
    ),
    (_RESOURCE, "resourceclaims"): (NAME, Column("State", _claimed), AGE),
    (_RESOURCE, "resourceclaimtemplates"): (NAME, AGE),
    (_RESOURCE, "resourceslices"): (
        NAME,
        text("Node", "spec", "nodeName", default=""),
        text("Driver", "spec", "driver", default=""),
        text("Pool", "spec", "pool", "name", default=""),
        AGE,
    ),
    (_STORAGE, "csidrivers"): (
        NAME,
        Column("AttachRequired", at("spec", "attachRequired", default=True), type="boolean"),
        Column("PodInfoOnMount", at("spec", "podInfoOnMount", default=False), type="boolean"),
        Column("StorageCapacity", at("spec", "storageCapacity", default=False), type="boolean"),
        Column("TokenRequests", _audiences),
        Column("RequiresRepublish", at("spec", "requiresRepublish", default=False), type="boolean"),
        Column("Modes", lambda obj, _: joined(spec(obj).get("volumeLifecycleModes") or ())),
        AGE,
    ),
    (_STORAGE, "csinodes"): (NAME, Column("Drivers", _length("spec", "drivers"), type="integer"), AGE),
    (_STORAGE, "csistoragecapacities"): (NAME, CREATED_AT),
    (_STORAGE, "volumeattachments"): (
        NAME,
        Column("Attacher", at("spec", "attacher", default=""), format="name"),
        text("PV", "spec", "source", "persistentVolumeName", default=""),
        text("Node", "spec", "nodeName", default=""),
        Column("Attached", at("status", "attached", default=False), type="boolean"),
        AGE,
    ),
    (_STORAGE, "volumeattributesclasses"): (NAME, text("DriverName", "driverName", default=""), AGE),
    ("storagemigration.k8s.io", "storageversionmigrations"): (
        Column("Name", lambda obj, _: meta(obj)["name"]),
        Column("Resource", _migrated_resource),
        Column("Status", lambda obj, _: (_true(obj, *_MIGRATED) or ["Unknown"])[-1]),
    ),
}
"""Columns by group and plural."""
