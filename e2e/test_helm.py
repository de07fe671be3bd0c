"""The real Helm and the chart, on either control plane: installed, changed, taken back, removed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.commands import NEEDS_KUBECTL, run
from e2e.running import Sandbox
from tests.hanging import HANGS

pytestmark = [
    NEEDS_KUBECTL,
    pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not on PATH"),
]

CHART = Path(__file__).resolve().parent.parent / "helm" / "etl-operator"
RELEASE = "charted"
DEPLOYMENT = f"deployment/{RELEASE}-etl-operator-controller-manager"


def helm(sandbox: Sandbox, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm against the sandbox; it keeps its releases in Secrets, as it does for users."""
    return subprocess.run(
        ["helm", *arguments],
        env={
            **os.environ,
            "KUBECONFIG": str(sandbox.kubeconfig),
            "HOME": str(sandbox.state_dir),
            "HELM_DRIVER": "secret",
        },
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )


def ok(sandbox: Sandbox, *arguments: str) -> str:
    """The output of a Helm command that has to succeed."""
    done = helm(sandbox, *arguments)
    assert done.returncode == 0, f"helm {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def namespace(sandbox: Sandbox, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace for the release, and no cluster-wide object of it left behind."""
    name = "helm-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[-40:].strip("-")
    run(sandbox, "create", "namespace", name)
    yield name
    helm(sandbox, "uninstall", RELEASE, "--namespace", name, "--ignore-not-found")
    run(sandbox, "delete", "namespace", name, "--timeout=600s")


def values(sandbox: Sandbox, namespace: str) -> dict[str, Any]:
    """What the installed Deployment says."""
    found = run(sandbox, "get", DEPLOYMENT, "-n", namespace, "-o", "json")
    return dict(json.loads(found)["spec"])


def test_install_upgrade_rollback_uninstall(sandbox: Sandbox, namespace: str) -> None:
    where = ("--namespace", namespace)
    # The kinds are there already, from the sandbox's own start: Helm leaves CRDs that exist as they are.
    installed = ok(sandbox, "install", RELEASE, str(CHART), *where)
    assert "STATUS: deployed" in installed
    assert "kubectl" in installed, "the notes say what to do next"
    assert values(sandbox, namespace)["replicas"] == 1

    ok(sandbox, "upgrade", RELEASE, str(CHART), *where, "--set", "replicaCount=2", "--reuse-values")
    assert values(sandbox, namespace)["replicas"] == 2
    ok(sandbox, "rollback", RELEASE, "1", *where)
    assert values(sandbox, namespace)["replicas"] == 1

    history = json.loads(ok(sandbox, "history", RELEASE, *where, "-o", "json"))
    assert [(entry["revision"], entry["status"]) for entry in history] == [
        (1, "superseded"),
        (2, "superseded"),
        (3, "deployed"),
    ]
    (listed,) = json.loads(ok(sandbox, "list", *where, "-o", "json"))
    assert (listed["name"], listed["status"], listed["revision"]) == (RELEASE, "deployed", "3")
    assert json.loads(ok(sandbox, "status", RELEASE, *where, "-o", "json"))["info"]["status"] == "deployed"
    manifest = [obj for obj in yaml.safe_load_all(ok(sandbox, "get", "manifest", RELEASE, *where)) if obj]
    assert {"Deployment", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"} <= {
        obj["kind"] for obj in manifest
    }
    secrets = run(sandbox, "get", "secrets", "-n", namespace, "-o", "name").split()
    assert f"secret/sh.helm.release.v1.{RELEASE}.v3" in secrets

    assert "uninstalled" in ok(sandbox, "uninstall", RELEASE, *where, "--wait", "--timeout", "60s")
    assert run(sandbox, "get", "deployments,roles,rolebindings", "-n", namespace, "-o", "name") == ""
    assert RELEASE not in run(sandbox, "get", "clusterroles,clusterrolebindings", "-o", "name")
    # The kinds, and with them everybody's objects, stay.
    assert "etlrouterclusters.etl.router" in run(sandbox, "get", "crd", "-o", "name")


COMBINATIONS = {
    "namespaced": ("--set", "namespaces={default}", "--set", "rbac.aggregateRoles=false"),
    "own-account": ("--set", "serviceAccount.create=false", "--set", "rbac.create=false"),
    "bare": ("--set", "leaderElection.enabled=false", "--set", "metrics.enabled=false"),
    "dressed": (
        *(
            "--set",
            "replicaCount=3",
            "--set",
            "logging.level=debug",
            "--set",
            "extraArgs={--writes-per-second=50}",
        ),
        *("--set-json", 'tolerations=[{"operator":"Exists"}]', "--set-string", "podLabels.team=data"),
        *("--set-json", 'extraEnv=[{"name":"A","value":"b"}]', "--set", "image.digest=sha256:" + "0" * 64),
    ),
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_combinations_of_values_install(sandbox: Sandbox, namespace: str, name: str) -> None:
    arguments = (RELEASE, str(CHART), "--namespace", namespace, *COMBINATIONS[name])
    assert "STATUS: deployed" in ok(sandbox, "install", *arguments)
    (container,) = values(sandbox, namespace)["template"]["spec"]["containers"]
    # The flags are read before the help is shown, so that one that does not exist is an error.
    flags = [sys.executable, "-m", "etl_operator.cli", *container["args"], "--help"]
    known = subprocess.run(flags, capture_output=True, text=True, timeout=60, check=False)
    assert known.returncode == 0, known.stderr
    assert values(sandbox, namespace)["template"]["spec"]["containers"]


def test_wrong_values_are_refused_before_anything_is_written(sandbox: Sandbox, namespace: str) -> None:
    done = helm(
        sandbox, "install", RELEASE, str(CHART), "--namespace", namespace, "--set", "logging.level=loud"
    )
    assert done.returncode != 0
    assert "level" in done.stderr
    assert json.loads(ok(sandbox, "list", "--namespace", namespace, "-o", "json")) == []


def test_the_chart_is_clean_and_renders_without_a_cluster(sandbox: Sandbox) -> None:
    assert "0 chart(s) failed" in ok(sandbox, "lint", "--strict", str(CHART))
    rendered = list(yaml.safe_load_all(ok(sandbox, "template", RELEASE, str(CHART), "--include-crds")))
    assert sum(obj["kind"] == "CustomResourceDefinition" for obj in rendered if obj) == 5
