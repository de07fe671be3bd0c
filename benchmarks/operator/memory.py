"""Memory of ``etl-operator run``, the very program users run, with many objects in its caches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.processes import MeasurementError, Program, cpus, stub

PIPELINES, SERVICES = 10_000, 1_000
_LIMIT = 60.0
"""Seconds until all caches must be full."""
_WORK = 10.0
"""Seconds the operator then works before it is looked at: time to reconcile every pipeline once."""


def operator_memory(directory: Path) -> dict[str, float]:
    """Resident memory in MiB, now and at most, with 10 000 pipelines and 1 000 services.

    The stub has no router cluster, so every pipeline is read, checked, and given a status that says so.

    :raises MeasurementError: when the operator does not get that far.
    """
    place = directory / "operator"
    place.mkdir()
    with stub(place) as running:
        running.set_objects(etlpipelines=PIPELINES, etlsources=SERVICES)
        command = [sys.executable, "-m", "etl_operator.cli", "run", "--no-preflight", "--no-leader-elect"]
        command += ["--metrics-bind-address", "0", "--health-probe-bind-address", "0"]
        environ = {"KUBECONFIG": str(running.kubeconfig)}
        operator = Program(command, cpus()[:1], place / "operator.log", environ)
        try:
            _wait(lambda: running.counts().get("patch", 0) > 0)
            time.sleep(_WORK)
            return {
                "operator_rss_mib": _memory(operator.pid, "VmRSS"),
                "operator_peak_mib": _memory(operator.pid, "VmHWM"),
            }
        finally:
            operator.stop()


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _LIMIT
    while not condition():
        if time.monotonic() > end:
            raise MeasurementError(f"the operator has not begun to work within {_LIMIT:.0f} s")
        time.sleep(0.2)


def _memory(pid: int, name: str) -> float:
    """A figure of the kernel about a process, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) / 1024
