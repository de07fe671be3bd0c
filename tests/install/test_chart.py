"""The Helm chart: documented values, valid objects, and the same rights as config/."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from etl_operator.api.crds import render_crds
from etl_operator.sandbox.manifests import load_manifests
from informers.objects import Object
from tests.install.manifests import CHART, CONFIG, ROOT, container_of, only, problems, rules
from tests.install.test_command_line import parsed

VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
NAMESPACE = "etl-operator-system"
needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not on PATH")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm; the caller judges the exit code."""
    return subprocess.run(["helm", *arguments], capture_output=True, text=True, check=False)


def rendered(*sets: str, release: str = "etl-operator", crds: bool = False) -> list[Object]:
    """The objects of the chart.

    :param sets: values as in ``--set-json``.
    """
    options = [f"--set-json={one}" for one in sets] + (["--include-crds"] if crds else [])
    done = helm("template", release, str(CHART), "--namespace", NAMESPACE, *options)
    assert done.returncode == 0, done.stderr
    return [obj for obj in yaml.safe_load_all(done.stdout) if obj]


# -- without helm ----------------------------------------------------------------------------------


def test_the_readmes_values_are_the_defaults() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    (shown,) = (block for block in blocks if "replicaCount" in block)
    assert contains(VALUES, shown)


def contains(values: Any, shown: Any) -> bool:
    """Whether every shown value is there."""
    if isinstance(shown, dict):
        return all(key in values and contains(values[key], below) for key, below in shown.items())
    return bool(values == shown)


def test_the_values_schema_knows_every_value_and_no_other() -> None:
    known = set(leaves(SCHEMA))
    assert set(paths(VALUES)) - known == set()
    # Maps that users fill, and what Helm itself adds, are in the schema alone.
    missing = {path for path in known - set(paths(VALUES)) if not path.startswith("global")}
    assert missing == {"resources.requests", "resources.claims", "imagePullSecrets"} - set(paths(VALUES))


def leaves(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Paths of all values a schema describes."""
    if "properties" not in schema:
        yield path
    for name, below in schema.get("properties", {}).items():
        yield from leaves(below, f"{path}.{name}".removeprefix("."))


def paths(values: Any, path: str = "") -> Iterator[str]:
    """Paths of all values, as deep as the schema goes."""
    free = ("podSecurityContext", "securityContext", "resources.limits")
    if not isinstance(values, dict) or not values or path in free:
        yield path
        return
    for name, below in values.items():
        yield from paths(below, f"{path}.{name}".removeprefix("."))


def test_every_crd_travels_with_the_chart() -> None:
    assert {path.name for path in (CHART / "crds").iterdir()} == set(render_crds())


# -- with helm -------------------------------------------------------------------------------------


@needs_helm
def test_the_chart_passes_lint() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_helm
@pytest.mark.parametrize(
    "sets",
    [
        (),
        ('namespaces=["team-a","team-b"]',),
        ("metrics.enabled=false", "leaderElection.enabled=false"),
        ("rbac.create=false", "serviceAccount.create=false", 'serviceAccount.name="mine"'),
        (
            'podLabels={"team":"data"}',
            'podAnnotations={"note":"x"}',
            'nodeSelector={"kubernetes.io/os":"linux"}',
            'tolerations=[{"operator":"Exists"}]',
            'affinity={"nodeAffinity":{}}',
            'topologySpreadConstraints=[{"maxSkew":1,"topologyKey":"z","whenUnsatisfiable":"ScheduleAnyway"}]',
            'priorityClassName="system-cluster-critical"',
            'imagePullSecrets=[{"name":"registry"}]',
            'extraArgs=["--kubeconfig=/x"]',
            'extraEnv=[{"name":"grpc_proxy","value":"http://proxy:1"}]',
            'serviceAccount.annotations={"a":"b"}',
            'metrics.service.annotations={"a":"b"}',
            'metrics.tls.secretName="metrics-tls"',
            "debugEndpoints=true",
            'tracing.endpoint="http://collector:4318"',
        ),
    ],
    ids=["default", "namespaced", "bare", "brought-along", "everything"],
)
def test_every_object_is_valid_whatever_the_values(sets: tuple[str, ...]) -> None:
    objects = rendered(*sets)
    assert {f"{o['kind']} {o['metadata']['name']}": found for o in objects if (found := problems(o))} == {}
    assert parsed(container_of(only(objects, "Deployment"))["args"])


@needs_helm
def test_the_chart_installs_what_config_installs() -> None:
    ours, theirs = load_manifests(CONFIG / "default"), rendered(crds=True)
    # Helm makes the namespace itself when it is told to.
    assert names(theirs) == names(ours) - {("Namespace", NAMESPACE)}
    for kind, name in (
        ("ClusterRole", "etl-operator-manager-role"),
        ("ClusterRole", "etl-operator-view"),
        ("ClusterRole", "etl-operator-edit"),
        ("Role", "etl-operator-leader-election-role"),
    ):
        assert rules(only(theirs, kind, name)) == rules(only(ours, kind, name)), name
    mine, other = (only(objects, "Deployment")["spec"]["template"]["spec"] for objects in (ours, theirs))
    assert options_of(other) == options_of(mine)
    assert without_args(other) == without_args(mine)


def names(objects: list[Object]) -> set[tuple[str, str]]:
    """Kind and name of every object."""
    return {(obj["kind"], obj["metadata"]["name"]) for obj in objects}


def options_of(pod: dict[str, Any]) -> dict[str, object]:
    """What the operator in a pod is told, defaults included."""
    return parsed(pod["containers"][0]["args"])


def without_args(pod: dict[str, Any]) -> dict[str, Any]:
    """A pod but for the arguments, which may be spelt out or left to their defaults."""
    (container,) = pod["containers"]
    return {**pod, "containers": [{key: value for key, value in container.items() if key != "args"}]}


@needs_helm
def test_a_namespaced_operator_gets_no_rights_outside() -> None:
    objects = rendered('namespaces=["team-a","team-b"]', "rbac.aggregateRoles=false")
    assert "ClusterRole" not in {obj["kind"] for obj in objects}
    assert "ClusterRoleBinding" not in {obj["kind"] for obj in objects}
    whole = rules(only(load_manifests(CONFIG / "rbac"), "ClusterRole", "etl-operator-manager-role"))
    for namespace in ("team-a", "team-b"):
        (role,) = (
            obj for obj in objects if obj["kind"] == "Role" and obj["metadata"]["namespace"] == namespace
        )
        assert rules(role) == {
            right for right in whole if right[1] not in ("storageclasses", "customresourcedefinitions")
        }
    options = parsed(container_of(only(objects, "Deployment"))["args"])
    assert options["namespaces"] == ("team-a", "team-b")


@needs_helm
def test_metrics_over_tls_bring_the_rights_they_need() -> None:
    objects = rendered(
        'metrics.tls.secretName="metrics-tls"', "debugEndpoints=true", "metrics.serviceMonitor.enabled=true"
    )
    container = container_of(only(objects, "Deployment"))
    options = parsed(container["args"])
    (mount,) = (one for one in container["volumeMounts"] if one["name"] == "metrics-tls")
    assert str(options["metrics_cert_dir"]) == mount["mountPath"]
    assert options["debug_endpoints"] is True
    binding = only(objects, "ClusterRoleBinding", "etl-operator-metrics-auth-rolebinding")
    assert binding["roleRef"]["name"] == "system:auth-delegator"
    reader = only(objects, "ClusterRole", "etl-operator-metrics-reader")
    assert reader["rules"] == [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]
    (endpoint,) = only(objects, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["tlsConfig"]["ca"]["secret"] == {"name": "metrics-tls", "key": "ca.crt"}


@needs_helm
def test_spans_go_where_the_endpoint_is() -> None:
    container = container_of(only(rendered('tracing.endpoint="http://collector:4318"'), "Deployment"))
    assert parsed(container["args"])["tracing"] is True
    assert {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"} in container["env"]
    plain = container_of(only(rendered(), "Deployment"))
    assert [one["name"] for one in plain["env"]] == ["POD_UID"]
    assert parsed(plain["args"])["tracing"] is False


@needs_helm
def test_plain_metrics_bring_no_rights() -> None:
    assert not [name for _, name in names(rendered()) if "metrics-" in name]


@needs_helm
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("replicas=2", "replicas"),
        ('logging.level="loud"', "logging"),
        ("metrics.port=0", "port"),
        ('namespaces=["Not_A_Name"]', "namespaces"),
        ('image={"repository":""}', "repository"),
    ],
)
def test_a_wrong_value_is_refused_by_name(value: str, words: str) -> None:
    done = helm("template", "x", str(CHART), f"--set-json={value}")
    assert done.returncode != 0
    assert words in done.stderr


@needs_helm
def test_two_operators_without_a_lease_are_refused() -> None:
    done = helm("template", "x", str(CHART), "--set", "replicaCount=2,leaderElection.enabled=false")
    assert done.returncode != 0
    assert "leaderElection.enabled" in done.stderr


@needs_helm
def test_a_digest_wins_over_the_tag() -> None:
    digest = "sha256:" + "0" * 64
    deployment = only(rendered(f'image.digest="{digest}"'), "Deployment")
    assert container_of(deployment)["image"] == f"etl-operator@{digest}"


@needs_helm
def test_selectors_never_hold_a_version_and_names_stay_short() -> None:
    objects = rendered(release="r" * 53)
    selector = only(objects, "Deployment")["spec"]["selector"]["matchLabels"]
    assert set(selector) == {
        "app.kubernetes.io/name",
        "app.kubernetes.io/instance",
        "app.kubernetes.io/component",
    }
    # Roles may have longer names; these become labels and host names.
    for kind in ("Deployment", "Service", "ServiceAccount"):
        assert len(only(objects, kind)["metadata"]["name"]) <= 63
