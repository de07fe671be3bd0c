"""``python -m e2e.peers.bare sandbox|real KUBECONFIG STATE_DIR``: an API server without anything beside it.

It ends with its standard input. Suites that start their own control plane expect it as bare.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from e2e.conformance.serving import real
from etl_operator.sandbox.http.files.kubeconfig import write_kubeconfig
from etl_operator.sandbox.http.server import EmbeddedServer


@asynccontextmanager
async def embedded(kubeconfig: Path) -> AsyncIterator[None]:
    """The sandbox's API server alone, in memory."""
    server = EmbeddedServer()
    await server.start()
    try:
        write_kubeconfig(kubeconfig, server.admin_kubeconfig())
        yield
    finally:
        await server.stop()


async def _serve(plane: AbstractAsyncContextManager[None]) -> None:
    async with plane:
        await asyncio.to_thread(sys.stdin.buffer.read)


def main(cluster: str, kubeconfig: str, state_dir: str) -> None:
    """Serve until standard input ends."""
    path = Path(kubeconfig)
    asyncio.run(_serve(embedded(path) if cluster == "sandbox" else real(path, Path(state_dir))))


if __name__ == "__main__":
    main(*sys.argv[1:])
