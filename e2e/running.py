"""A running sandbox, as a user starts it, and ways to look at it from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tests.hanging import HANGS

T = TypeVar("T")

SAMPLES = ("--manifests", str(Path(__file__).resolve().parent.parent / "config" / "samples"))
"""Options of a sandbox with the sample objects, and without the services that move records."""


class Sandbox:
    """One ``etl-operator sandbox`` process; its output goes to a file that failures show."""

    def __init__(self, command: Sequence[str], directory: Path, *arguments: str) -> None:
        self.state_dir = directory / "state"
        self.kubeconfig = directory / "kubeconfig"
        self._log = directory / "output.log"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *command,
                    *("--state-dir", str(self.state_dir), "--kubeconfig", str(self.kubeconfig)),
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
            )

    @property
    def output(self) -> str:
        """Everything it has printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait_for_output(self, text: str, timeout: float = HANGS) -> None:
        """Wait until it has printed ``text``."""
        deadline = time.monotonic() + timeout
        while text not in self.output:
            assert self.process.poll() is None, f"the sandbox ended early:\n{self.output}"
            assert time.monotonic() < deadline, f"no {text!r} within {timeout} s:\n{self.output}"
            time.sleep(0.05)

    def processes(self) -> list[str]:
        """Process id and command line of whatever mentions this sandbox's files, but for itself."""
        listing = subprocess.run(
            ["ps", "-wweo", "pid=,stat=,args="], capture_output=True, text=True, check=True
        )
        found = []
        for line in listing.stdout.splitlines():
            pid, stat, arguments = line.split(None, 2)
            if str(self.state_dir) in arguments and int(pid) != self.process.pid and "Z" not in stat:
                found.append(line.strip())
        return found

    def wait_for_no_process(self, timeout: float = HANGS) -> None:
        """Wait until no process of this sandbox is left."""
        deadline = time.monotonic() + timeout
        while left := self.processes():
            assert time.monotonic() < deadline, "still running:\n" + "\n".join(left)
            time.sleep(0.05)

    def stop(self, how: int = signal.SIGINT, timeout: float = HANGS) -> int:
        """Send a signal and wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout)


async def eventually(
    check: Callable[[], Awaitable[T | None]], *, what: str, within: float = HANGS, every: float = 0.1
) -> T:
    """Wait until ``check`` gives something true, and return it."""
    deadline = time.monotonic() + within
    while not (result := await check()):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        await asyncio.sleep(every)
    return result


def _environment(sandbox: Sandbox) -> dict[str, str]:
    return {**os.environ, "KUBECONFIG": str(sandbox.kubeconfig), "HOME": str(sandbox.state_dir)}


def kubectl_process(sandbox: Sandbox, *arguments: str) -> subprocess.Popen[str]:
    """Start the real kubectl against the sandbox; its output and errors are read by the caller."""
    return subprocess.Popen(
        ["kubectl", *arguments],
        env=_environment(sandbox),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kubectl(
    sandbox: Sandbox, *arguments: str, stdin: str | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the real kubectl against the sandbox."""
    return subprocess.run(
        ["kubectl", *arguments],
        env={**_environment(sandbox), **(environment or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
