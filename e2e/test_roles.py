"""The operator's calls compared with its roles: nothing is forbidden, nothing is given for nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from e2e.commands import NEEDS_KUBECTL, run
from e2e.running import Sandbox
from etl_operator.sandbox.manifests import load_manifests
from tests.install.manifests import CONFIG, only, rules

pytestmark = [
    NEEDS_KUBECTL,
    pytest.mark.sandbox_only("reads the audit log of the embedded API server"),
]

ACCOUNT = "system:serviceaccount:etl-operator-system:etl-operator-controller-manager"
FOR_EVERYBODY = {"selfsubjectaccessreviews", "selfsubjectrulesreviews"}
"""What Kubernetes lets every authenticated user create."""

UNUSED: Mapping[str, str] = {
    "list": "servers without streaming lists are read page by page",
    "update etlrouterclusters/finalizers": "servers with OwnerReferencesPermissionEnforcement ask for it",
}
"""Grants no call of this life needs, and when they are needed all the same."""

MANIFEST = """
apiVersion: etl.router/v1
kind: EtlRouterCluster
metadata: {name: c}
spec: {replicas: 1, raft: {electionTimeoutMs: 500, heartbeatIntervalMs: 100}, storage: {size: 1Gi}}
---
apiVersion: etl.router/v1
kind: EtlSource
metadata: {name: src}
spec: {grpc: {endpoint: "source:50051"}}
---
apiVersion: etl.router/v1
kind: EtlTransform
metadata: {name: step}
spec: {grpc: {endpoint: "step:50051"}}
---
apiVersion: etl.router/v1
kind: EtlSink
metadata: {name: snk}
spec: {grpc: {endpoint: "sink:50051"}}
---
apiVersion: etl.router/v1
kind: EtlPipeline
metadata: {name: line}
spec: {source: src, steps: [step], sink: snk}
"""


def called(audit: Path) -> tuple[set[tuple[str, str, str]], set[str]]:
    """What the operator called (group, resource, verb), and what of it was forbidden."""
    used, forbidden = set(), set()
    for line in audit.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["user"] != ACCOUNT or "resource" not in entry:
            continue
        resource = "/".join(filter(None, (entry["resource"], entry.get("subresource"))))
        used.add((entry.get("group", ""), resource, entry["verb"]))
        if not entry["allowed"]:
            forbidden.add(line)
    return used, forbidden


def live(sandbox: Sandbox) -> None:
    """Change, scale, restart, grow and delete every kind."""

    def patch(target: str, spec: str) -> None:
        run(sandbox, "patch", target, "--type=merge", "-p", f'{{"spec":{spec}}}')
        generation = run(sandbox, "get", target, "-o", "jsonpath={.metadata.generation}")
        wait = ("wait", target, "--timeout=600s")
        run(sandbox, *wait, f"--for=jsonpath={{.status.observedGeneration}}={generation}")
        run(sandbox, *wait, "--for=condition=Ready")

    pod = run(sandbox, "get", "pod", "c-0", "-o", "jsonpath={.metadata.uid}")
    patch("erc/c", '{"podAnnotations":{"rolled":"once"}}')
    assert run(sandbox, "get", "pod", "c-0", "-o", "jsonpath={.metadata.uid}") != pod
    run(sandbox, "scale", "erc/c", "--replicas=2")
    run(sandbox, "wait", "erc/c", "--for=jsonpath={.status.readyReplicas}=2", "--timeout=600s")
    patch("erc/c", '{"storage":{"size":"2Gi"}}')
    grown = ("--for=jsonpath={.spec.resources.requests.storage}=2Gi", "--timeout=600s")
    run(sandbox, "wait", "pvc/data-c-0", *grown)
    run(sandbox, "create", "serviceaccount", "own")
    patch("erc/c", '{"podDisruptionBudget":{"enabled":false},"serviceAccountName":"own"}')
    run(sandbox, "wait", "--for=delete", "pdb/c", "serviceaccount/c", "--timeout=600s")
    for kind in ("etlsource/src", "etltransform/step", "etlsink/snk"):
        patch(kind, '{"weight":7}')
    patch("etlpipeline/line", '{"enabled":false}')
    run(sandbox, "delete", "etlpipeline/line", "etlsource/src", "etltransform/step", "etlsink/snk")
    run(sandbox, "delete", "erc/c", "--cascade=foreground", "--timeout=600s")


def test_every_right_is_there_and_every_right_is_used(
    start_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    manifest, audit = tmp_path / "life.yaml", tmp_path / "audit.log"
    manifest.write_text(MANIFEST, encoding="utf-8")
    sandbox = start_sandbox("--manifests", str(manifest), "--audit-log", str(audit))
    sandbox.wait_for_output("everything is Ready")
    live(sandbox)
    sandbox.stop()

    used, forbidden = called(audit)
    assert not forbidden
    objects = load_manifests(CONFIG / "rbac")
    granted = rules(only(objects, "ClusterRole", "etl-operator-manager-role"))
    granted |= rules(only(objects, "Role", "etl-operator-leader-election-role"))
    given = {(group, resource, verb) for group, resource, verb, _ in granted}
    assert {entry for entry in used if entry[1] not in FOR_EVERYBODY} <= given
    unused = {f"{verb} {resource}" for _, resource, verb in given - used}
    assert {entry if entry in UNUSED else entry.partition(" ")[0] for entry in unused} == set(UNUSED)
