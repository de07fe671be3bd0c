"""Processes that tests start: each has a loopback address of its own, as a pod has, and a log file."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import grpc.aio

from etl_operator.tls.credentials import ChannelTls
from tests.hanging import HANGS

GRPC = 50051
"""The main port of router nodes and of services."""


def loopback() -> str:
    """An address that probably nobody else uses."""
    pick = random.SystemRandom()
    return f"127.{pick.randint(128, 191)}.{pick.randint(0, 255)}.{pick.randint(1, 254)}"


async def until(
    condition: Callable[[], bool | Awaitable[bool]], explain: Callable[[], str] = lambda: ""
) -> None:
    """Wait for a condition; fail with an explanation where waiting for it hangs."""
    end = time.monotonic() + HANGS
    while True:
        value = condition()
        if await value if isinstance(value, Awaitable) else value:
            return
        assert time.monotonic() < end, f"the condition never held\n{explain()}"
        await asyncio.sleep(0.02)


class LoggedProcess:
    """One process; may be started again after it ended.

    :param ip: where it listens.
    :param log: what it writes is appended to this file.
    """

    def __init__(self, ip: str, log: Path) -> None:
        self.ip = ip
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.tls: ChannelTls | None = None
        """Set: its main port is called so."""
        self._channel: grpc.aio.Channel | None = None

    def spawn(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Start, and do not wait.

        :param env: added to the environment of the test.
        """
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **env}
            )

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

    def logs(self) -> str:
        """What it wrote."""
        return self.log.read_text() if self.log.exists() else ""

    @property
    def channel(self) -> grpc.aio.Channel:
        """A channel to its main port."""
        if self._channel is None:
            options = [("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 200)]
            target = f"{self.ip}:{GRPC}"
            self._channel = (
                grpc.aio.insecure_channel(target, options=options)
                if self.tls is None
                else grpc.aio.secure_channel(target, self.tls.credentials(), options=options)
            )
        return self._channel

    async def close(self) -> None:
        """Kill it if it runs, and close the channel."""
        if self._channel is not None:
            await self._channel.close(None)
        if self.process is not None and self.process.poll() is None:
            self.kill()
