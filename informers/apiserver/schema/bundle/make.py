"""Writes the bundle of built-in schemas out of a running kube-apiserver's ``/openapi/v3``.

For developers, when the bundle moves to another minor version (``VERSION`` beside this file)::

    python -m informers.apiserver.schema.bundle.make KUBECONFIG

Of each document the components are taken that the kinds named here refer to. They are kept as served,
but for what :func:`normal` says; the same server always gives the same bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from informers.apiserver.schema.bundle import VERSION
from informers.client import Client, HttpTransport, load_kubeconfig

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_REFERENCE = "#/components/schemas/"
_GVK = "x-kubernetes-group-version-kind"

KINDS: Mapping[str, tuple[str, str]] = {
    "api": (_META, "APIVersions"),
    "apis": (_META, "APIGroupList"),
    "api/v1": (
        "io.k8s.api.core.v1.",
        "Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume "
        "PersistentVolumeClaim Pod PodTemplate ReplicationController ResourceQuota Secret Service "
        "ServiceAccount",
    ),
    "apis/admissionregistration.k8s.io/v1": (
        "io.k8s.api.admissionregistration.v1.",
        "MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration "
        "ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration",
    ),
    "apis/apiextensions.k8s.io/v1": (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.",
        "CustomResourceDefinition",
    ),
    "apis/apiregistration.k8s.io/v1": (
        "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.",
        "APIService",
    ),
    "apis/apps/v1": (
        "io.k8s.api.apps.v1.",
        "ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet",
    ),
    # TokenRequest is a subresource of service accounts: it stands in the core document.
    "apis/authentication.k8s.io/v1": (
        "io.k8s.api.authentication.v1.",
        "SelfSubjectReview TokenRequest TokenReview",
    ),
    "apis/authorization.k8s.io/v1": (
        "io.k8s.api.authorization.v1.",
        "LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview",
    ),
    "apis/autoscaling/v1": ("io.k8s.api.autoscaling.v1.", "HorizontalPodAutoscaler Scale"),
    "apis/autoscaling/v2": ("io.k8s.api.autoscaling.v2.", "HorizontalPodAutoscaler"),
    "apis/batch/v1": ("io.k8s.api.batch.v1.", "CronJob Job"),
    "apis/certificates.k8s.io/v1": (
        "io.k8s.api.certificates.v1.",
        "CertificateSigningRequest ClusterTrustBundle PodCertificateRequest",
    ),
    "apis/coordination.k8s.io/v1": ("io.k8s.api.coordination.v1.", "Lease"),
    "apis/discovery.k8s.io/v1": ("io.k8s.api.discovery.v1.", "EndpointSlice"),
    "apis/events.k8s.io/v1": ("io.k8s.api.events.v1.", "Event"),
    "apis/flowcontrol.apiserver.k8s.io/v1": (
        "io.k8s.api.flowcontrol.v1.",
        "FlowSchema PriorityLevelConfiguration",
    ),
    "apis/networking.k8s.io/v1": (
        "io.k8s.api.networking.v1.",
        "IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR",
    ),
    "apis/node.k8s.io/v1": ("io.k8s.api.node.v1.", "RuntimeClass"),
    "apis/policy/v1": ("io.k8s.api.policy.v1.", "Eviction PodDisruptionBudget"),
    "apis/rbac.authorization.k8s.io/v1": (
        "io.k8s.api.rbac.v1.",
        "ClusterRole ClusterRoleBinding Role RoleBinding",
    ),
    "apis/resource.k8s.io/v1": (
        "io.k8s.api.resource.v1.",
        "DeviceClass DeviceTaintRule ResourceClaim ResourceClaimTemplate ResourceSlice",
    ),
    "apis/scheduling.k8s.io/v1": ("io.k8s.api.scheduling.v1.", "PriorityClass"),
    "apis/storage.k8s.io/v1": (
        "io.k8s.api.storage.v1.",
        "CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass",
    ),
    "apis/storagemigration.k8s.io/v1": ("io.k8s.api.storagemigration.v1.", "StorageVersionMigration"),
}
"""The documents that are read, and the package and kinds wanted of each."""

ROOTS = (
    *(package + kind for package, kinds in KINDS.values() for kind in kinds.split()),
    *(_META + kind for kind in ("APIResourceList", "DeleteOptions", "ListMeta", "Status")),
)
"""The components wanted; they bring what they refer to."""

# What OpenAPI 3.0 cannot say, or says differently from how a server treats them.
_ANYTHING: dict[str, Any] = {"x-kubernetes-preserve-unknown-fields": True}
_SPECIAL: dict[str, dict[str, Any]] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"x-kubernetes-int-or-string": True},
    "io.k8s.apimachinery.pkg.runtime.RawExtension": {"type": "object", **_ANYTHING},
    _META + "FieldsV1": {"type": "object", **_ANYTHING},
    **{
        f"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.{name}": _ANYTHING
        for name in (
            "JSON",
            "JSONSchemaPropsOrArray",
            "JSONSchemaPropsOrBool",
            "JSONSchemaPropsOrStringArray",
        )
    },
}


async def documents(client: Client) -> dict[str, Any]:
    """The OpenAPI v3 documents the bundle is made of, by their path below ``/openapi/v3/``.

    :raises informers.errors.ApiError: a document is not served.
    """
    return {name: await client.raw("GET", f"/openapi/v3/{name}") for name in KINDS}


async def served_version(client: Client) -> str:
    """The server's minor version, such as ``1.37``."""
    found = await client.raw("GET", "/version")
    # Some distributions write the minor version as "37+".
    return f"{found['major']}.{found['minor'].rstrip('+')}"


def merged(served: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The components of several documents by name.

    Each document lists its own group alone on what is served in every group, such as DeleteOptions:
    those lists are joined.

    :raises ValueError: two documents say different things about one component.
    """
    result: dict[str, Any] = {}
    for document in served:
        for name, schema in (document.get("components") or {}).get("schemas", {}).items():
            before = result.setdefault(name, schema)
            if {**before, _GVK: None} != {**schema, _GVK: None}:
                raise ValueError(f"two documents differ in {name}")
            kinds = before.get(_GVK) or []
            more = [kind for kind in schema.get(_GVK) or [] if kind not in kinds]
            if more:
                result[name] = {**before, _GVK: [*kinds, *more]}
    return result


def normal(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A fragment as the compiler of schemas expects it.

    - A reference with something beside it is served as an ``allOf`` of one; here both stand together.
    - A default that is the zero value of its Go type (``{}``, ``""``, ``0``, ``false``) is dropped: a
      server gets it by decoding into that type, and leaves most of them out again when it encodes.
    """
    result = dict(schema)
    if result.get("properties"):
        result["properties"] = {key: normal(one) for key, one in result["properties"].items()}
    for word in ("items", "additionalProperties"):
        if isinstance(result.get(word), Mapping):
            result[word] = normal(result[word])
    if len(result.get("allOf") or ()) == 1:
        result.update(result.pop("allOf")[0])
    if not result.get("default", True):
        del result["default"]
    return result


def definition(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """One definition of the bundle."""
    if name in _SPECIAL:
        return {"description": schema.get("description", ""), **_SPECIAL[name]}
    result = normal(schema)
    if len(result.get(_GVK) or ()) > 1:
        # Served in every group: the list would be longer than the definition.
        del result[_GVK]
    return result


def references(value: Any) -> set[str]:
    """The names of all definitions a fragment refers to."""
    if isinstance(value, list):
        return set().union(*map(references, value))
    if not isinstance(value, dict):
        return set()
    found = set().union(*map(references, value.values()))
    if isinstance(value.get("$ref"), str):
        found.add(value["$ref"].removeprefix(_REFERENCE))
    return found


def bundle(served: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The definitions reachable from the roots, by name.

    :param served: OpenAPI v3 documents.
    :raises KeyError: a component is in none of them.
    """
    components = merged(served)
    result: dict[str, Any] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if name not in result:
            result[name] = definition(name, components[name])
            waiting.extend(references(result[name]))
    return dict(sorted(result.items()))


def packed(definitions: Mapping[str, Any]) -> bytes:
    """The content of the bundle's file: the same bytes for the same definitions."""
    text = json.dumps(definitions, separators=(",", ":"), sort_keys=True)
    return gzip.compress(text.encode(), 9, mtime=0)


async def write(kubeconfig: str) -> None:
    """Write the bundle beside this file.

    :param kubeconfig: of a server of the bundle's version; whoever is authenticated may read what is needed.
    """
    client = Client(HttpTransport(load_kubeconfig(kubeconfig)))
    try:
        found = await served_version(client)
        if found != VERSION:
            raise SystemExit(f"the server is {found}, and the bundle's VERSION is {VERSION}")
        content = packed(bundle((await documents(client)).values()))
    finally:
        await client.close()
    await asyncio.to_thread(Path(__file__).with_name(f"builtin-{VERSION}.json.gz").write_bytes, content)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m informers.apiserver.schema.bundle.make")
    parser.add_argument("kubeconfig", help=f"of a kube-apiserver {VERSION}")
    asyncio.run(write(parser.parse_args().kubeconfig))


if __name__ == "__main__":
    main()
