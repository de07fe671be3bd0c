"""A Go module with its tests, in a directory where they can be built."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import click

from e2e.realserver import Unavailable


def checked_out(module: str, version: str) -> Path:
    """A writable copy of a module, from the module proxy; made once.

    :raises Unavailable: without a Go toolchain, or when it cannot be downloaded.
    """
    if shutil.which("go") is None:
        raise Unavailable(f"no Go toolchain is on PATH to build the tests of {module}")
    directory = _cache() / f"{module.rpartition('/')[2]}-{version}"
    if directory.exists():
        return directory
    done = subprocess.run(
        ["go", "mod", "download", "-json", f"{module}@{version}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Unavailable(f"{module} {version} cannot be downloaded: {done.stdout}{done.stderr}")
    fresh = directory.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    # The module cache is read only, and tests are built in their own module.
    shutil.copytree(json.loads(done.stdout)["Dir"], fresh, copy_function=shutil.copyfile)
    for path in (fresh, *fresh.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    fresh.replace(directory)
    return directory


def test_program(directory: Path, package: str) -> Path:
    """The compiled tests of one package, built once.

    :raises Unavailable: when they do not build.
    """
    program = directory / ".tests" / f"{package.replace('/', '-')}.test"
    if not program.exists():
        click.echo(f"building the tests of {package}; the first build takes some minutes", err=True)
        done = subprocess.run(
            ["go", "test", "-c", "-o", str(program), f"./{package}"],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"the tests of {package} do not build: {done.stderr.strip()[-2000:]}")
    return program


def _cache() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = home / "etl-operator" / "peers"
    directory.mkdir(parents=True, exist_ok=True)
    return directory
