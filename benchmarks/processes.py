"""Processes of one measurement: the stub on one CPU, the measured program on another."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class MeasurementError(Exception):
    """A program failed, or did not say in time what it should."""


def cpus() -> tuple[int, int]:
    """The CPU of the measured program and that of the stub; the same one where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[min(1, len(allowed) - 1)]


def pinned(*cpus: int) -> Callable[[], None]:
    """Called in the child before it becomes the program: Go reads the number of CPUs at its start."""
    return lambda: os.sched_setaffinity(0, cpus)


class Program:
    """A running program that prints JSON lines, and may read some.

    :param cpus: where it may run.
    """

    def __init__(
        self,
        command: Sequence[str],
        cpus: Sequence[int],
        log_file: Path,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._log_file = log_file
        with log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **(environ or {})},
                preexec_fn=pinned(*cpus),
            )
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def ask(self, line: str) -> None:
        """Send it a line.

        :raises MeasurementError: it does not read any more.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise MeasurementError(f"ended with {self._process.wait()}: {self._complaint()}") from None

    def line(self, timeout: float) -> dict[str, Any]:
        """The next line.

        :raises MeasurementError: when none comes within ``timeout`` seconds, or the program has ended.
        """
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise MeasurementError(f"nothing for {timeout:g} s: {self._complaint()}") from None
        if not line:
            raise MeasurementError(f"ended with {self._process.wait()}: {self._complaint()}")
        said: dict[str, Any] = json.loads(line)
        return said

    def expect(self, phase: str, timeout: float) -> dict[str, Any]:
        """The next line, which must be of this phase."""
        said = self.line(timeout)
        if said.get("phase") != phase:
            raise MeasurementError(f"said {said.get('phase')!r} where {phase!r} was expected")
        return said

    def stop(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # Libraries print as well; only objects are for us.
            if line.startswith(b"{"):
                self._lines.put(line)
        self._lines.put(b"")

    def _complaint(self) -> str:
        return self._log_file.read_text(errors="replace").strip()[-2000:] or "no complaint"


class StubProcess:
    """The stub and its door.

    :param directory: where kubeconfigs, certificates and logs go.
    """

    def __init__(self, directory: Path, cpu: int) -> None:
        self._directory = directory
        ca_file = directory / "ca.crt"
        command = [sys.executable, "-m", "benchmarks.stub", "--ca-file", str(ca_file)]
        self._program = Program(command, [cpu], directory / "stub.log")
        ports = self._program.line(30.0)
        self._door = f"http://127.0.0.1:{ports['http']}/bench/"
        self.kubeconfig = self._kubeconfig("plain", {"server": f"http://127.0.0.1:{ports['http']}"})
        secure = {"server": f"https://127.0.0.1:{ports['https']}", "certificate-authority": str(ca_file)}
        self.secure_kubeconfig = self._kubeconfig("tls", secure)

    def set_objects(self, *, streaming: bool = True, **counts: int) -> None:
        """How many objects of each plural there are from now on; forgets the past.

        :param streaming: whether lists may be streamed; refused otherwise.
        """
        self._ask("objects", {**counts, "streaming": streaming})

    def emit(self, count: int, rate: float = 0.0) -> None:
        """Start a run of events, ``rate`` a second or as fast as clients take them."""
        self._ask("events", {"count": count, "rate": rate})

    def counts(self) -> dict[str, int]:
        """Requests since :meth:`set_objects`, by verb."""
        counted: dict[str, int] = self._ask("counts", None)
        return counted

    def stop(self) -> None:
        """End the process."""
        self._program.stop()

    def _ask(self, what: str, wanted: Mapping[str, Any] | None) -> Any:
        body = None if wanted is None else json.dumps(wanted).encode()
        # The door is always on the loopback address, whatever proxy the environment names.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self._door + what, body, timeout=30.0) as answer:
            return json.load(answer)

    def _kubeconfig(self, name: str, cluster: Mapping[str, str]) -> Path:
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "stub", "cluster": cluster}],
            "users": [{"name": "bench", "user": {"token": "bench"}}],
            "contexts": [{"name": "stub", "context": {"cluster": "stub", "user": "bench"}}],
            "current-context": "stub",
        }
        file = self._directory / f"{name}.kubeconfig"
        # JSON is YAML.
        file.write_text(json.dumps(content))
        return file


@contextlib.contextmanager
def stub(directory: Path) -> Iterator[StubProcess]:
    """A stub for as long as the context lasts."""
    running = StubProcess(directory, cpus()[1])
    try:
        yield running
    finally:
        running.stop()
