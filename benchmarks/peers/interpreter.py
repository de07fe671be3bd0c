"""Which Python the measured programs run on: the fastest build at hand of the version that runs this.

One version of CPython comes in builds that differ by a fifth in speed. Distributions and container images
have it built with profile-guided optimisation; what version managers compile often is not. The programs in Go
and Rust are optimised builds as well, so ours and kopf are given the best there is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_SAMPLES = 5
_WORK = """
import sys, time
def work():
    known = {}
    for number in range(60_000):
        known[number & 1023] = (number, str(number), [number])
    return len(known)
best = 1e9
for _ in range(5):
    began = time.process_time()
    work()
    best = min(best, time.process_time() - began)
print(sys.implementation.cache_tag, best)
"""
"""Prints what bytecode and extensions must match, and the seconds a bit of ordinary work takes."""


def python_command(packages: Path, own: str) -> tuple[str, ...]:
    """How to start the fastest Python there is, with the packages of a virtual environment.

    :param packages: the environment's ``site-packages``; its extensions fit every build of one version.
    :param own: the environment's own interpreter, which is taken unless another is faster by a twentieth.
    """
    best, seconds = own, _seconds(own)
    for candidate in _candidates():
        if (found := _seconds(candidate)) < min(seconds, 0.95 * _seconds(own)):
            best, seconds = candidate, found
    if best == own:
        return (own,)
    root = Path(__file__).resolve().parents[2]
    return ("/usr/bin/env", f"PYTHONPATH={root}{os.pathsep}{packages}", best)


def _candidates() -> Sequence[str]:
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = [Path(directory) / name for directory in os.environ.get("PATH", "").split(os.pathsep)]
    return [str(path) for path in dict.fromkeys(found) if os.access(path, os.X_OK)]


_known: dict[str, float] = {}


def _seconds(python: str) -> float:
    """How long the sample takes; endless for what cannot run it, or is of another version."""
    if python not in _known:
        _known[python] = min(_sample(python) for _ in range(_SAMPLES))
    return _known[python]


def _sample(python: str) -> float:
    ran = subprocess.run([python, "-c", _WORK], capture_output=True, text=True, check=False)
    tag, _, seconds = ran.stdout.strip().partition(" ")
    return float(seconds) if ran.returncode == 0 and tag == sys.implementation.cache_tag else float("inf")


def version_of(command: Sequence[str]) -> str:
    """The version an interpreter says it has, and where it is from if it is not the one that runs this."""
    asked = "import platform; print(platform.python_version())"
    said = subprocess.run([*command, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
    return said if len(command) == 1 else f"{said}, the fastest build at hand"
