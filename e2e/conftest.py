"""A running sandbox, as a user starts it, and ways to look at it from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from e2e.realserver import Unavailable, programs
from informers.client import Client, HttpTransport, load_kubeconfig

T = TypeVar("T")

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


class Sandbox:
    """One ``etl-operator sandbox`` process; its output goes to a file that failures show."""

    def __init__(self, command: Sequence[str], directory: Path, *arguments: str) -> None:
        self.state_dir = directory / "state"
        self.kubeconfig = directory / "kubeconfig"
        self._log = directory / "output.log"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *command,
                    *("--state-dir", str(self.state_dir), "--kubeconfig", str(self.kubeconfig)),
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
            )

    @property
    def output(self) -> str:
        """Everything it has printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait_for_output(self, text: str, timeout: float = 90) -> None:
        """Wait until it has printed ``text``."""
        deadline = time.monotonic() + timeout
        while text not in self.output:
            assert self.process.poll() is None, f"the sandbox ended early:\n{self.output}"
            assert time.monotonic() < deadline, f"no {text!r} within {timeout} s:\n{self.output}"
            time.sleep(0.05)

    def processes(self) -> list[str]:
        """Process id and command line of whatever mentions this sandbox's files, but for itself."""
        listing = subprocess.run(
            ["ps", "-wweo", "pid=,stat=,args="], capture_output=True, text=True, check=True
        )
        found = []
        for line in listing.stdout.splitlines():
            pid, stat, arguments = line.split(None, 2)
            if str(self.state_dir) in arguments and int(pid) != self.process.pid and "Z" not in stat:
                found.append(line.strip())
        return found

    def wait_for_no_process(self, timeout: float = 30) -> None:
        """Wait until no process of this sandbox is left."""
        deadline = time.monotonic() + timeout
        while left := self.processes():
            assert time.monotonic() < deadline, "still running:\n" + "\n".join(left)
            time.sleep(0.05)

    def stop(self, how: int = signal.SIGINT, timeout: float = 60) -> int:
        """Send a signal and wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout)


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


async def eventually(
    check: Callable[[], Awaitable[T | None]], *, what: str, within: float = 60, every: float = 0.1
) -> T:
    """Wait until ``check`` gives something true, and return it."""
    deadline = time.monotonic() + within
    while not (result := await check()):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        await asyncio.sleep(every)
    return result


def kubectl(
    sandbox: Sandbox, *arguments: str, stdin: str | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the real kubectl against the sandbox."""
    return subprocess.run(
        ["kubectl", *arguments],
        env={
            **os.environ,
            "KUBECONFIG": str(sandbox.kubeconfig),
            "HOME": str(sandbox.state_dir),
            **(environment or {}),
        },
        input=stdin,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
