"""config/: complete, valid, least privilege, and the same for kubectl and for the sandbox."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
import yaml

from controllers.objects.kinds import (
    CONFIG_MAP,
    DEFINITION,
    DISRUPTION_BUDGET,
    EVENT,
    NAMESPACE,
    POD,
    PVC,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
    STORAGE_CLASS,
)
from etl_operator.api.crds import KINDS
from etl_operator.sandbox.manifests import load_manifests
from informers.apiserver.admission.pod_standards import findings
from informers.objects import Object, ObjectKey
from tests.install.manifests import CONFIG, container_of, only, problems, rules

DEFAULT = load_manifests(CONFIG / "default")


@pytest.mark.parametrize("obj", DEFAULT, ids=lambda o: f"{o['kind']}-{o['metadata']['name']}")
def test_every_object_is_valid(obj: Object) -> None:
    assert problems(obj) == []


@pytest.mark.parametrize(
    "name", ["backup", "crd", "default", "samples", "samples/services", "rbac", "manager"]
)
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
def test_kubectl_reads_the_same_objects_as_the_sandbox(name: str) -> None:
    rendered = subprocess.run(
        ["kubectl", "kustomize", str(CONFIG / name)], capture_output=True, text=True, check=True
    )
    by_kubectl = [obj for obj in yaml.safe_load_all(rendered.stdout) if obj]
    by_sandbox = load_manifests(CONFIG / name)
    assert sorted(by_kubectl, key=identity) == sorted(by_sandbox, key=identity)
    assert len(by_kubectl) == len({identity(obj) for obj in by_kubectl}) > 0


def identity(obj: Object) -> tuple[str, str]:
    """Kind and name."""
    return obj["kind"], obj["metadata"]["name"]


def test_the_whole_operator_is_in_the_default() -> None:
    kinds = [obj["kind"] for obj in DEFAULT]
    assert kinds.count("CustomResourceDefinition") == len(KINDS)
    for kind in ("Namespace", "ServiceAccount", "Deployment", "Service"):
        assert kinds.count(kind) == 1
    # A namespace comes before what is in it: kubectl creates in this order.
    assert kinds[0] == "Namespace"


def test_the_names_are_those_the_sandbox_and_the_bindings_use() -> None:
    from etl_operator.sandbox.run import SERVICE_ACCOUNT as SANDBOX_ACCOUNT

    account = only(DEFAULT, "ServiceAccount")
    key = ObjectKey.of(account)
    assert str(key) == SANDBOX_ACCOUNT
    for obj in DEFAULT:
        if obj["kind"] in ("ClusterRoleBinding", "RoleBinding"):
            (subject,) = obj["subjects"]
            assert (subject["namespace"], subject["name"]) == key
            only(DEFAULT, obj["roleRef"]["kind"], obj["roleRef"]["name"])
    pod = only(DEFAULT, "Deployment")["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == key.name
    only(DEFAULT, "Namespace", key.namespace)


# -- roles -----------------------------------------------------------------------------------------

WATCH = {"list", "watch"}
APPLY = {"create", "patch"}


def grants(resource: Any, verbs: set[str], subresource: str = "") -> set[tuple[str, str, str, str]]:
    """Grants on a resource or one of its subresources."""
    name = f"{resource.plural}/{subresource}" if subresource else resource.plural
    return {(resource.group, name, verb, "") for verb in verbs}


def needed() -> set[tuple[str, str, str, str]]:
    """What the controllers do, call by call."""
    found: set[tuple[str, str, str, str]] = set()
    for kind in KINDS:
        found |= grants(kind.resource, WATCH) | grants(kind.resource, {"patch"}, "status")
        if not kind.scalable:
            # Finalizers.
            found |= grants(kind.resource, {"patch"})
        else:
            found |= grants(kind.resource, {"update"}, "finalizers")
    for child in (CONFIG_MAP, SERVICE, SERVICE_ACCOUNT, DISRUPTION_BUDGET, STATEFUL_SET):
        # Looked at before they are applied for the first time: a foreign object stays.
        found |= grants(child, WATCH | APPLY | {"get"})
    for optional_child in (SERVICE_ACCOUNT, DISRUPTION_BUDGET):
        found |= grants(optional_child, {"delete"})
    found |= grants(POD, WATCH | {"delete"}) | grants(EVENT, {"list"})
    found |= grants(PVC, WATCH | {"patch"})
    found |= grants(STORAGE_CLASS, {"get"}) | grants(NAMESPACE, {"get"})
    found |= {
        (DEFINITION.group, DEFINITION.plural, "get", f"{kind.resource.plural}.{kind.resource.group}")
        for kind in KINDS
    }
    found |= {("events.k8s.io", "events", verb, "") for verb in APPLY}
    return found


def test_the_operator_gets_exactly_what_it_does() -> None:
    assert rules(only(DEFAULT, "ClusterRole", "etl-operator-manager-role")) == needed()


def test_at_home_the_operator_may_touch_only_its_own_lease_and_tell_of_it() -> None:
    group = "coordination.k8s.io"
    assert rules(only(DEFAULT, "Role")) == {
        (group, "leases", "create", ""),
        (group, "leases", "get", "etl-operator-leader"),
        (group, "leases", "update", "etl-operator-leader"),
        *(("events.k8s.io", "events", verb, "") for verb in APPLY),
    }


def test_nobody_gets_secrets_or_everything() -> None:
    for role in (obj for obj in DEFAULT if obj["kind"] in ("Role", "ClusterRole")):
        for group, resource, verb, _ in rules(role):
            assert "*" not in (group, resource, verb)
            assert resource.partition("/")[0] not in ("secrets", "roles", "clusterroles", "pods/exec")


@pytest.mark.parametrize(
    ("name", "verbs"), [("view", WATCH | {"get"}), ("edit", {"create", "update", "patch", "delete"})]
)
def test_people_get_their_rights_on_every_kind(name: str, verbs: set[str]) -> None:
    role = only(DEFAULT, "ClusterRole", f"etl-operator-{name}")
    assert role["metadata"]["labels"][f"rbac.authorization.k8s.io/aggregate-to-{name}"] == "true"
    for kind in KINDS:
        assert grants(kind.resource, verbs) <= rules(role)


# -- the Deployment --------------------------------------------------------------------------------


def test_the_pod_fits_the_restricted_standard_its_namespace_enforces() -> None:
    namespace = only(DEFAULT, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    deployment = only(DEFAULT, "Deployment")
    pod = deployment["spec"]["template"]["spec"]["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] > 0
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    own = container_of(deployment)["securityContext"]
    assert own["allowPrivilegeEscalation"] is False
    assert own["readOnlyRootFilesystem"] is True
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert findings("restricted", {}, deployment["spec"]["template"]["spec"]) == []


def test_the_probes_and_the_service_reach_the_ports() -> None:
    container = container_of(only(DEFAULT, "Deployment"))
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"metrics": 8080, "health": 8081}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "health"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "health"}
    service = only(DEFAULT, "Service")["spec"]
    labels = only(DEFAULT, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    assert service["ports"][0]["targetPort"] == "metrics"
