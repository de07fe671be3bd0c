"""One object of every kind that requests can be about, by the path it is created at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from informers.objects import Object
from tests.sandbox.http.content.test_bodies import DEFINITION

_META: Object = {"name": "x", "resourceVersion": "", "labels": {"a": "b"}, "annotations": {"a": "b"}}
_CONTAINER = {
    "name": "c",
    "image": "i",
    "resources": {"limits": {"cpu": "1"}},
    "ports": [{"containerPort": 1}],
}
_POD = {"containers": [_CONTAINER], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]}
_SELECTOR = {"matchLabels": {"a": "b"}}
_TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": _POD}
_RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
_SCALED = {"scaleTargetRef": {"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"}, "maxReplicas": 2}


def an_object(kind: str, version: str = "v1", **fields: Any) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": _META, **fields}


IN = "/namespaces/default"
OBJECTS: dict[str, Object] = {
    f"/api/v1{IN}/configmaps": an_object("ConfigMap", data={"a": "b"}, binaryData={"b": "YQ=="}),
    f"/api/v1{IN}/secrets": an_object("Secret", data={"a": "YQ=="}, type="Opaque"),
    f"/api/v1{IN}/pods": an_object("Pod", spec=_POD),
    f"/api/v1{IN}/services": an_object("Service", spec={"ports": [{"port": 80, "targetPort": "http"}]}),
    f"/api/v1{IN}/events": an_object("Event", involvedObject={"namespace": "default"}, count=1),
    f"/api/v1{IN}/resourcequotas": an_object("ResourceQuota", spec={"hard": {"pods": "1"}}),
    f"/api/v1{IN}/limitranges": an_object(
        "LimitRange", spec={"limits": [{"type": "Container", "max": {"cpu": "1"}}]}
    ),
    f"/api/v1{IN}/persistentvolumeclaims": an_object(
        "PersistentVolumeClaim",
        spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    ),
    f"/apis/apps/v1{IN}/deployments": an_object(
        "Deployment",
        "apps/v1",
        spec={
            "replicas": 1,
            "selector": _SELECTOR,
            "template": _TEMPLATE,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "1%"},
            },
        },
    ),
    f"/apis/apps/v1{IN}/statefulsets": an_object(
        "StatefulSet", "apps/v1", spec={"selector": _SELECTOR, "template": _TEMPLATE, "serviceName": "x"}
    ),
    f"/apis/apps/v1{IN}/daemonsets": an_object(
        "DaemonSet",
        "apps/v1",
        spec={
            "selector": _SELECTOR,
            "template": _TEMPLATE,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
        },
    ),
    f"/apis/policy/v1{IN}/poddisruptionbudgets": an_object(
        "PodDisruptionBudget", "policy/v1", spec={"minAvailable": "50%", "selector": _SELECTOR}
    ),
    f"/apis/batch/v1{IN}/cronjobs": an_object(
        "CronJob",
        "batch/v1",
        spec={
            "schedule": "1 * * * *",
            "jobTemplate": {"spec": {"template": {"spec": {**_POD, "restartPolicy": "Never"}}}},
        },
    ),
    f"/apis/autoscaling/v2{IN}/horizontalpodautoscalers": an_object(
        "HorizontalPodAutoscaler", "autoscaling/v2", spec=_SCALED
    ),
    f"/apis/networking.k8s.io/v1{IN}/networkpolicies": an_object(
        "NetworkPolicy",
        "networking.k8s.io/v1",
        spec={"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
    ),
    f"/apis/rbac.authorization.k8s.io/v1{IN}/roles": an_object(
        "Role", "rbac.authorization.k8s.io/v1", rules=_RULES
    ),
    f"/apis/coordination.k8s.io/v1{IN}/leases": an_object(
        "Lease",
        "coordination.k8s.io/v1",
        spec={"leaseDurationSeconds": 1, "renewTime": "2026-01-01T00:00:00.000000Z"},
    ),
    f"/apis/networking.k8s.io/v1{IN}/ingresses": an_object(
        "Ingress",
        "networking.k8s.io/v1",
        spec={
            "defaultBackend": {"service": {"name": "x", "port": {"number": 1}}},
            "rules": [{"host": "a.b"}],
        },
    ),
    f"/apis/batch/v1{IN}/jobs": an_object(
        "Job", "batch/v1", spec={"template": {"spec": {**_POD, "restartPolicy": "Never"}}, "completions": 1}
    ),
    "/apis/certificates.k8s.io/v1/certificatesigningrequests": an_object(
        "CertificateSigningRequest",
        "certificates.k8s.io/v1",
        spec={"request": "YQ==", "signerName": "a.io/b", "usages": ["client auth"], "expirationSeconds": 600},
    ),
    "/apis/scheduling.k8s.io/v1/priorityclasses": an_object("PriorityClass", "scheduling.k8s.io/v1", value=1),
    "/apis/storage.k8s.io/v1/storageclasses": an_object(
        "StorageClass", "storage.k8s.io/v1", provisioner="a.io/b", parameters={"a": "b"}
    ),
    "/api/v1/persistentvolumes": an_object(
        "PersistentVolume",
        spec={"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/a"}},
    ),
    "/api/v1/namespaces": an_object("Namespace", spec={"finalizers": ["kubernetes"]}),
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions": DEFINITION,
    f"/apis/bodies.test/v1{IN}/gadgets": an_object("Gadget", "bodies.test/v1", spec={"a": [1, {"b": None}]}),
    "/apis/authentication.k8s.io/v1/tokenreviews": an_object(
        "TokenReview", "authentication.k8s.io/v1", spec={"token": "a"}
    ),
    "/apis/authorization.k8s.io/v1/subjectaccessreviews": an_object(
        "SubjectAccessReview",
        "authorization.k8s.io/v1",
        spec={"user": "u", "resourceAttributes": {"verb": "get", "resource": "pods"}},
    ),
    f"/api/v1{IN}/serviceaccounts/default/token": an_object(
        "TokenRequest", "authentication.k8s.io/v1", spec={"expirationSeconds": 600, "audiences": ["a"]}
    ),
    f"/api/v1{IN}/pods/x/eviction": an_object(
        "Eviction", "policy/v1", deleteOptions={"gracePeriodSeconds": 0}
    ),
    f"/api/v1{IN}/pods/x/binding": an_object("Binding", target={"kind": "Node", "name": "n"}),
}

_NOT_AT_FIRST = ("/pods/", "gadgets", "certificatesigningrequests", "reviews", "/token")
"""Kinds that are not served yet or not stored, and objects that need others or are refused."""


def at_first() -> Iterator[Object]:
    """Objects that a server begins with, so that requests find something."""
    for path, obj in OBJECTS.items():
        if any(one in path for one in _NOT_AT_FIRST):
            continue
        namespace = {"namespace": "default"} if IN in path else {}
        yield {**obj, "metadata": {**obj["metadata"], **namespace}}
