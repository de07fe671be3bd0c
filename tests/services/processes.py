"""Real processes of `etl-service` and of scripts, each on a loopback address of its own like a pod."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from etl_operator.router.pb import sink_pb2_grpc, transform_pb2_grpc
from tests.processes import GRPC, LoggedProcess, loopback, until

HEALTH, METRICS = 8080, 9090
PROGRAM = (sys.executable, "-m", "etl_operator.services")


class ServiceProcess(LoggedProcess):
    """One service.

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
        ip = loopback()
        super().__init__(ip, directory / f"{ip}.log")
        self.command = [*program, *arguments, f"--bind={ip}:{GRPC}"]
        self._env = env or {}

    def start(self) -> None:
        """Start, and do not wait."""
        self.spawn(self.command, self._env)

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

    @property
    def transform(self) -> Any:
        """TransformService."""
        return transform_pb2_grpc.TransformServiceStub(self.channel)  # type: ignore[no-untyped-call]

    @property
    def sink(self) -> Any:
        """SinkService."""
        return sink_pb2_grpc.SinkServiceStub(self.channel)  # type: ignore[no-untyped-call]


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
