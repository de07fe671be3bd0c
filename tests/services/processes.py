"""Real processes of `etl-service` and of scripts, each on a loopback address of its own like a pod."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
from prometheus_client.parser import text_string_to_metric_families

from etl_operator.router.pb import sink_pb2_grpc, transform_pb2_grpc
from tests.node.cluster import until

GRPC, HEALTH, METRICS = 50051, 8080, 9090
PROGRAM = (sys.executable, "-m", "etl_operator.services")


def loopback() -> str:
    """An address that probably nobody else uses."""
    pick = random.SystemRandom()
    return f"127.{pick.randint(128, 191)}.{pick.randint(0, 255)}.{pick.randint(1, 254)}"


class ServiceProcess:
    """One service; may be started again after it ended.

    :param arguments: behind the program; the address to bind is added.
    """

    def __init__(
        self,
        directory: Path,
        arguments: Sequence[str],
        *,
        program: Sequence[str] = PROGRAM,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.ip = loopback()
        self.command = [*program, *arguments, f"--bind={self.ip}:{GRPC}"]
        self.log = directory / f"{self.ip}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._env = {**os.environ, **(env or {})}
        self._channel: grpc.aio.Channel | None = None

    def start(self) -> None:
        """Start, and do not wait."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT, env=self._env)

    def logs(self) -> str:
        """What it wrote."""
        return self.log.read_text() if self.log.exists() else ""

    async def ready(self) -> None:
        """Wait until it says that it is ready."""

        def answered() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.logs()
            return self.get("/readyz")[0] == 200

        await until(answered, self.logs)

    def get(self, path: str, port: int = HEALTH) -> tuple[int, str]:
        """An HTTP GET: status and body; status 0 while nobody listens."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{self.ip}:{port}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def values(self) -> dict[tuple[str, ...], float]:
        """Metrics: name and label values -> value."""
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(self.get("/metrics", METRICS)[1])
            for sample in family.samples
        }

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    async def terminate(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await self.exit_code()

    async def exit_code(self) -> int:
        """Wait for the end."""
        process = self.process
        assert process is not None
        await until(lambda: process.poll() is not None, self.logs)
        return process.returncode

    @property
    def channel(self) -> grpc.aio.Channel:
        """A channel to it."""
        if self._channel is None:
            options = [("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 200)]
            self._channel = grpc.aio.insecure_channel(f"{self.ip}:{GRPC}", options=options)
        return self._channel

    @property
    def transform(self) -> Any:
        """TransformService."""
        return transform_pb2_grpc.TransformServiceStub(self.channel)  # type: ignore[no-untyped-call]

    @property
    def sink(self) -> Any:
        """SinkService."""
        return sink_pb2_grpc.SinkServiceStub(self.channel)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Kill it if it runs."""
        if self._channel is not None:
            await self._channel.close(None)
        if self.process is not None and self.process.poll() is None:
            self.kill()


@asynccontextmanager
async def service(directory: Path, *arguments: str, **options: Any) -> AsyncIterator[ServiceProcess]:
    """A service that is ready; killed at the end."""
    process = ServiceProcess(directory, arguments, **options)
    process.start()
    try:
        await process.ready()
        yield process
    finally:
        await process.close()


@asynccontextmanager
async def started(directory: Path, *arguments: str, **options: Any) -> AsyncIterator[ServiceProcess]:
    """A service that was started, ready or not; killed at the end."""
    process = ServiceProcess(directory, arguments, **options)
    process.start()
    try:
        yield process
    finally:
        await process.close()
