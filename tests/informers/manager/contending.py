"""Two real processes that contend for one lease, and one that is stopped past its lease."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from etl_operator.sandbox.http.server import EmbeddedServer
from informers.apiserver.store import Change
from informers.objects import ObjectKey, Resource
from tests.hanging import HANGS

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


async def until(condition: Callable[[], object], what: str, within: float = HANGS) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        await asyncio.sleep(0.005)


async def check_stopped_leader(
    kubeconfig: Path, witness: Witness, writes: Sequence[tuple[str, str]], *arguments: str
) -> None:
    """Stop a leader until another one has taken over: from then on it must write nothing.

    :param writes: who wrote, and who held the lease at that moment; grows as the two write.
    :param arguments: of both processes.
    """

    def last() -> str:
        return writes[-1][0] if writes else ""

    async with contender(kubeconfig, "one", *arguments) as one:
        await until(lambda: last() == "one", "the first one writes")
        async with contender(kubeconfig, "two", *arguments):
            # Right after a write was accepted: none is on its way at this moment.
            count = len(writes)
            await until(lambda: len(writes) > count, "another write of the first")
            one.send_signal(signal.SIGSTOP)
            await until(lambda: witness.holder == "two", "the second takes over")
            await until(lambda: last() == "two", "the second writes")
            taken_over = len(writes)
            one.send_signal(signal.SIGCONT)
            # The first resumes, and tries fifty times a second, as the second goes on.
            await until(lambda: len(writes) > taken_over + 100, "the second goes on")
            assert {writer for writer, _ in writes[taken_over:]} == {"two"}
            assert all(writer == holder for writer, holder in writes)
        # The first still works: when the second is gone, it leads again.
        await until(lambda: last() == "one", "the first leads again")
        assert all(writer == holder for writer, holder in writes)
