"""The real kubectl and Deployments: rolling out, going back, and an operator as users install it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.commands import NEEDS_KUBECTL, run, shows
from e2e.running import Sandbox

pytestmark = NEEDS_KUBECTL

NAMESPACE = "kubectl-deployments"
CONFIG = Path(__file__).resolve().parent.parent / "config"
WITHIN = "--timeout=600s"


def here(sandbox: Sandbox, *arguments: str, stdin: str | None = None) -> str:
    """A command in the module's namespace."""
    return run(sandbox, "-n", NAMESPACE, *arguments, stdin=stdin)


@pytest.fixture
def namespace(sandbox: Sandbox) -> Iterator[None]:
    """A namespace of the test's own, removed with all that is in it."""
    run(sandbox, "create", "namespace", NAMESPACE)
    yield
    run(sandbox, "delete", "namespace", NAMESPACE, WITHIN)


def web() -> str:
    container = {
        "name": "main",
        "image": "etl-router:latest",
        "command": ["sh", "-c", 'trap "exit 0" TERM; while :; do sleep 0.1; done'],
        "env": [{"name": "VERSION", "value": "1"}],
    }
    labels = {"app": "web"}
    return json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }
    )


def test_rollout_status_history_undo_restart_and_pause(sandbox: Sandbox, namespace: None) -> None:
    def versions() -> set[str]:
        pods = json.loads(here(sandbox, "get", "pods", "-l", "app=web", "-o", "json"))["items"]
        alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
        return {pod["spec"]["containers"][0]["env"][0]["value"] for pod in alive}

    here(sandbox, "apply", "-f", "-", stdin=web())
    done = here(sandbox, "rollout", "status", "deployment/web", WITHIN)
    assert 'deployment "web" successfully rolled out' in done
    here(sandbox, "set", "env", "deployment/web", "VERSION=2")
    here(sandbox, "rollout", "status", "deployment/web", WITHIN)
    assert versions() == {"2"}
    history = here(sandbox, "rollout", "history", "deployment/web").splitlines()
    assert [line.split()[0] for line in history[2:] if line.strip()] == ["1", "2"]
    assert "VERSION:\t1" in here(sandbox, "rollout", "history", "deployment/web", "--revision=1")

    assert "rolled back" in here(sandbox, "rollout", "undo", "deployment/web")
    here(sandbox, "rollout", "status", "deployment/web", WITHIN)
    assert versions() == {"1"}

    here(sandbox, "rollout", "restart", "deployment/web")
    here(sandbox, "rollout", "status", "deployment/web", WITHIN)
    here(sandbox, "rollout", "pause", "deployment/web")
    here(sandbox, "set", "env", "deployment/web", "VERSION=3")
    here(sandbox, "scale", "deployment/web", "--replicas=3")
    here(sandbox, "wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=3", WITHIN)
    assert versions() == {"1"}
    here(sandbox, "rollout", "resume", "deployment/web")
    here(sandbox, "rollout", "status", "deployment/web", WITHIN)
    assert versions() == {"3"}
    # In one line of `get`, as in a cluster.
    assert here(sandbox, "get", "deployment", "web", "--no-headers").split()[:4] == ["web", "3/3", "3", "3"]


@pytest.mark.sandbox_only("a real API server of these tests runs without the ServiceAccount admission plugin")
def test_an_installed_operator_takes_the_place_of_the_sandboxes_own(
    start_sandbox: Callable[..., Sandbox],
) -> None:
    sandbox = start_sandbox("--manifests", str(CONFIG / "samples" / "etlsource.yaml"))
    sandbox.wait_for_output("operator started")
    run(sandbox, "apply", "-k", str(CONFIG / "default"))
    name = "etl-operator-controller-manager"
    there = ("-n", "etl-operator-system")
    sandbox.wait_for_output(f"Deployment etl-operator-system/{name} runs an operator")
    assert "successfully rolled out" in run(
        sandbox, *there, "rollout", "status", f"deployment/{name}", WITHIN
    )
    # It does the work, under the rights of its own account.
    later = json.dumps(
        {
            "apiVersion": "etl.router/v1",
            "kind": "EtlSink",
            "metadata": {"name": "later"},
            "spec": {"grpc": {"endpoint": "a:1"}},
        }
    )
    run(sandbox, "apply", "-f", "-", stdin=later)
    run(sandbox, "wait", "etlsink/later", "--for=jsonpath={.status.observedGeneration}=1", WITHIN)
    lease = json.loads(run(sandbox, *there, "get", "lease", "etl-operator-leader", "-o", "json"))
    holder = lease["spec"]["holderIdentity"]
    pods = json.loads(run(sandbox, *there, "get", "pods", "-o", "json"))["items"]
    assert any(pod["metadata"]["uid"] in holder for pod in pods), holder

    run(sandbox, *there, "delete", "deployment", name)
    sandbox.wait_for_output("starting the operator of the sandbox again")
    run(sandbox, "delete", "etlsink", "later", WITHIN)


def test_what_nothing_runs_says_so(sandbox: Sandbox, namespace: None, cluster: str) -> None:
    if cluster != "sandbox":
        pytest.skip("a controller manager runs Jobs")
    here(sandbox, "create", "job", "once", "--image=etl-router:latest")
    shows(sandbox, "no controller for Jobs", "-n", NAMESPACE, "events", "--for", "job/once")
