"""The operator inside the sandbox: the very program users run, as a process of its own.

It gets a kubeconfig of its own service account, so its roles are enforced, and the name proxy
through ``grpc_proxy``, which gRPC honours by itself. Nothing else depends on where it runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

log = logging.getLogger(__name__)

_GRACE = 25.0
"""Seconds the operator gets to stop: its own grace of 20 s and a little more."""
_MAX_BACKOFF = 30.0


class OperatorProcess:
    """Keeps one ``etl-operator run`` alive, restarting it with back-off when it dies.

    :param kubeconfig: the service account's kubeconfig.
    :param log_file: where its output goes, appended.
    :param environment: added to this process's own environment.
    :param started: called with the process id after each start, for whoever guards against orphans.
    :param say: a line for the person watching.
    """

    def __init__(
        self,
        kubeconfig: Path,
        log_file: Path,
        *,
        environment: Mapping[str, str],
        arguments: tuple[str, ...] = (),
        started: Callable[[int], None],
        say: Callable[[str], None],
    ) -> None:
        self._command = (
            sys.executable, "-m", "etl_operator.cli", "run", "--kubeconfig", str(kubeconfig), *arguments,
        )  # fmt: skip
        self._log_file = log_file
        self._environment = environment
        self._started = started
        self._say = say

    async def run(self) -> None:
        """Run until cancelled; then stop the operator and wait for it."""
        delay = 1.0
        while True:
            began = asyncio.get_running_loop().time()
            code = await self._once()
            if asyncio.get_running_loop().time() - began > 2 * _MAX_BACKOFF:
                delay = 1.0
            self._say(f"the operator stopped with exit code {code}; starting it again in {delay:.0f} s")
            for line in self.tail():
                self._say(f"  | {line}")
            await asyncio.sleep(delay)
            delay = min(delay * 2, _MAX_BACKOFF)

    def tail(self, lines: int = 8) -> list[str]:
        """The last lines it logged."""
        try:
            text = self._log_file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        return text.splitlines()[-lines:]

    async def _once(self) -> int:
        with self._log_file.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self._environment},
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
        log.warning("the operator did not stop within %.0f s and was killed", _GRACE)
        process.kill()
        await process.wait()
