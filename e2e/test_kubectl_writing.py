"""The real kubectl: making, changing and removing objects of every sort."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.commands import NEEDS_KUBECTL, refused, run
from e2e.running import Sandbox, kubectl
from tests.definitions import definition, with_spec
from tests.hanging import HANGS

pytestmark = NEEDS_KUBECTL

NAMESPACE = "kubectl-writing"


@pytest.fixture(scope="module", autouse=True)
def namespace(sandbox: Sandbox) -> Iterator[None]:
    """A namespace of this module's own, removed with all that is in it."""
    run(sandbox, "create", "namespace", NAMESPACE)
    yield
    run(sandbox, "delete", "namespace", NAMESPACE, "--timeout=600s")
    assert "not found" in refused(sandbox, "get", "namespace", NAMESPACE)


def here(sandbox: Sandbox, *arguments: str, stdin: str | None = None) -> str:
    """A command in the module's namespace."""
    return run(sandbox, "-n", NAMESPACE, *arguments, stdin=stdin)


GENERATED = {
    "configmap/made": "configmap made --from-literal=a=b",
    "secret/made": "secret generic made --from-literal=a=b",
    "secret/registry": "secret docker-registry registry --docker-username=u --docker-password=p",
    "deployment.apps/made": "deployment made --image=nowhere/nothing:1",
    "serviceaccount/made": "serviceaccount made",
    "role.rbac.authorization.k8s.io/made": "role made --verb=get --resource=pods",
    "rolebinding.rbac.authorization.k8s.io/made": "rolebinding made --role=made --serviceaccount=x:made",
    "service/made": "service clusterip made --tcp=80:8080",
    "service/balanced": "service loadbalancer balanced --tcp=80",
    "poddisruptionbudget.policy/made": "poddisruptionbudget made --selector=a=b --min-available=1",
    "resourcequota/made": "quota made --hard=pods=30",
    "job.batch/made": "job made --image=nowhere/nothing:1",
    "cronjob.batch/made": "cronjob made --image=nowhere/nothing:1 --schedule='0 0 1 1 *'",
    "ingress.networking.k8s.io/made": "ingress made --rule=example.com/=made:80",
}


@pytest.mark.parametrize("target", GENERATED)
def test_generators_speak_protobuf_and_are_understood(sandbox: Sandbox, target: str) -> None:
    words = shlex.split(GENERATED[target])
    assert f"{target} created" in here(sandbox, "create", *words)
    assert here(sandbox, "get", target, "-o", "name").strip() == target
    columns = here(sandbox, "get", target, "-o", "wide").splitlines()
    assert columns[1].split()[0] == target.partition("/")[2]
    assert here(sandbox, "describe", target).startswith("Name:")
    here(sandbox, "delete", target, "--timeout=600s")


def test_patches_of_all_three_types_and_of_the_status(sandbox: Sandbox) -> None:
    here(sandbox, "create", "deployment", "patched", "--image=nowhere/nothing:1", "--replicas=0")
    patches = {
        "strategic": '{"spec":{"template":{"spec":{"containers":[{"name":"more","image":"x"}]}}}}',
        "merge": '{"metadata":{"labels":{"by":"merge"}}}',
        "json": '[{"op":"add","path":"/metadata/labels/also","value":"json"}]',
    }
    for kind, patch in patches.items():
        assert "patched" in here(sandbox, "patch", "deployment/patched", f"--type={kind}", "-p", patch)
    found = json.loads(here(sandbox, "get", "deployment", "patched", "-o", "json"))
    assert {c["name"] for c in found["spec"]["template"]["spec"]["containers"]} == {"more", "nothing"}
    assert found["metadata"]["labels"] == {"app": "patched", "by": "merge", "also": "json"}
    condition = '{"status":{"conditions":[{"type":"Told","status":"True"}]}}'
    here(sandbox, "patch", "deployment/patched", "--subresource=status", "--type=merge", "-p", condition)
    here(sandbox, "wait", "--for=condition=Told", "deployment/patched", "--timeout=600s")
    assert here(sandbox, "get", "deployment/patched", "--subresource=scale").split()[:4] == [
        "NAME",
        "DESIRED",
        "AVAILABLE",
        "AGE",
    ]


def test_set_label_annotate_and_expose(sandbox: Sandbox) -> None:
    here(sandbox, "create", "deployment", "shown", "--image=nowhere/nothing:1", "--replicas=0", "--port=80")
    here(sandbox, "set", "image", "deployment/shown", "nothing=nowhere/nothing:2")
    here(sandbox, "set", "env", "deployment/shown", "COLOUR=blue")
    here(sandbox, "set", "resources", "deployment/shown", "--limits=cpu=1500m,memory=2048Mi")
    found = json.loads(here(sandbox, "get", "deployment", "shown", "-o", "json"))
    (container,) = found["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "nowhere/nothing:2"
    assert container["env"] == [{"name": "COLOUR", "value": "blue"}]
    assert container["resources"]["limits"] == {"cpu": "1500m", "memory": "2Gi"}
    here(sandbox, "label", "deployment/shown", "team=data")
    here(sandbox, "annotate", "deployment/shown", "note=hello")
    assert "already has a value" in refused(
        sandbox, "-n", NAMESPACE, "label", "deployment/shown", "team=other"
    )
    here(sandbox, "label", "deployment/shown", "team=other", "--overwrite")
    assert "shown" in here(sandbox, "get", "deployments", "-l", "team in (other)", "-o", "name")
    here(sandbox, "label", "deployment/shown", "team-")
    assert here(sandbox, "get", "deployments", "-l", "team", "-o", "name") == ""
    assert "service/shown exposed" in here(sandbox, "expose", "deployment/shown")


def test_apply_prunes_what_is_no_longer_there(sandbox: Sandbox, tmp_path: Path) -> None:
    def config_map(name: str) -> str:
        meta = {"name": name, "labels": {"set": "pruned"}}
        return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})

    for name in ("stays", "goes"):
        (tmp_path / f"{name}.json").write_text(config_map(name), encoding="utf-8")
    allowed = "--prune-allowlist=core/v1/ConfigMap"
    prune = ("apply", "--prune", "-l", "set=pruned", allowed, "-f", str(tmp_path))
    here(sandbox, *prune)
    (tmp_path / "goes.json").unlink()
    assert "configmap/goes pruned" in here(sandbox, *prune)
    assert here(sandbox, "get", "configmap", "-l", "set=pruned", "-o", "name").split() == ["configmap/stays"]


def test_replace_create_twice_and_dry_runs(sandbox: Sandbox) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plain"}, "data": {"a": "1"}}
    text = json.dumps(body)
    for how in ("--dry-run=server", "--dry-run=client"):
        assert "created" in here(sandbox, "create", how, "-f", "-", stdin=text)
    here(sandbox, "create", "-f", "-", stdin=text)
    assert 'configmaps "plain" already exists' in refused(
        sandbox, "-n", NAMESPACE, "create", "-f", "-", stdin=text
    )
    changed = text.replace('"1"', '"2"')
    assert "replaced" in here(sandbox, "replace", "-f", "-", stdin=changed)
    uid = here(sandbox, "get", "configmap/plain", "-o", "jsonpath={.metadata.uid}")
    here(sandbox, "replace", "--force", "-f", "-", stdin=text)
    assert here(sandbox, "get", "configmap/plain", "-o", "jsonpath={.metadata.uid}") != uid


def test_a_kind_of_ones_own_comes_and_goes(sandbox: Sandbox) -> None:
    toys = definition(
        "Toy",
        "kubectl.test",
        with_spec(
            {
                "type": "object",
                "description": "What the toy is made of.",
                "properties": {"colour": {"type": "string"}},
            }
        ),
        names={"shortNames": ["ty"]},
    )
    run(sandbox, "apply", "-f", "-", stdin=json.dumps(toys))
    # kubectl stumbles over an object that has no conditions yet.
    run(sandbox, "wait", "--for=jsonpath={.status.acceptedNames.kind}=Toy", "crd/toys.kubectl.test")
    run(sandbox, "wait", "--for=condition=Established", "crd/toys.kubectl.test", "--timeout=600s")
    # Discovery follows a moment later, on every server.
    deadline = time.monotonic() + HANGS
    while kubectl(sandbox, "get", "toys").returncode:
        assert time.monotonic() < deadline, "the new kind is not discovered"
    toy = {"apiVersion": "kubectl.test/v1", "kind": "Toy", "metadata": {"name": "ball"}}
    here(sandbox, "apply", "-f", "-", stdin=json.dumps({**toy, "spec": {"colour": "red"}}))
    assert here(sandbox, "get", "ty", "-o", "jsonpath={.items[*].spec.colour}") == "red"
    assert "What the toy is made of." in run(sandbox, "explain", "toy.spec")
    assert "unknown field" in refused(
        sandbox,
        *("-n", NAMESPACE, "apply", "-f", "-"),
        stdin=json.dumps({**toy, "spec": {"color": "red"}}),
    )
    run(sandbox, "delete", "crd", "toys.kubectl.test", "--timeout=600s")
    assert "toys" not in run(sandbox, "api-resources", "-o", "name")


def test_a_kind_that_is_not_there_is_what_is_wrong(sandbox: Sandbox) -> None:
    manifest = json.dumps({"apiVersion": "nope.example/v1", "kind": "Nope", "metadata": {"name": "x"}})
    # For a kind that no OpenAPI v3 document has, kubectl reads version 2 in its protobuf form.
    said = refused(sandbox, "apply", "-f", "-", stdin=manifest)
    assert 'no matches for kind "Nope" in version "nope.example/v1"' in said
    assert "ensure CRDs are installed first" in said


def test_a_field_that_is_not_there_is_refused(sandbox: Sandbox) -> None:
    metadata = {"name": "strict", "namespace": NAMESPACE}
    manifest: dict[str, object] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    strictly = ("apply", "--validate=strict", "-f", "-")
    said = refused(sandbox, *strictly, stdin=json.dumps({**manifest, "nothing": 1}))
    assert "nothing" in said
    assert "created" in run(sandbox, *strictly, stdin=json.dumps(manifest))
