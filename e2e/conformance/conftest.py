"""The server under test, and the closing list of what is known to be different."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.conformance.deviations import DEVIATIONS
from e2e.conformance.place import ACCOUNT, MAP, NAMESPACE, Place, becomes
from e2e.occupation import put_back, set_aside
from informers.client import Client, HttpTransport, load_kubeconfig
from informers.errors import NotFound
from informers.objects import ObjectKey

START_WITHIN = 90.0


def _started(cluster: str, directory: Path) -> Iterator[Path]:
    """A control plane of its own, as long as the tests run."""
    kubeconfig, log = directory / "kubeconfig", directory / "output.log"
    module = (sys.executable, "-m", "e2e.conformance.serving", cluster)
    files = ("--kubeconfig", str(kubeconfig), "--state-dir", str(directory / "state"))
    (directory / "state").mkdir()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*module, *files],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        )
    try:
        deadline = time.monotonic() + START_WITHIN
        while not kubeconfig.exists():
            said = log.read_text(encoding="utf-8", errors="replace")
            assert process.poll() is None, f"the control plane ended early:\n{said}"
            assert time.monotonic() < deadline, f"no control plane within {START_WITHIN:.0f} s:\n{said}"
            time.sleep(0.02)
        yield kubeconfig
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)


@pytest.fixture(scope="session")
def server(
    cluster: str, shared_cluster: Path | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The kubeconfig of an administrator of the server under test."""
    if shared_cluster is None:
        yield from _started(cluster, tmp_path_factory.mktemp("conformance"))
        return
    # The tests are their own scheduler and node.
    _with_client(shared_cluster, set_aside)
    try:
        yield shared_cluster
    finally:
        _with_client(shared_cluster, put_back)


def _with_client(kubeconfig: Path, work: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        client = Client(HttpTransport(load_kubeconfig(str(kubeconfig))))
        try:
            await work(client)
        finally:
            await client.close()

    asyncio.run(main())


@pytest.fixture
async def transport(server: Path) -> AsyncIterator[HttpTransport]:
    """An administrator's connection."""
    made = HttpTransport(load_kubeconfig(str(server)), user_agent="asker")
    yield made
    await made.close()


@pytest.fixture
async def client(transport: HttpTransport) -> Client:
    """An administrator's client."""
    return Client(transport)


@pytest.fixture
async def place(client: Client) -> AsyncIterator[Place]:
    """A new namespace, with the account that pods need."""
    made = Place(client, f"controllers-{secrets.token_hex(3)}")
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made.name}}
    await client.create(NAMESPACE, body)
    await becomes(lambda: made.get(ACCOUNT, "default"), "the namespace has its service account")
    yield made
    for one in await made.all(MAP):
        if one["metadata"].get("finalizers"):
            await client.patch(MAP, ObjectKey.of(one), {"metadata": {"finalizers": None}})
    with contextlib.suppress(NotFound):
        await client.delete(NAMESPACE, ObjectKey("", made.name))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what the embedded server is known to do otherwise."""
    if config.getoption("--cluster") != "sandbox":
        return
    terminalreporter.section("known deviations from a real kube-apiserver")
    for one in DEVIATIONS:
        terminalreporter.write_line(f"- {one.reason} ({len(one.scenarios) + len(one.asks)} checks)")
