"""Everything goes, in whatever order it is asked for, and can be installed again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from e2e.commands import NEEDS_KUBECTL, run
from e2e.running import SAMPLES, Sandbox

pytestmark = NEEDS_KUBECTL

Start = Callable[..., Sandbox]
DEFAULT = Path(__file__).resolve().parent.parent / "config" / "default"


def uninstall(sandbox: Sandbox, *arguments: str) -> str:
    """The command, as a user calls it; returns what it says."""
    command = [sys.executable, "-m", "etl_operator.cli", "uninstall", "--yes", *arguments]
    environment = {**os.environ, "KUBECONFIG": str(sandbox.kubeconfig)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wait_until_ready(sandbox: Sandbox) -> None:
    for name in ("EtlRouterCluster/my-cluster", "EtlPipeline/user-analytics", "EtlSource/kafka-users"):
        sandbox.wait_for_output(f"ready   {name}")


def test_objects_go_before_the_operator_and_definitions_only_on_request(start_sandbox: Start) -> None:
    sandbox = start_sandbox(*SAMPLES)
    wait_until_ready(sandbox)
    said = uninstall(sandbox)
    assert "removing its finalizer" not in said, "the operator did it"
    assert run(sandbox, "get", "etl", "--all-namespaces", "--ignore-not-found", "-o", "name") == ""
    assert "etl-operator" not in run(sandbox, "get", "clusterroles,clusterrolebindings", "-o", "name")
    assert "etlpipelines.etl.router" in run(sandbox, "get", "crd", "-o", "name")
    assert "the CRDs are retained" in said
    uninstall(sandbox, "--crds")
    assert "etl.router" not in run(sandbox, "get", "crd", "-o", "name")
    assert uninstall(sandbox, "--crds").endswith("uninstalled\n"), "nothing is there any more"


def test_what_was_deleted_in_one_go_is_mended(start_sandbox: Start) -> None:
    sandbox = start_sandbox(*SAMPLES)
    wait_until_ready(sandbox)
    run(sandbox, "delete", "-k", str(DEFAULT), "--wait=false", "--ignore-not-found")
    uninstall(sandbox, "--crds")
    assert "etl.router" not in run(sandbox, "get", "crd", "-o", "name")
    run(sandbox, "apply", "-k", str(DEFAULT.parent / "crd"))
    run(sandbox, "wait", "--for=condition=Established", "--timeout=60s", "crd/etlsources.etl.router")
    run(sandbox, "apply", "-k", str(DEFAULT.parent / "samples"))
