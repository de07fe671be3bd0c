"""Fixtures: running sandboxes, clients of them, and namespaces to play in."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from e2e.realserver import Unavailable, programs
from e2e.running import Sandbox
from e2e.scene import Scene, scene_in
from informers.client import Client, HttpTransport, load_kubeconfig

COMMANDS: Mapping[str, Sequence[str]] = {
    "sandbox": (sys.executable, "-m", "etl_operator.cli", "sandbox"),
    "real": (sys.executable, "-m", "e2e.realcluster"),
}
"""How a control plane with everything around it is started, by ``--cluster``."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--cluster``: the embedded control plane, or the real one."""
    parser.addoption(
        "--cluster",
        default="sandbox",
        metavar="sandbox|real|kind|KUBECONFIG",
        help="sandbox: the embedded control plane (default); real: kube-apiserver, kube-controller-manager "
        "and etcd from KUBEBUILDER_ASSETS, or built with the Go toolchain; the conformance suite also takes "
        "kind, where Docker runs, and the kubeconfig of any cluster that may be written to",
    )
    parser.addoption(
        "--examples",
        type=int,
        default=200,
        help="how many random stories of server-side apply the conformance suite tells (default: 200)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Say what the suite's own mark means."""
    config.addinivalue_line("markers", "sandbox_only(reason): about the embedded control plane itself")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only the embedded control plane promises, by name."""
    if config.getoption("--cluster") == "sandbox":
        return
    for item in items:
        mark = item.get_closest_marker("sandbox_only")
        if mark is not None:
            item.add_marker(pytest.mark.skip(reason=str(mark.args[0])))


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
def start_sandbox(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Sandbox]]:
    """Starts sandboxes, and ends them whatever happens."""
    if cluster not in COMMANDS:
        pytest.skip(f"the operator's own tests start a sandbox themselves; {cluster} is none")
    started: list[Sandbox] = []

    def start(*arguments: str, directory: Path | None = None) -> Sandbox:
        where = directory or tmp_path_factory.mktemp("sandbox")
        sandbox = Sandbox(COMMANDS[cluster], where, *arguments)
        started.append(sandbox)
        return sandbox

    yield start
    for sandbox in started:
        if sandbox.process.poll() is None:
            try:
                sandbox.stop()
            except subprocess.TimeoutExpired:
                sandbox.process.kill()
                sandbox.process.wait()


@pytest.fixture(scope="session")
def sandbox(start_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """A sandbox with the samples, all Ready."""
    running = start_sandbox()
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
