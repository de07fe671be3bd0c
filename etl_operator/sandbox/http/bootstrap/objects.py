"""The objects a cluster is born with: namespaces and the roles everybody expects to find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from etl_operator.sandbox.http.access.identity import AUTHENTICATED, MASTERS
from etl_operator.sandbox.http.access.rbac import RBAC_GROUP
from informers.apiserver.builtin import ADDRESSES, SYSTEM_PRIORITIES
from informers.objects import Object

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")

_READ = ("get", "list", "watch")
_WRITE = ("create", "delete", "deletecollection", "patch", "update")
_AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"

_WORKLOADS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "",
        (
            "configmaps",
            "endpoints",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "pods",
            "pods/status",
            "pods/log",
            "events",
            "serviceaccounts",
            "services",
            "services/status",
        ),
    ),
    (
        "apps",
        (
            "controllerrevisions",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "statefulsets",
            "statefulsets/scale",
            "statefulsets/status",
        ),
    ),
    ("policy", ("poddisruptionbudgets", "poddisruptionbudgets/status")),
    ("discovery.k8s.io", ("endpointslices",)),
    ("networking.k8s.io", ("ingresses", "networkpolicies")),
    ("batch", ("jobs", "cronjobs")),
)


def bootstrap_objects() -> Iterator[Object]:
    """Everything to create at the first start; what already exists stays as it is."""
    for name in NAMESPACES:
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    yield from _priority_classes()
    yield _address_range()
    yield from _cluster_roles()
    yield _binding("cluster-admin", "Group", MASTERS)
    for role in ("system:basic-user", "system:discovery", "system:public-info-viewer"):
        yield _binding(role, "Group", AUTHENTICATED)


def _priority_classes() -> Iterator[Object]:
    descriptions = {
        "system-cluster-critical": "For pods the cluster needs, which may run on any node.",
        "system-node-critical": "For pods their node needs.",
    }
    for name, value in SYSTEM_PRIORITIES.items():
        yield {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "description": descriptions[name],
        }


def _address_range() -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": [str(ADDRESSES)]},
    }


def _cluster_roles() -> Iterator[Object]:
    yield _cluster_role(
        "cluster-admin",
        [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
            {"nonResourceURLs": ["*"], "verbs": ["*"]},
        ],
    )
    yield _cluster_role(
        "system:discovery", [_urls("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*")]
    )
    yield _cluster_role(
        "system:public-info-viewer", [_urls("/healthz", "/livez", "/readyz", "/version", "/version/")]
    )
    yield _cluster_role(
        "system:basic-user",
        [
            _rule(
                "authorization.k8s.io", ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], ["create"]
            ),
            _rule("authentication.k8s.io", ["selfsubjectreviews"], ["create"]),
        ],
    )
    yield _cluster_role(
        "system:auth-delegator",
        [
            _rule("authentication.k8s.io", ["tokenreviews"], ["create"]),
            _rule("authorization.k8s.io", ["subjectaccessreviews"], ["create"]),
        ],
    )
    yield from _user_facing_roles()


def _user_facing_roles() -> Iterator[Object]:
    """view ⊂ edit ⊂ admin, each open to rules that other roles' labels add."""
    reading = [_rule(group, resources, _READ) for group, resources in _WORKLOADS]
    reading.append(_rule("", ["namespaces"], _READ))
    writing = [
        _rule(group, [one for one in resources if not one.endswith(("/status", "/log"))], _WRITE)
        for group, resources in _WORKLOADS
    ]
    writing.append(_rule("", ["secrets"], (*_READ, *_WRITE)))
    writing.append(_rule("", ["pods/eviction", "serviceaccounts/token"], ["create"]))
    roles = _rule(RBAC_GROUP, ["roles", "rolebindings"], (*_READ, *_WRITE))
    yield _aggregating("view", ["view"], reading)
    yield _aggregating("edit", ["edit", "view"], [*reading, *writing])
    yield _aggregating("admin", ["admin", "edit", "view"], [*reading, *writing, roles])


def _aggregating(name: str, labels: Sequence[str], rules: list[Object]) -> Object:
    role = _cluster_role(name, rules)
    role["aggregationRule"] = {
        "clusterRoleSelectors": [{"matchLabels": {_AGGREGATE + label: "true"}} for label in labels]
    }
    return role


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str]) -> Object:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}


def _urls(*urls: str) -> Object:
    return {"nonResourceURLs": list(urls), "verbs": ["get"]}


def _cluster_role(name: str, rules: list[Object]) -> Object:
    return {
        "apiVersion": f"{RBAC_GROUP}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}},
        "rules": rules,
    }


def _binding(role: str, kind: str, subject: str) -> Object:
    return {
        "apiVersion": f"{RBAC_GROUP}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": role, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}},
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC_GROUP, "kind": kind, "name": subject}],
    }
