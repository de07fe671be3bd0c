"""One bare control plane as a process of its own: no node, no operator.

::

    python -m e2e.conformance.serving sandbox|real --kubeconfig FILE --state-dir DIRECTORY

It writes the administrator's kubeconfig when it is ready, and ends with its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from e2e.realserver import RealServer
from etl_operator.sandbox.http.files.kubeconfig import write_kubeconfig
from etl_operator.sandbox.http.server import EmbeddedServer
from etl_operator.sandbox.loops import run_loops
from etl_operator.sandbox.reaper import Reaper
from informers.apiserver.admission import Admission
from informers.client import Client, HttpTransport, load_kubeconfig


@asynccontextmanager
async def embedded(kubeconfig: Path) -> AsyncIterator[None]:
    """The sandbox's API server and loops, in memory."""
    # As the real server is started: the recorded answers are those of pods without token volumes.
    server = EmbeddedServer(admission=Admission(disabled=("ServiceAccount",)))
    await server.start()
    try:
        write_kubeconfig(kubeconfig, server.admin_kubeconfig())
        client = Client(HttpTransport(load_kubeconfig(str(kubeconfig)), user_agent="kube-controller-manager"))
        loops = asyncio.create_task(run_loops(client), name="controller loops")
        try:
            yield
        finally:
            loops.cancel()
            await asyncio.gather(loops, return_exceptions=True)
            await client.close()
    finally:
        await server.stop()


@asynccontextmanager
async def real(kubeconfig: Path, state_dir: Path) -> AsyncIterator[None]:
    """etcd, kube-apiserver and kube-controller-manager.

    :raises e2e.realserver.Unavailable: when they cannot be had on this machine.
    """
    async with Reaper(state_dir) as reaper:
        server = RealServer(state_dir, reaper)
        try:
            await server.start()
            write_kubeconfig(kubeconfig, server.admin_kubeconfig())
            yield
        finally:
            await server.stop()


async def _serve(options: argparse.Namespace) -> None:
    plane = embedded(options.kubeconfig)
    if options.cluster == "real":
        plane = real(options.kubeconfig, options.state_dir)
    async with plane:
        # Ends with whoever started it, however that comes to its end.
        await asyncio.to_thread(sys.stdin.buffer.read)


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m e2e.conformance.serving")
    parser.add_argument("cluster", choices=("sandbox", "real"))
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
