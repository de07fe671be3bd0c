"""The real kubectl and a StatefulSet of local processes: rolling out, going back, logs, ways to delete."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from e2e.commands import NEEDS_KUBECTL, refused, run
from e2e.running import Sandbox, kubectl_process
from tests.hanging import HANGS

pytestmark = NEEDS_KUBECTL

NAMESPACE = "kubectl-workloads"
SCRIPT = 'echo "hello from $POD, version $VERSION"; trap "echo bye; exit 0" TERM; while :; do sleep 0.1; done'

NO_KUBELET = pytest.mark.sandbox_only(
    "a real API server asks the kubelet's own HTTPS endpoint, and there is none"
)


def here(sandbox: Sandbox, *arguments: str, stdin: str | None = None) -> str:
    """A command in the module's namespace."""
    return run(sandbox, "-n", NAMESPACE, *arguments, stdin=stdin)


def web(replicas: int = 2) -> str:
    """A StatefulSet whose pods say who they are."""
    container = {
        "name": "main",
        "image": "etl-router:latest",
        "command": ["sh", "-c", SCRIPT],
        "env": [
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "VERSION", "value": "1"},
        ],
    }
    return json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "web"},
            "spec": {
                "serviceName": "web",
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"terminationGracePeriodSeconds": 5, "containers": [container]},
                },
            },
        }
    )


@pytest.fixture(scope="module", autouse=True)
def namespace(sandbox: Sandbox) -> Iterator[None]:
    """A namespace of this module's own, removed with all that is in it."""
    run(sandbox, "create", "namespace", NAMESPACE)
    yield
    run(sandbox, "delete", "namespace", NAMESPACE, "--timeout=600s")


@pytest.fixture
def running(sandbox: Sandbox) -> Iterator[None]:
    """Two pods that are up."""
    here(sandbox, "apply", "-f", "-", stdin=web())
    rolled_out(sandbox)
    yield
    here(sandbox, "delete", "statefulset,pods", "-l", "app=web", "--timeout=600s")
    here(sandbox, "delete", "statefulset", "web", "--ignore-not-found", "--timeout=600s")
    here(sandbox, "wait", "--for=delete", "pods", "-l", "app=web", "--timeout=600s")


def rolled_out(sandbox: Sandbox) -> None:
    here(sandbox, "rollout", "status", "statefulset/web", "--timeout=600s")


def version(sandbox: Sandbox, pod: str) -> str:
    """What the pod's spec says."""
    path = "jsonpath={.spec.containers[0].env[?(@.name=='VERSION')].value}"
    return here(sandbox, "get", "pod", pod, "-o", path)


@pytest.mark.usefixtures("running")
def test_rolling_out_and_going_back(sandbox: Sandbox) -> None:
    here(sandbox, "set", "env", "statefulset/web", "VERSION=2")
    rolled_out(sandbox)
    assert [version(sandbox, pod) for pod in ("web-0", "web-1")] == ["2", "2"]
    history = here(sandbox, "rollout", "history", "statefulset/web").splitlines()
    assert [line.split()[0] for line in history if line[:1].isdigit()] == ["1", "2"]
    here(sandbox, "rollout", "undo", "statefulset/web")
    rolled_out(sandbox)
    assert [version(sandbox, pod) for pod in ("web-0", "web-1")] == ["1", "1"]
    before = here(sandbox, "get", "pod", "web-0", "-o", "jsonpath={.metadata.uid}")
    here(sandbox, "rollout", "restart", "statefulset/web")
    rolled_out(sandbox)
    assert here(sandbox, "get", "pod", "web-0", "-o", "jsonpath={.metadata.uid}") != before


@pytest.mark.usefixtures("running")
def test_scaling_down_removes_the_highest(sandbox: Sandbox) -> None:
    assert "scaled" in here(sandbox, "scale", "statefulset/web", "--replicas=1")
    here(sandbox, "wait", "--for=delete", "pod/web-1", "--timeout=600s")
    assert here(sandbox, "get", "pods", "-o", "name").split() == ["pod/web-0"]


@pytest.mark.usefixtures("running")
def test_ways_to_delete(sandbox: Sandbox) -> None:
    uid = here(sandbox, "get", "pod", "web-0", "-o", "jsonpath={.metadata.uid}")
    here(sandbox, "delete", "statefulset/web", "--cascade=orphan")
    assert here(sandbox, "get", "pods", "-o", "name").split() == ["pod/web-0", "pod/web-1"]
    # The next set of the name takes them over as they are.
    here(sandbox, "apply", "-f", "-", stdin=web())
    rolled_out(sandbox)
    assert here(sandbox, "get", "pod", "web-0", "-o", "jsonpath={.metadata.uid}") == uid
    here(sandbox, "delete", "statefulset/web", "--cascade=foreground", "--timeout=600s")
    assert here(sandbox, "get", "pods", "-o", "name") == ""
    here(sandbox, "apply", "-f", "-", stdin=web(1))
    rolled_out(sandbox)
    here(sandbox, "delete", "statefulset/web", "--cascade=background", "--wait=false")
    here(sandbox, "wait", "--for=delete", "pod/web-0", "--timeout=600s")


@NO_KUBELET
@pytest.mark.usefixtures("running")
def test_logs_of_one_of_all_and_as_they_come(sandbox: Sandbox) -> None:
    assert here(sandbox, "logs", "web-0") == "hello from web-0, version 1\n"
    both = here(sandbox, "logs", "-l", "app=web", "--prefix")
    assert "[pod/web-1/main] hello from web-1" in both
    following = kubectl_process(sandbox, "-n", NAMESPACE, "logs", "-f", "web-1")
    assert following.stdout is not None
    assert following.stdout.readline() == "hello from web-1, version 1\n"
    here(sandbox, "scale", "statefulset/web", "--replicas=1")
    # The last words of a pod that is asked to go, and then the end of the stream.
    assert following.communicate(timeout=HANGS)[0].endswith("bye\n")


@NO_KUBELET
def test_logs_of_the_run_before(sandbox: Sandbox) -> None:
    script = "echo run; [ -e ran ] && sleep 60; : > ran; echo first; exit 3"
    command = ("--command", "--", "sh", "-c", script)
    here(sandbox, "run", "again", "--image=etl-router:latest", *command)
    here(sandbox, "wait", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/again")
    here(sandbox, "wait", "--for=condition=Ready", "pod/again", "--timeout=600s")
    assert here(sandbox, "logs", "-p", "again") == "run\nfirst\n"
    columns = here(sandbox, "get", "pod", "again", "--no-headers").split()
    assert columns[:4] == ["again", "1/1", "Running", "1"]
    here(sandbox, "delete", "pod", "again", "--now", "--timeout=600s")


def test_what_cannot_start_says_why(sandbox: Sandbox) -> None:
    here(sandbox, "run", "lost", "--image=nowhere/nothing:1")
    reason = "{.status.containerStatuses[0].state.waiting.reason}"
    here(sandbox, "wait", f"--for=jsonpath={reason}=ErrImagePull", "pod/lost", "--timeout=600s")
    assert here(sandbox, "get", "pod", "lost", "--no-headers").split()[2] == "ErrImagePull"
    assert 'none for image "nowhere/nothing:1"' in here(sandbox, "describe", "pod", "lost")
    here(sandbox, "delete", "pod", "lost", "--now", "--timeout=600s")
    assert "not found" in refused(sandbox, "-n", NAMESPACE, "get", "pod", "lost")
