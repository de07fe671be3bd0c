"""Fixtures: running sandboxes, clients of them, and namespaces to play in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from e2e.realserver import Unavailable, programs
from e2e.running import SAMPLES, Sandbox
from e2e.scene import Scene, scene_in
from informers.client import Client, HttpTransport, load_kubeconfig
from tests.hanging import without_deadlines

without_deadlines()

COMMANDS: Mapping[str, Sequence[str]] = {
    "sandbox": (sys.executable, "-m", "etl_operator.cli", "sandbox"),
    "real": (sys.executable, "-m", "e2e.realcluster"),
}
"""How a control plane with everything around it is started, by ``--cluster``."""
_JOINED = (sys.executable, "-m", "e2e.joined", "--join")
"""How a sandbox joins the cluster of a kubeconfig, which follows."""


_KIND_VERSION = "v0.33.0"
"""Of kind, unless the variable ``KIND_VERSION`` says otherwise: its Kubernetes is the one of ``real``."""
_CREATED_WITHIN = 900
"""Seconds a cluster in Docker may take, its download included."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--cluster``: the embedded control plane, or the real one."""
    parser.addoption(
        "--cluster",
        default="sandbox",
        metavar="sandbox|real|kind|KUBECONFIG",
        help="sandbox: the embedded control plane (default); real: kube-apiserver, kube-controller-manager "
        "and etcd from KUBEBUILDER_ASSETS, or built with the Go toolchain; kind: a cluster of its own, where "
        "Docker runs; or the kubeconfig of a cluster that can be thrown away: its nodes are cordoned and its "
        "default StorageClass set aside meanwhile, and in the end every object of the operator's kinds and "
        "every namespace that is new is deleted",
    )
    parser.addoption(
        "--examples",
        type=int,
        default=200,
        help="how many random stories of server-side apply the conformance suite tells (default: 200)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Say what the suite's own mark means; refuse workers that would share a cluster."""
    config.addinivalue_line("markers", "sandbox_only(reason): about the embedded control plane itself")
    wanted = config.getoption("--cluster")
    if wanted in COMMANDS:
        return
    if wanted != "kind" and not Path(wanted).is_file():
        raise pytest.UsageError(f"--cluster {wanted}: not sandbox, real, kind or the file of a kubeconfig")
    if config.getoption("numprocesses", None):
        raise pytest.UsageError(f"--cluster {wanted}: a cluster has room for one sandbox at a time, use -n 0")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only the embedded control plane promises, by name; on a shared cluster, sort."""
    wanted = config.getoption("--cluster")
    if wanted == "sandbox":
        return
    for item in items:
        mark = item.get_closest_marker("sandbox_only")
        if mark is not None:
            item.add_marker(pytest.mark.skip(reason=str(mark.args[0])))
    if wanted not in COMMANDS:
        items.sort(key=_turn)
    if wanted == "kind":
        # Whichever test comes first waits for the cluster.
        for item in items:
            if item.get_closest_marker("skip") is None:
                item.add_marker(pytest.mark.timeout(_CREATED_WITHIN), append=False)
                break


def _turn(item: pytest.Item) -> int:
    """When a test's turn is where only one sandbox can be at a time: the one that stays comes last."""
    fixtures = getattr(item, "fixturenames", ())
    return ("start_sandbox" in fixtures) + ("sandbox" in fixtures)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> str:
    """``--cluster``; the real one's programs are there, or the run ends here."""
    wanted = str(request.config.getoption("--cluster"))
    if wanted == "real":
        try:
            programs()
        except Unavailable as error:
            pytest.exit(str(error), returncode=2)
    return wanted


@pytest.fixture(scope="session")
def shared_cluster(cluster: str) -> Iterator[Path | None]:
    """The kubeconfig of the one cluster that all tests are about, where there is such a one."""
    if cluster in COMMANDS:
        yield None
    elif cluster == "kind":
        yield from _kind()
    else:
        yield Path(cluster).absolute()


def _kind() -> Iterator[Path]:
    """A cluster in Docker."""
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("--cluster kind needs Docker, which does not run here")
    from pytest_kind import cluster as kind

    kind.KIND_VERSION = os.environ.get("KIND_VERSION", _KIND_VERSION)
    made = kind.KindCluster("etl-operator-e2e")
    made.create()
    try:
        yield Path(made.kubeconfig_path).absolute()
    finally:
        made.delete()


@pytest.fixture(scope="session")
def start_sandbox(
    cluster: str, shared_cluster: Path | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Sandbox]]:
    """Starts sandboxes, and ends them whatever happens."""
    command = (*_JOINED, str(shared_cluster)) if shared_cluster else COMMANDS[cluster]
    started: list[Sandbox] = []

    def start(*arguments: str, directory: Path | None = None) -> Sandbox:
        if shared_cluster:
            # It has room for one. Tests are sorted so that nobody needs the one before any more.
            end()
        sandbox = Sandbox(command, directory or tmp_path_factory.mktemp("sandbox"), *arguments)
        started.append(sandbox)
        return sandbox

    def end() -> None:
        while started:
            sandbox = started.pop()
            try:
                sandbox.stop()
            except subprocess.TimeoutExpired:
                sandbox.process.kill()
                sandbox.process.wait()

    yield start
    end()
    if shared_cluster:
        # The last one may have been killed.
        subprocess.run([*command, "--leave"], check=True, cwd=Path(__file__).parent.parent)


@pytest.fixture(scope="session")
def sandbox(start_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """A sandbox with the samples, all Ready."""
    # Some services of the tests listen beside it.
    running = start_sandbox("--proxy-anywhere", *SAMPLES)
    running.wait_for_output("everything is Ready")
    return running


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[Client]:
    """An administrator's client of the running sandbox."""
    made = Client(HttpTransport(load_kubeconfig(str(sandbox.kubeconfig))))
    yield made
    await made.close()


@pytest.fixture
async def scene(sandbox: Sandbox, client: Client, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """A namespace named after the test, with whatever it takes to play in it."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-").removeprefix("test-")
    async with scene_in(sandbox, client, words[:50].strip("-")) as made:
        yield made
