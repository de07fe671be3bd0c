"""Scenarios on the kinds that nothing in a bare server acts on: certificates, policies, devices, storage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from informers.objects import Object
from tests.informers.apiserver.scenarios.builtin_objects import builtin
from tests.informers.apiserver.scenarios.steps import Step

_ADMISSION = "admissionregistration.k8s.io/v1"
_CERTIFICATES = "certificates.k8s.io/v1"
_FLOW = "flowcontrol.apiserver.k8s.io/v1"
_RESOURCE = "resource.k8s.io/v1"
_STORAGE = "storage.k8s.io/v1"
_SIGNER = "example.com/signer"

# Requests for certificates, in PEM and that in base64: of O=people, and of O=system:masters.
_REQUEST = (
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIYU1JR0JBZ0VBTUI4eER6QU5CZ05WQkFvTUJuQmxiM0J"
    "zWlRFTU1Bb0dBMVVFQXd3RFlXNXVNRmt3RXdZSApLb1pJemowQ0FRWUlLb1pJemowREFRY0RRZ0FFTG4xZmxQTG4zSno5L1"
    "lhcGplU2xFSjRRMFhnTnFBL1hMMGNLCk5CZ2FTaGd3VGRZWERoei9yNmN4MnJmbTVianVQNzBHM2ppWGw5NGMxOVRVRnhjO"
    "Gg2QUFNQW9HQ0NxR1NNNDkKQkFNQ0EwZ0FNRVVDSVFDZDRzMXRCcEhvR2YzSlBYNHdZL1ZrbFhQNXp5MXk5SFkrcGNPTFBQ"
    "cktEUUlnTnlzKwo5ZXJFL1F0SlZRaldQZUl4eTVrUTc5eTcvQ3cvRVRUTDlCaDBHV289Ci0tLS0tRU5EIENFUlRJRklDQVR"
    "FIFJFUVVFU1QtLS0tLQo="
)
_MASTERS = (
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIaU1JR0pBZ0VBTUNjeEZ6QVZCZ05WQkFvTURuTjVjM1J"
    "sYlRwdFlYTjBaWEp6TVF3d0NnWURWUVFEREFOaApibTR3V1RBVEJnY3Foa2pPUFFJQkJnZ3Foa2pPUFFNQkJ3TkNBQVNkdW"
    "s0aTVFbS9ZZ3JadE9HRmNVYWZ6dUpuClU4ekIrL001SHhuVldqdzkzTlV5K1NtQjM1UWtPaWJwS1JXMi9jdDhSS3d2TmVXQ"
    "082YStTWHgxVlc3dm9BQXcKQ2dZSUtvWkl6ajBFQXdJRFNBQXdSUUloQUpQSW1QcHczdTFKRmRvb1dQT1FBMlFpOGwrZCtr"
    "RFJMMm9oOW5iVQpoL3Q5QWlBNVBqNW0xT2ZQTVVISnM0eXc1bUo4NFF4aWtBMTM5NGJnYjFOQTZyaGNSdz09Ci0tLS0tRU5"
    "EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo="
)


# Ends in a hundred years.
_AUTHORITY = """\
-----BEGIN CERTIFICATE-----
MIIBcDCCARegAwIBAgIUekSn7CPttJeiS0tlI0Oa5cTvOmswCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCY2EwIBcNMjYxMTMwMTUxNDI5WhgPMjEyNjExMDYxNTE0Mjla
MA0xCzAJBgNVBAMMAmNhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEgyoI6rnd
0cB3dmRHjAdwAvguzxrl12FEWnj1k8yc1vshj31AU1nA1avm5NwuWtL/X22/NbTx
9vhwd6QWfjUkMaNTMFEwHQYDVR0OBBYEFMCQzUqf/4gicitz2AqzSn6qbTwLMB8G
A1UdIwQYMBaAFMCQzUqf/4gicitz2AqzSn6qbTwLMA8GA1UdEwEB/wQFMAMBAf8w
CgYIKoZIzj0EAwIDRwAwRAIgDsVJrFtHtEbeW+OejAnl6GMt9AinbGOJGecZqN+/
K60CIGtNpo7xZaGAlytHqrb26nYNlXYasa0oNu+wT/w8NEAN
-----END CERTIFICATE-----
"""


def request(**spec: Any) -> Object:
    """A CertificateSigningRequest."""
    base = {"request": _REQUEST, "signerName": _SIGNER, "usages": ["client auth"]}
    return builtin(_CERTIFICATES, "CertificateSigningRequest", spec=base | spec)


def condition(kind: str, value: str = "True") -> Object:
    """A condition with its times given, so that answers can be compared."""
    times = {"lastUpdateTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    return {"type": kind, "status": value, "reason": "Asked", "message": "m", **times}


def policy(**spec: Any) -> Object:
    """A ValidatingAdmissionPolicy."""
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["deployments"],
    }
    base = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "true"}]}
    return builtin(_ADMISSION, "ValidatingAdmissionPolicy", spec=base | spec)


def devices(*requests: Object) -> Object:
    """What a claim asks for."""
    return {"devices": {"requests": list(requests)}}


_EXACTLY: Object = {"name": "r", "exactly": {"deviceClassName": "gpu"}}
_EITHER: Object = {"name": "r", "firstAvailable": [{"name": "s", "deviceClassName": "gpu"}]}
_TARGET = {"scaleTargetRef": {"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"}}
_PARENT = {"parentRef": {"resource": "services", "namespace": "default", "name": "x"}}
_SOURCE = {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "v"}}

CREATED: dict[str, Object] = {
    "csr": request(expirationSeconds=3600, username="someone", groups=["else"]),
    "csr of anything": request(request="QUJD", usages=[], signerName=""),
    "csr with strange words": request(usages=["odd", "odd"], expirationSeconds=1, signerName="odd"),
    "csr of masters": request(request=_MASTERS, signerName="kubernetes.io/kube-apiserver-client"),
    "trust bundle": builtin(_CERTIFICATES, "ClusterTrustBundle", spec={"trustBundle": _AUTHORITY}),
    "trust bundle of a signer": {
        **builtin(
            _CERTIFICATES, "ClusterTrustBundle", spec={"trustBundle": _AUTHORITY, "signerName": _SIGNER}
        ),
        "metadata": {"name": "example.com:signer:x"},
    },
    "trust bundle of another name": builtin(
        _CERTIFICATES, "ClusterTrustBundle", spec={"trustBundle": _AUTHORITY, "signerName": _SIGNER}
    ),
    "trust bundle of nothing": builtin(_CERTIFICATES, "ClusterTrustBundle", spec={"trustBundle": "x"}),
    "policy": policy(),
    "policy without rules": builtin(_ADMISSION, "ValidatingAdmissionPolicy", spec={}),
    "mutating webhooks, none": builtin(_ADMISSION, "MutatingWebhookConfiguration"),
    "validating webhooks, none": builtin(_ADMISSION, "ValidatingWebhookConfiguration", webhooks=[]),
    "flow schema": builtin(_FLOW, "FlowSchema", spec={"priorityLevelConfiguration": {"name": "p"}}),
    "flow schema that nothing precedes": builtin(
        _FLOW,
        "FlowSchema",
        spec={"priorityLevelConfiguration": {"name": "p"}, "matchingPrecedence": 10_001},
    ),
    "priority level": builtin(
        _FLOW,
        "PriorityLevelConfiguration",
        spec={"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}},
    ),
    "priority level that rejects": builtin(
        _FLOW,
        "PriorityLevelConfiguration",
        spec={"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}},
    ),
    "priority level of no type": builtin(_FLOW, "PriorityLevelConfiguration", spec={"type": "Odd"}),
    "priority level without limits": builtin(_FLOW, "PriorityLevelConfiguration", spec={"type": "Limited"}),
    "ip address": {
        **builtin("networking.k8s.io/v1", "IPAddress", spec=_PARENT),
        "metadata": {"name": "192.168.7.7"},
    },
    "ip address of another name": builtin("networking.k8s.io/v1", "IPAddress", spec=_PARENT),
    "ip address of nothing": {
        **builtin("networking.k8s.io/v1", "IPAddress", spec={}),
        "metadata": {"name": "192.168.7.7"},
    },
    "runtime class": builtin("node.k8s.io/v1", "RuntimeClass", handler="runsc"),
    "runtime class with overhead": builtin(
        "node.k8s.io/v1", "RuntimeClass", handler="runsc", overhead={"podFixed": {"cpu": "1000m"}}
    ),
    "runtime class of no handler": builtin("node.k8s.io/v1", "RuntimeClass", handler=""),
    "runtime class of a strange handler": builtin("node.k8s.io/v1", "RuntimeClass", handler="A_b"),
    "device class": builtin(_RESOURCE, "DeviceClass", spec={}),
    "resource claim": builtin(_RESOURCE, "ResourceClaim", spec=devices(_EXACTLY)),
    "resource claim of either": builtin(_RESOURCE, "ResourceClaim", spec=devices(_EITHER)),
    "resource claim of nothing": builtin(_RESOURCE, "ResourceClaim", spec={}),
    "resource claim template": builtin(_RESOURCE, "ResourceClaimTemplate", spec={"spec": devices(_EXACTLY)}),
    "resource slice": builtin(
        _RESOURCE,
        "ResourceSlice",
        spec={
            "driver": "gpu.example.com",
            "nodeName": "n",
            "pool": {"name": "n", "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "d"}],
        },
    ),
    "priority class": builtin("scheduling.k8s.io/v1", "PriorityClass", value=7),
    "priority class of the system": {
        **builtin("scheduling.k8s.io/v1", "PriorityClass", value=7),
        "metadata": {"name": "system-x"},
    },
    "priority class that is too high": builtin("scheduling.k8s.io/v1", "PriorityClass", value=1_000_000_001),
    "priority class that preempts oddly": builtin(
        "scheduling.k8s.io/v1", "PriorityClass", value=7, preemptionPolicy="Odd"
    ),
    "csi driver": builtin(_STORAGE, "CSIDriver", spec={}),
    "csi node": builtin(
        _STORAGE, "CSINode", spec={"drivers": [{"name": "d", "nodeID": "n", "topologyKeys": ["zone"]}]}
    ),
    "csi node without id": builtin(_STORAGE, "CSINode", spec={"drivers": [{"name": "d", "nodeID": ""}]}),
    "csi capacity": builtin(_STORAGE, "CSIStorageCapacity", storageClassName="fast", capacity="1024Mi"),
    "csi capacity of no class": builtin(_STORAGE, "CSIStorageCapacity", storageClassName="A_b"),
    "attachment": builtin(_STORAGE, "VolumeAttachment", spec=_SOURCE),
    "attachment of nothing": builtin(
        _STORAGE, "VolumeAttachment", spec={"attacher": "", "nodeName": "", "source": {}}
    ),
    "attributes class": builtin(_STORAGE, "VolumeAttributesClass", driverName="d", parameters={"a": "b"}),
    "attributes class of nothing": builtin(_STORAGE, "VolumeAttributesClass", driverName=""),
    "migration": builtin(
        "storagemigration.k8s.io/v1",
        "StorageVersionMigration",
        spec={"resource": {"group": "apps", "resource": "deployments"}},
    ),
    "migration of nothing": builtin("storagemigration.k8s.io/v1", "StorageVersionMigration", spec={}),
    "autoscaler v1": builtin("autoscaling/v1", "HorizontalPodAutoscaler", spec={**_TARGET, "maxReplicas": 3}),
    "autoscaler v1 of half": builtin(
        "autoscaling/v1",
        "HorizontalPodAutoscaler",
        spec={**_TARGET, "minReplicas": 2, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50},
    ),
    "autoscaler that cannot be": builtin(
        "autoscaling/v2", "HorizontalPodAutoscaler", spec={**_TARGET, "minReplicas": 3, "maxReplicas": 2}
    ),
    "autoscaler of nothing": builtin(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        spec={"scaleTargetRef": {"kind": "", "name": ""}, "maxReplicas": 0},
    ),
}

CHANGED: dict[str, tuple[Object, Object]] = {
    "csr": (request(), {"spec": {"signerName": "example.com/other"}, "metadata": {"labels": {"a": "b"}}}),
    "runtime class": (CREATED["runtime class"], {"handler": "other"}),
    "resource claim": (CREATED["resource claim"], {"spec": devices(_EITHER)}),
    "priority class value": (CREATED["priority class"], {"value": 8}),
    "priority class description": (CREATED["priority class"], {"description": "d"}),
    "csi driver": (CREATED["csi driver"], {"spec": {"requiresRepublish": True}}),
    "csi capacity": (CREATED["csi capacity"], {"storageClassName": "slow"}),
    "attributes class": (CREATED["attributes class"], {"driverName": "e"}),
    "ip address": (CREATED["ip address"], {"metadata": {"labels": {"a": "b"}}}),
}


def scenarios() -> Iterator[tuple[str, list[Step]]]:
    """All of them by name."""
    for name, obj in CREATED.items():
        yield f"passive: {name}", [Step("create", obj, manager="creator", query={"dryRun": "All"})]
    for name, (before, change) in CHANGED.items():
        update = Step("merge", change, manager="changer", query={"dryRun": "All"})
        yield f"passive: {name} changes", [Step("create", before, manager="creator"), update]
    yield from _certificate_scenarios()
    yield (
        "passive: a status of its own",
        [
            Step("create", builtin(_STORAGE, "VolumeAttachment", spec=_SOURCE), manager="creator"),
            Step(
                "merge",
                {"status": {"attached": True}, "spec": {"attacher": "b"}},
                "attacher",
                subresource="status",
            ),
            Step("merge", {"status": {"attached": False}}, "attacher"),
        ],
    )


def _certificate_scenarios() -> Iterator[tuple[str, list[Step]]]:
    def decide(*conditions: Object, at: str = "approval", **status: Any) -> Step:
        return Step("merge", {"status": {"conditions": list(conditions), **status}}, "judge", subresource=at)

    create = Step("create", request(), manager="creator")
    yield (
        "passive: csr approved",
        [
            create,
            decide(condition("Approved"), at="status"),
            decide(condition("Approved", "False")),
            decide(condition("Approved"), certificate="QUJD"),
            decide(condition("Approved"), condition("Denied")),
            decide(condition("Approved"), condition("Approved")),
            decide(),
            decide(condition("Approved"), condition("Odd", "Unknown"), at="status"),
        ],
    )
    yield "passive: csr denied", [create, decide(condition("Denied")), Step("get", subresource="approval")]
