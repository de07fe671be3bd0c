"""Two real processes and one lease: the one that was stopped past its lease writes nothing afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from etl_operator.sandbox.http.kubeconfig import write_kubeconfig
from etl_operator.sandbox.http.server import EmbeddedServer
from informers.apiserver.store import Change
from informers.objects import ObjectKey, Resource
from tests.hanging import HANGS
from tests.sandbox.http.serving import serving

LEASE = Resource("coordination.k8s.io", "v1", "leases", "Lease")
ROOT = Path(__file__).parents[3]


@contextlib.asynccontextmanager
async def contender(kubeconfig: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process, killed at the end whatever state it is in."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.informers.manager.contender", str(kubeconfig), *arguments, cwd=ROOT
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Witness:
    """Every write to the log that the server accepted, and who held the lease at that moment."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.writes: list[tuple[str, str]] = []
        self._server = server
        server.core.subscribe(self._saw)

    def _saw(self, change: Change) -> None:
        if change.key == ObjectKey("default", "log") and change.stored is not None:
            self.writes.append((change.stored.obj["data"]["writer"], self.holder))

    @property
    def holder(self) -> str:
        lease = self._server.core.find(LEASE, ObjectKey("default", "contended"))
        return str((lease or {}).get("spec", {}).get("holderIdentity") or "")

    @property
    def last(self) -> str:
        return self.writes[-1][0] if self.writes else ""


async def until(condition: Callable[[], object], what: str, within: float = HANGS) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        await asyncio.sleep(0.005)


async def test_a_stopped_leader_writes_nothing_after_its_lease(tmp_path: Path) -> None:
    async with serving() as server:
        kubeconfig = tmp_path / "kubeconfig"
        write_kubeconfig(kubeconfig, server.admin_kubeconfig())
        witness = Witness(server)
        async with contender(kubeconfig, "one") as one:
            await until(lambda: witness.last == "one", "the first one writes")
            async with contender(kubeconfig, "two"):
                # Right after a write was accepted: none is on its way at this moment.
                count = len(witness.writes)
                await until(lambda: len(witness.writes) > count, "another write of the first")
                one.send_signal(signal.SIGSTOP)
                await until(lambda: witness.holder == "two", "the second takes over")
                await until(lambda: witness.last == "two", "the second writes")
                taken_over = len(witness.writes)
                one.send_signal(signal.SIGCONT)
                # The first comes to, and tries fifty times a second, as the second goes on.
                await until(lambda: len(witness.writes) > taken_over + 100, "the second goes on")
                assert {writer for writer, _ in witness.writes[taken_over:]} == {"two"}
                assert all(writer == holder for writer, holder in witness.writes)
                # It was no ghost: when the second goes for good, the first leads again.
            await until(lambda: witness.last == "one", "the first leads again")
            assert all(writer == holder for writer, holder in witness.writes)
