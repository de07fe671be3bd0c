"""The real kubectl: looking at what is there, and asking what one may."""

from __future__ import annotations

import json
import time

import pytest

from e2e.commands import NEEDS_KUBECTL, refused, run, shows
from e2e.running import Sandbox, kubectl_process
from tests.hanging import HANGS

pytestmark = NEEDS_KUBECTL

MEMBERS = ["my-cluster-0", "my-cluster-1", "my-cluster-2"]
PODS = [f"pod/{name}" for name in MEMBERS]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "name"), PODS),
        (("-o", "jsonpath={.items[*].metadata.name}"), MEMBERS),
        (("-o", "custom-columns=NAME:.metadata.name", "--no-headers"), MEMBERS),
        (("-o", "go-template={{range .items}}{{.metadata.name}} {{end}}"), MEMBERS),
        (("-o", "name", "--chunk-size=1"), PODS),
        (("-o", "name", "--field-selector=metadata.name=my-cluster-1"), ["pod/my-cluster-1"]),
        (("-o", "name", "--field-selector=status.phase!=Running"), []),
        (
            ("-o", "name", "--sort-by=.metadata.name"),
            PODS,
        ),
    ],
)
def test_lists_in_every_shape(sandbox: Sandbox, arguments: tuple[str, ...], said: list[str]) -> None:
    assert run(sandbox, "get", "pods", "-l", "etl.router/cluster=my-cluster", *arguments).split() == said


def test_json_and_yaml_are_whole_objects(sandbox: Sandbox) -> None:
    found = json.loads(run(sandbox, "get", "erc", "my-cluster", "-o", "json"))
    assert (found["kind"], found["apiVersion"]) == ("EtlRouterCluster", "etl.router/v1")
    assert "managedFields" not in found["metadata"]
    assert "managedFields" in run(sandbox, "get", "erc", "my-cluster", "-o", "yaml", "--show-managed-fields")
    assert "field label not supported" in refused(sandbox, "get", "pods", "--field-selector=foo=bar")


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("nodes", "NAME STATUS ROLES AGE VERSION"),
        ("statefulsets", "NAME READY AGE"),
        ("services", "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE"),
        ("poddisruptionbudgets", "NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE"),
        ("configmaps", "NAME DATA AGE"),
        ("controllerrevisions", "NAME CONTROLLER REVISION AGE"),
        ("storageclasses", "NAME PROVISIONER RECLAIMPOLICY VOLUMEBINDINGMODE ALLOWVOLUMEEXPANSION AGE"),
        ("clusterrolebindings", "NAME ROLE AGE"),
        ("customresourcedefinitions", "NAME SCOPE VERSIONS CREATED AT"),
    ],
)
def test_columns_are_those_people_know(sandbox: Sandbox, kind: str, columns: str) -> None:
    assert run(sandbox, "get", kind).splitlines()[0].split() == columns.split()


def test_a_watch_shows_changes_as_they_come(sandbox: Sandbox) -> None:
    watching = kubectl_process(sandbox, "get", "configmaps", "-w", "-o", "name")
    try:
        deadline = time.monotonic() + HANGS
        seen = ""
        run(sandbox, "create", "configmap", "watched")
        assert watching.stdout is not None
        while "configmap/watched" not in seen:
            assert time.monotonic() < deadline
            seen += watching.stdout.readline()
        run(sandbox, "delete", "configmap", "watched")
    finally:
        watching.kill()
        watching.communicate()


def test_explain_and_discovery(sandbox: Sandbox) -> None:
    assert "Periodic probe" in run(sandbox, "explain", "pod.spec.containers.livenessProbe")
    assert "volumeClaimTemplates" in run(sandbox, "explain", "statefulset", "--recursive")
    of_version_2 = ("explain", "--output=plaintext-openapiv2")
    assert "Number of desired pods" in run(sandbox, *of_version_2, "deployment.spec")
    assert "FIELDS:\n" in run(sandbox, *of_version_2, "etlpipeline.spec")
    assert "etl.router/v1" in run(sandbox, "api-versions").split()
    resources = run(sandbox, "api-resources", "--categories=etl", "-o", "name").split()
    assert len(resources) == 5
    assert "Server Version: v1." in run(sandbox, "version")


def test_who_one_is_and_what_one_may(sandbox: Sandbox) -> None:
    assert run(sandbox, "auth", "can-i", "delete", "pods").strip() == "yes"
    assert "Username" in run(sandbox, "auth", "whoami")
    assert "system:authenticated" in run(sandbox, "auth", "whoami", "--as", "bob")
    assert "no" in refused_output(sandbox, "auth", "can-i", "delete", "pods", "--as", "bob")
    operator = "system:serviceaccount:etl-operator-system:etl-operator-controller-manager"
    assert run(sandbox, "auth", "can-i", "patch", "etlsources", "--subresource=status", "--as", operator)
    assert "no" in refused_output(sandbox, "auth", "can-i", "get", "secrets", "--as", operator)
    listed = run(sandbox, "auth", "can-i", "--list", "--as", operator)
    assert "etlpipelines.etl.router/status" in listed
    assert 'User "bob" cannot list resource "pods"' in refused(sandbox, "get", "pods", "--as", "bob")


def refused_output(sandbox: Sandbox, *arguments: str) -> str:
    """What ``can-i`` prints when the answer is no: it also fails."""
    watching = kubectl_process(sandbox, *arguments)
    output, _ = watching.communicate(timeout=HANGS)
    assert watching.returncode == 1
    return output


def test_events_of_an_object(sandbox: Sandbox) -> None:
    shows(sandbox, "PipelineSubmitted", "get", "events")
    shows(sandbox, "PipelineSubmitted", "events", "--for=etlpipeline/user-analytics")
    shows(sandbox, "Scheduled", "describe", "pod", "my-cluster-0")


def test_measures_are_not_to_be_had_and_say_so(sandbox: Sandbox) -> None:
    assert "Metrics API not available" in refused(sandbox, "top", "pods")
    assert "Metrics API not available" in refused(sandbox, "top", "nodes")


@pytest.mark.sandbox_only("a real API server asks the kubelet's own HTTPS endpoint, and there is none")
@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("exec", "my-cluster-0", "--", "true"), "exec"),
        (("cp", "my-cluster-0:/data", "copy"), "exec"),
        (("attach", "my-cluster-0"), "attach"),
        (("port-forward", "my-cluster-0", "1234:50051"), "portforward"),
        (("debug", "my-cluster-0", "--image=x", "--profile=general"), "ephemeralcontainers"),
    ],
)
def test_what_needs_a_container_runtime_is_refused(
    sandbox: Sandbox, arguments: tuple[str, ...], what: str
) -> None:
    assert f"does not support {what}" in refused(sandbox, *arguments)
