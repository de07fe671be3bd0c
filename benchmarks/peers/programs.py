"""Building and naming the programs. What cannot be built here is named with the reason, and left out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.interpreter import python_command, version_of
from benchmarks.processes import ROOT

PEERS = ROOT / "benchmarks" / "peers"
BUILD = ROOT / "build" / "benchmarks"
"""Everything the benchmark builds; not under version control."""

OURS, GO, RUST, KOPF = "etl-operator", "controller-runtime", "kube-rs", "kopf"


@dataclass(frozen=True, slots=True)
class Peer:
    """A program that can be started.

    :param version: of the library that is measured.
    :param scenarios: what it can do.
    :param environ: what it needs in its environment when lists are to be paged.
    """

    name: str
    version: str
    command: Sequence[str]
    scenarios: frozenset[str]
    paged_environ: Mapping[str, str] = field(default_factory=dict)


class CannotBuildError(Exception):
    """The toolchain is missing or failed; the message says which and why."""


_ALL = frozenset({"sync", "ingest", "latency", "noop-empty", "noop-build", "apply"})


def build_all(names: Sequence[str], tell: Callable[[str], None]) -> tuple[list[Peer], dict[str, str]]:
    """Build the named programs.

    :param tell: told what is about to be built.
    :returns: what can be run, and why the others cannot.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    builders = {OURS: _ours, GO: _controller_runtime, RUST: _kube_rs, KOPF: _kopf}
    peers, skipped = [], {}
    for name in names:
        tell(f"building {name}")
        try:
            peers.append(builders[name]())
        except CannotBuildError as error:
            skipped[name] = str(error)
    return peers, skipped


def _ours() -> Peer:
    python = python_command(Path(sysconfig.get_path("platlib")), sys.executable)
    command = (*python, "-m", "benchmarks.peers.informers_peer")
    scenarios = _ALL | {"noop-gate", "noop-pydantic"}
    return Peer(OURS, f"(Python {version_of(python)})", command, scenarios)


def _controller_runtime() -> Peer:
    directory, program = PEERS / "go", BUILD / "controller-runtime-peer"
    _run(["go", "build", "-o", str(program), "."], directory, {"GOTOOLCHAIN": "local"})
    version = _found(r"sigs.k8s.io/controller-runtime (\S+)", directory / "go.mod")
    paged = {"KUBE_FEATURE_WatchListClient": "false"}
    return Peer(GO, version, (str(program),), _ALL, paged)


def _kube_rs() -> Peer:
    directory, target = PEERS / "rust", BUILD / "rust"
    _run(["cargo", "build", "--release", "--locked", "--quiet", "--target-dir", str(target)], directory)
    version = _found(r'name = "kube"\nversion = "(\S+)"', directory / "Cargo.lock")
    return Peer(RUST, version, (str(target / "release" / "peer"),), _ALL)


def _kopf() -> Peer:
    requirements, home = PEERS / "kopf-requirements.txt", BUILD / "kopf-venv"
    python = home / "bin" / "python"
    stamp = home / "installed.txt"
    wanted = requirements.read_text(encoding="utf-8")
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(home, ignore_errors=True)
        venv.create(home, with_pip=True)
        _run([str(python), "-m", "pip", "install", "--quiet", "-r", str(requirements)], ROOT)
        stamp.write_text(wanted, encoding="utf-8")
    version = _found(r"kopf==(\S+)", requirements)
    packages = Path(sysconfig.get_path("platlib", vars={"base": str(home), "platbase": str(home)}))
    command = (*python_command(packages, str(python)), str(PEERS / "kopf_peer.py"))
    return Peer(KOPF, version, command, frozenset({"sync", "ingest", "latency"}))


def _run(command: Sequence[str], directory: Path, environ: Mapping[str, str] | None = None) -> None:
    if shutil.which(command[0]) is None:
        raise CannotBuildError(f"no {command[0]} on PATH")
    done = subprocess.run(
        command, cwd=directory, env={**os.environ, **(environ or {})}, capture_output=True, check=False
    )
    if done.returncode:
        complaint = done.stderr.decode(errors="replace").strip().splitlines()
        raise CannotBuildError(f"{command[0]} failed: {' '.join(complaint[-3:]) or done.returncode}")


def _found(pattern: str, file: Path) -> str:
    match = re.search(pattern, file.read_text(encoding="utf-8"))
    return match[1] if match else "unknown"
