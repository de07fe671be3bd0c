"""Scenarios on built-in kinds: defaults, forms, what is allowed, what may change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from informers.objects import Object
from tests.informers.apiserver.scenarios.builtin_objects import (
    CONTAINER,
    CREATED,
    LABELS,
    RBAC,
    builtin,
    claim,
    deployment,
    service,
    stateful_set,
    template,
)
from tests.informers.apiserver.scenarios.steps import Step

MISFITS: dict[str, Object] = {
    "text for list": service(ports="x"),
    "text for number": service(ports=[{"port": "x"}]),
    "fraction for integer": service(ports=[{"port": 1.5}]),
    "too large for its type": service(ports=[{"port": 2**40}]),
    "text for struct": builtin("v1", "Service", spec="x"),
    "text for item": service(ports=["x"]),
    "list for map": {**service(), "metadata": {"name": "x", "labels": [1]}},
    "number for label": {**service(), "metadata": {"name": "x", "labels": {"a": 1}}},
    "number for text of data": builtin("v1", "ConfigMap", data={"a": 1}),
    "number for bytes": builtin("v1", "Secret", data={"a": 1}),
    "text for flag": stateful_set({**CONTAINER, "tty": "x"}),
    "number for environment": stateful_set({**CONTAINER, "env": [{"name": "A", "value": 1}]}),
    "text for replicas": stateful_set(replicas="x"),
    "flag for replicas": stateful_set(replicas=True),
    "whole number with a point": stateful_set(replicas=0.0),
}
"""What no Go type takes, or just so."""

CHANGED: dict[str, tuple[Object, Any]] = {
    "statefulset replicas": (stateful_set(), {"spec": {"minReadySeconds": 5, "revisionHistoryLimit": 3}}),
    "statefulset template": (
        stateful_set(),
        {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 5}}}},
    ),
    "statefulset service": (stateful_set(), {"spec": {"serviceName": "y"}}),
    "statefulset management": (stateful_set(), {"spec": {"podManagementPolicy": "Parallel"}}),
    "statefulset selector": (stateful_set(), {"spec": {"selector": {"matchLabels": {"app": "y"}}}}),
    "statefulset labels": (stateful_set(), {"metadata": {"labels": {"l": "1"}}}),
    "deployment selector": (deployment(), {"spec": {"selector": {"matchLabels": {"more": "y"}}}}),
    "configmap that may not change": (
        builtin("v1", "ConfigMap", data={"a": "b"}, immutable=True),
        {"data": {"a": "c"}},
    ),
    "configmap made changeable": (
        builtin("v1", "ConfigMap", data={"a": "b"}, immutable=True),
        {"immutable": False},
    ),
    "configmap no change": (builtin("v1", "ConfigMap", data={"a": "b"}), {"data": {"a": "b"}}),
    "secret type": (builtin("v1", "Secret", data={"a": "eA=="}), {"type": "other"}),
    "secret text": (builtin("v1", "Secret", data={"a": "eA=="}), {"stringData": {"b": "y"}}),
    "claim modes": (claim(), {"spec": {"accessModes": ["ReadWriteMany"]}}),
    "service address kept": (service(), {"spec": {"selector": {"a": "b"}}}),
    "service address dropped": (service(), {"spec": {"clusterIP": None, "clusterIPs": None}}),
    "service made headless": (service(), {"spec": {"clusterIP": "None", "clusterIPs": ["None"]}}),
    "service made a name": (service(), {"spec": {"type": "ExternalName", "externalName": "a.example.com"}}),
    "service opened on nodes": (service(), {"spec": {"type": "NodePort"}}),
    "service closed on nodes": (service(type="NodePort"), {"spec": {"type": "ClusterIP"}}),
    "service loses its ports": (service(), {"spec": {"ports": None}}),
    "slice type": (
        builtin("discovery.k8s.io/v1", "EndpointSlice", addressType="IPv4", endpoints=[]),
        {"addressType": "IPv6"},
    ),
    "slice endpoints": (
        builtin("discovery.k8s.io/v1", "EndpointSlice", addressType="IPv4", endpoints=[]),
        {"endpoints": [{"addresses": ["10.0.0.1"]}]},
    ),
    "binding role": (
        builtin(
            f"{RBAC}/v1", "RoleBinding", roleRef={"apiGroup": RBAC, "kind": "ClusterRole", "name": "view"}
        ),
        {"roleRef": {"name": "edit"}},
    ),
    "job template": (
        builtin(
            "batch/v1",
            "Job",
            spec={
                "suspend": True,
                "manualSelector": True,
                "completions": 2,
                "selector": {"matchLabels": LABELS},
                "template": template(restartPolicy="Never"),
            },
        ),
        {"spec": {"completions": 3}},
    ),
    "role rules": (
        builtin(f"{RBAC}/v1", "Role", rules=[]),
        {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]},
    ),
}
"""What becomes of a change, as a merge patch."""


def _applied(obj: Object, manager: str = "one", force: bool = False) -> Step:
    return Step("apply", obj, manager=manager, force=force)


NODE: Object = {
    **CONTAINER,
    "ports": [{"name": "grpc", "containerPort": 50051}, {"name": "http", "containerPort": 8080}],
    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
    "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}},
    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
}
CLAIM: Object = {
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}},
}
WHOLE = stateful_set(NODE, volumeClaimTemplates=[CLAIM])


def _stateful_scenarios() -> Iterator[tuple[str, list[Step]]]:
    yield "apply: statefulset twice", [_applied(WHOLE), _applied(WHOLE)]
    fewer = {**NODE, "env": [{"name": "B", "value": "2"}], "ports": NODE["ports"][:1]}
    yield (
        "apply: statefulset loses items",
        [_applied(WHOLE), _applied(stateful_set(fewer, volumeClaimTemplates=[CLAIM]))],
    )
    side = builtin(
        "apps/v1",
        "StatefulSet",
        spec={
            "template": {
                "metadata": {"annotations": {"restarted": "now"}},
                "spec": {"containers": [{"name": "c", "env": [{"name": "C", "value": "3"}]}]},
            }
        },
    )
    yield (
        "apply: statefulset by two",
        [
            _applied(WHOLE),
            _applied(side, "two"),
            _applied(WHOLE),
            _applied(builtin("apps/v1", "StatefulSet", spec={"replicas": 0}), "two"),
        ],
    )
    other = builtin(
        "apps/v1",
        "StatefulSet",
        spec={"template": {"spec": {"containers": [{"name": "c", "image": "i:2", "tty": False}]}}},
    )
    yield (
        "apply: statefulset conflict",
        [_applied(WHOLE), _applied(other, "two"), _applied(other, "two", force=True), _applied(WHOLE)],
    )


def _patched_scenarios() -> Iterator[tuple[str, list[Step]]]:
    restart = {"spec": {"template": {"metadata": {"annotations": {"restartedAt": "now"}}}}}
    replaced = {
        "spec": {
            "template": {
                "spec": {
                    "$setElementOrder/containers": [{"name": "c"}],
                    "containers": [{"name": "c", "env": [{"name": "A", "$patch": "delete"}], "image": "i:3"}],
                }
            }
        }
    }
    yield (
        "strategic: statefulset",
        [
            Step("create", WHOLE, manager="kubectl-create"),
            Step("strategic", restart, manager="kubectl-rollout"),
            Step("strategic", replaced, manager="kubectl-edit"),
        ],
    )
    written = {
        "metadata": {"labels": {"l": "1"}, "annotations": {"a": "1"}},
        "spec": {"selector": {"other": "x"}},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    }
    yield (
        "status: service",
        [
            Step("create", service(type="LoadBalancer"), manager="creator"),
            Step("merge", written, manager="controller", subresource="status"),
            Step("merge", {**written, "status": {}}, manager="other"),
        ],
    )


def scenarios() -> Iterator[tuple[str, list[Step]]]:
    """All of them by name."""
    for name, obj in CREATED.items():
        yield f"create: {name}", [Step("create", obj, manager="creator", query={"dryRun": "All"})]
    for name, obj in MISFITS.items():
        yield f"misfit: {name}", [Step("create", obj, manager="creator", query={"dryRun": "All"})]
    for name, (before, change) in CHANGED.items():
        update = Step("merge", change, manager="changer", query={"dryRun": "All"})
        yield f"update: {name}", [Step("create", before, manager="creator"), update]
    yield from _applied_scenarios()
    yield from _stateful_scenarios()
    yield from _patched_scenarios()
    yield from _strategic_scenarios()


def _applied_scenarios() -> Iterator[tuple[str, list[Step]]]:
    yield (
        "apply: service",
        [
            _applied(service(ports=[{"port": 80, "name": "http"}], selector=LABELS)),
            _applied(service(ports=[{"port": 80, "name": "http"}], selector=LABELS)),
            _applied(service(ports=[{"port": 81, "name": "http"}])),
            _applied(service(ports=[{"port": 82, "name": "other"}]), "two"),
        ],
    )
    yield (
        "apply: configmap",
        [
            _applied(builtin("v1", "ConfigMap", data={"a": "1", "b": "2"})),
            _applied(builtin("v1", "ConfigMap", data={"b": "3"}), "two"),
            _applied(builtin("v1", "ConfigMap", data={"b": "3"}), "two", force=True),
            _applied(builtin("v1", "ConfigMap", data={"a": "1"})),
        ],
    )
    yield "apply: unknown field", [_applied({**builtin("v1", "ConfigMap", data={"a": "1"}), "bogus": 1})]
    yield "apply: missing key", [_applied(service(ports=[{"name": "x"}]))]


def _strategic_scenarios() -> Iterator[tuple[str, list[Step]]]:
    yield (
        "strategic: service",
        [
            Step(
                "create",
                service(ports=[{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]),
                manager="creator",
            ),
            Step(
                "strategic",
                {"spec": {"ports": [{"port": 81, "targetPort": 8081}, {"port": 82, "name": "c"}]}},
                manager="patcher",
                query={"dryRun": "All"},
            ),
        ],
    )
    yield (
        "strategic: bad",
        [
            Step("create", service(), manager="creator"),
            Step("strategic", {"spec": {"ports": [{"name": "c"}]}}, manager="patcher"),
            Step("strategic", {"spec": {"$retainKeys": ["ports"], "type": "NodePort"}}, manager="patcher"),
            Step("strategic", {"spec": {"$patch": "odd"}}, manager="patcher"),
        ],
    )
