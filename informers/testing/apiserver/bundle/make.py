"""Writes the bundle of built-in schemas. For developers, when it moves to another minor version.

::

    python -m venv throwaway && throwaway/bin/pip install kubernetes-validate
    throwaway/bin/python informers/testing/apiserver/bundle/make.py throwaway/lib/python3.*/site-packages

The package carries the OpenAPI definitions of Kubernetes, list types and merge keys included, in
JSON-Schema dress. What is written is the OpenAPI v3 form of the kinds the embedded server knows.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

VERSION = "1.37"

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_SOURCE = "#/$defs/"
_TARGET = "#/components/schemas/"
_GVK = "x-kubernetes-group-version-kind"

_CORE = (
    "Binding ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume PersistentVolumeClaim Pod "
    "PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount"
)
ROOTS = [
    *(f"io.k8s.api.core.v1.{kind}" for kind in _CORE.split()),
    *(
        f"io.k8s.api.apps.v1.{kind}"
        for kind in ("ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet")
    ),
    *(f"io.k8s.api.batch.v1.{kind}" for kind in ("CronJob", "Job")),
    *(f"io.k8s.api.policy.v1.{kind}" for kind in ("Eviction", "PodDisruptionBudget")),
    *(f"io.k8s.api.rbac.v1.{kind}" for kind in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")),
    *(f"io.k8s.api.networking.v1.{kind}" for kind in ("Ingress", "IngressClass", "NetworkPolicy")),
    *(
        f"io.k8s.api.authorization.v1.{kind}"
        for kind in (
            "LocalSubjectAccessReview",
            "SelfSubjectAccessReview",
            "SelfSubjectRulesReview",
            "SubjectAccessReview",
        )
    ),
    "io.k8s.api.authentication.v1.SelfSubjectReview",
    "io.k8s.api.authentication.v1.TokenRequest",
    "io.k8s.api.authentication.v1.TokenReview",
    "io.k8s.api.autoscaling.v1.Scale",
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    "io.k8s.api.coordination.v1.Lease",
    "io.k8s.api.discovery.v1.EndpointSlice",
    "io.k8s.api.events.v1.Event",
    "io.k8s.api.scheduling.v1.PriorityClass",
    "io.k8s.api.storage.v1.StorageClass",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    *(
        _META + kind
        for kind in ("APIGroupList", "APIResourceList", "APIVersions", "DeleteOptions", "ListMeta", "Status")
    ),
]

# The source derives from OpenAPI v2, which has no defaults. These two belong to list-map keys, so without
# them field ownership would be recorded under other keys than on a real server.
_DEFAULTS = {
    ("io.k8s.api.core.v1.ContainerPort", "protocol"): "TCP",
    ("io.k8s.api.core.v1.ServicePort", "protocol"): "TCP",
}
# Definitions that JSON Schema cannot say, or says differently from how a server treats them.
_SPECIAL: dict[str, dict[str, Any]] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"x-kubernetes-int-or-string": True},
    "io.k8s.apimachinery.pkg.runtime.RawExtension": {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
    },
    _META + "FieldsV1": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    **{
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1." + name: {
            "x-kubernetes-preserve-unknown-fields": True
        }
        for name in (
            "JSON",
            "JSONSchemaPropsOrArray",
            "JSONSchemaPropsOrBool",
            "JSONSchemaPropsOrStringArray",
        )
    },
}


def convert(value: Any) -> Any:
    """The OpenAPI v3 form of a JSON-Schema fragment: no nulls in types, references to components."""
    if isinstance(value, list):
        return [convert(one) for one in value]
    if not isinstance(value, dict):
        return value
    result = {key: convert(one) for key, one in value.items()}
    if isinstance(result.get("$ref"), str):
        result["$ref"] = _TARGET + result["$ref"].removeprefix(_SOURCE)
    kinds = result.get("type")
    if isinstance(kinds, list):
        real = [kind for kind in kinds if kind != "null"]
        if len(real) == 1:
            result["type"] = real[0]
    if isinstance(result.get("enum"), list):
        result["enum"] = [one for one in result["enum"] if one is not None]
    return result


def definition(name: str, source: dict[str, Any]) -> dict[str, Any]:
    """One definition of the bundle."""
    result: dict[str, Any] = convert(source)
    if name in _SPECIAL:
        return {"description": result.get("description", ""), **_SPECIAL[name]}
    for field, schema in result.get("properties", {}).items():
        if field in ("apiVersion", "kind") and _GVK in result:
            schema.pop("enum", None)
        if (name, field) in _DEFAULTS:
            schema["default"] = _DEFAULTS[name, field]
    if len(result.get(_GVK, ())) > 1:
        # Served in every group, such as DeleteOptions: the list would be longer than the definition.
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
        found.add(value["$ref"].removeprefix(_TARGET))
    return found


def bundle(source: dict[str, Any]) -> dict[str, Any]:
    """The definitions reachable from the roots."""
    result: dict[str, Any] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if name not in result:
            result[name] = definition(name, source[name])
            waiting.extend(references(result[name]))
    return dict(sorted(result.items()))


def main(packages: str) -> None:
    """Write the bundle beside this file.

    :param packages: the ``site-packages`` directory that holds ``kubernetes_validate``.
    """
    folder = Path(packages) / "kubernetes_validate" / "kubernetes-json-schema"
    definitions = json.loads((folder / f"v{VERSION}.0-local" / "_definitions.json").read_text())["$defs"]
    text = json.dumps(bundle(definitions), separators=(",", ":"), sort_keys=True)
    target = Path(__file__).with_name(f"builtin-{VERSION}.json.gz")
    target.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main(sys.argv[1])
