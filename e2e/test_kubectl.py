"""The real kubectl against the sandbox: what a person types in another terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.commands import NEEDS_KUBECTL, run, shows
from e2e.running import Sandbox, kubectl

pytestmark = NEEDS_KUBECTL

KINDS = ("etlrouterclusters", "etlpipelines", "etlsources", "etltransforms", "etlsinks")


def test_get_shows_the_columns_people_need(sandbox: Sandbox) -> None:
    table = run(sandbox, "get", "etlrouterclusters").splitlines()
    assert table[0].split() == ["NAME", "READY", "REPLICAS", "READYREPLICAS", "LEADER", "HEALTH", "AGE"]
    name, is_ready, replicas, ready_replicas, leader, health, _ = table[1].split()
    assert (name, is_ready, replicas, ready_replicas, health) == ("my-cluster", "True", "3", "3", "Healthy")
    assert leader.startswith("my-cluster-")
    assert "user-analytics" in run(sandbox, "get", "epl")
    everything = run(sandbox, "get", "etl")
    for kind in KINDS:
        assert kind[:-1] in everything, everything
    pods = run(sandbox, "get", "pods", "-o", "wide")
    assert pods.count("1/1") >= 3
    assert "127." in pods


def test_describe_tells_conditions_and_events(sandbox: Sandbox) -> None:
    shows(sandbox, "PipelineSubmitted", "describe", "etlpipeline", "user-analytics")
    text = run(sandbox, "describe", "etlpipeline", "user-analytics")
    assert "Conditions:" in text
    assert "Events:" in text
    cluster = run(sandbox, "describe", "erc", "my-cluster")
    assert "Leader Id:" in cluster


@pytest.mark.parametrize("kind", KINDS)
def test_wait_and_explain_work_on_every_kind(sandbox: Sandbox, kind: str) -> None:
    run(sandbox, "wait", "--for=condition=Ready", "--all", kind, "--timeout=600s")
    explained = run(sandbox, "explain", f"{kind}.spec")
    assert "DESCRIPTION" in explained
    assert "<no description>" not in explained


def owned_by_kubectl(sandbox: Sandbox, name: str) -> list[dict[str, Any]]:
    """What kubectl owns of a sink, and since when; there is something."""
    text = run(sandbox, "get", "etlsink", name, "--show-managed-fields", "-o", "json")
    found = [
        one for one in json.loads(text)["metadata"]["managedFields"] if one["manager"].startswith("kubectl")
    ]
    assert found
    return found


@pytest.mark.parametrize("server_side", [False, True], ids=["client-side", "server-side"])
def test_apply_edit_and_delete(sandbox: Sandbox, server_side: bool, tmp_path: Path) -> None:
    name = "by-server" if server_side else "by-client"
    how = ("--server-side",) if server_side else ()
    manifest = json.dumps(
        {
            "apiVersion": "etl.router/v1",
            "kind": "EtlSink",
            "metadata": {"name": name},
            "spec": {"grpc": {"endpoint": "somewhere:50051"}, "weight": 5},
        }
    )
    assert name in run(sandbox, "apply", *how, "-f", "-", stdin=manifest)
    assert run(sandbox, "diff", *how, "-f", "-", stdin=manifest) == ""
    before = owned_by_kubectl(sandbox, name)
    again = run(sandbox, "apply", *how, "-f", "-", stdin=manifest)
    # To the server kubectl says the same word whatever becomes of it; what it owns tells.
    assert again.split() == [
        f"etlsink.etl.router/{name}",
        "serverside-applied" if server_side else "unchanged",
    ]
    assert owned_by_kubectl(sandbox, name) == before
    changed = manifest.replace('"weight": 5', '"weight": 6')
    run(sandbox, "apply", *how, "-f", "-", stdin=changed)
    assert run(sandbox, "get", "etlsink", name, "-o", "jsonpath={.spec.weight}") == "6"
    editor = tmp_path / "editor.sh"
    editor.write_text("#!/bin/sh\nsed -i.bak 's/weight: 6/weight: 7/' \"$1\"\n", encoding="utf-8")
    editor.chmod(0o755)
    run_edit = kubectl(sandbox, "edit", "etlsink", name, environment={"KUBE_EDITOR": str(editor)})
    assert run_edit.returncode == 0, run_edit.stderr
    assert run(sandbox, "get", "etlsink", name, "-o", "jsonpath={.spec.weight}") == "7"
    run(sandbox, "label", "etlsink", name, "team=data")
    run(sandbox, "annotate", "etlsink", name, "note=hello")
    run(sandbox, "wait", "--for=condition=Ready", f"etlsink/{name}", "--timeout=600s")
    assert "deleted" in run(sandbox, "delete", "etlsink", name, "--timeout=600s")


def test_an_invalid_object_gets_the_servers_own_words(sandbox: Sandbox) -> None:
    manifest = json.dumps(
        {
            "apiVersion": "etl.router/v1",
            "kind": "EtlRouterCluster",
            "metadata": {"name": "bad"},
            "spec": {"replicas": 0},
        }
    )
    refused = kubectl(sandbox, "apply", "-f", "-", stdin=manifest)
    assert refused.returncode == 1
    assert 'The EtlRouterCluster "bad" is invalid:' in refused.stderr
    assert "spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1" in (
        refused.stderr
    )


def test_scale_up_by_one_and_the_new_member_serves(sandbox: Sandbox) -> None:
    manifest = json.dumps(
        {
            "apiVersion": "etl.router/v1",
            "kind": "EtlRouterCluster",
            "metadata": {"name": "growing"},
            "spec": {"replicas": 1},
        }
    )
    run(sandbox, "apply", "-f", "-", stdin=manifest)
    run(sandbox, "wait", "--for=condition=Ready", "erc/growing", "--timeout=600s")
    assert "scaled" in run(sandbox, "scale", "erc/growing", "--replicas=2")
    run(sandbox, "wait", "--for=jsonpath={.status.readyReplicas}=2", "erc/growing", "--timeout=600s")
    run(sandbox, "wait", "--for=condition=Ready", "erc/growing", "--timeout=600s")
    run(sandbox, "delete", "erc", "growing", "--timeout=600s")


NO_KUBELET = pytest.mark.sandbox_only(
    "a real API server asks the kubelet's own HTTPS endpoint, and there is none"
)


@NO_KUBELET
def test_logs_of_a_router(sandbox: Sandbox) -> None:
    assert run(sandbox, "logs", "my-cluster-1", "--tail=5")


def test_the_installation_kustomization_is_accepted(sandbox: Sandbox) -> None:
    config = Path(__file__).resolve().parent.parent / "config"
    for name in ("crd", "default"):
        output = run(sandbox, "apply", "--server-side", "--force-conflicts", "-k", str(config / name))
        assert "serverside-applied" in output
    name = "etl-operator-controller-manager"
    there = ("-n", "etl-operator-system")
    assert name in run(sandbox, "get", "deployments", *there, "-o", "name")
    # The operator that it runs takes the place of the sandbox's own, which the other tests here ask.
    sandbox.wait_for_output(f"Deployment etl-operator-system/{name} runs an operator")
    run(sandbox, "delete", "deployment", name, *there)
    sandbox.wait_for_output("starting the operator of the sandbox again")
