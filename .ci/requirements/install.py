"""Install one of the locked sets into a virtual environment, with this project in editable form.

``python install.py VENV SET`` reads ``SET.txt`` beside this file and checks every download against its hash.
uv installs the packages, because it is several times faster than pip. If uv is not available for this
machine, or cannot connect to an index, pip installs them, with the complete configuration of the user.

Needs only the standard library.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
_OF_PIP = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "cert": "SSL_CERT_FILE"}
"""Settings of pip that uv needs: the address of an index, and the certificate authorities to trust."""
_EVERY = 10
"""pip's progress is printed each time this number of packages has been fetched."""


def main(environment: Path, name: str) -> int:
    """Install; the exit code."""
    began = time.monotonic()
    python, wanted = environment / "bin" / "python", HERE / f"{name}.txt"
    count = len(list(_pins(wanted)))
    _say(f"installing {count} packages of .ci/requirements/{name}.txt into {environment}")
    if not _with_uv(python, wanted) and not _with_pip(python, wanted, count):
        return 1
    _say(f"{environment} is ready after {time.monotonic() - began:.0f} s")
    return 0


def _pins(file: Path) -> Iterator[str]:
    return (line for line in file.read_text().splitlines() if line[:1].isalnum())


def _with_uv(python: Path, wanted: Path) -> bool:
    uv = python.parent / "uv"
    (pin,) = _pins(HERE / "installer.txt")
    version = pin.split()[0].replace("==", " ")
    if _output(uv, "--version")[: len(version)] != version:
        _say(f"fetching {version}, the installer")
        arguments = ("--require-hashes", "--only-binary", ":all:", "-r", str(HERE / "installer.txt"))
        if _run(python, *_PIP, "install", "--quiet", *arguments):
            _say("uv cannot be installed; using pip")
            return False
    install = (uv, "pip", "install", "--python", str(python))
    environment = {**_from_pip(python), **os.environ}
    if _run(*install, *_BUILDERS, environment=environment) or _run(
        *install, *_LOCKED, str(wanted), environment=environment
    ):
        _say("uv failed; using pip, with its own configuration")
        return False
    return not _run(*install, *_ITSELF, environment=environment)


def _with_pip(python: Path, wanted: Path, count: int) -> bool:
    install = (python, *_PIP, "install", "--progress-bar", "off", "--use-pep517")
    if _run(*install, "--quiet", *_BUILDERS):
        return False
    command = [str(part) for part in (*install, *_LOCKED, wanted)]
    collected, lines = 0, []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            lines.append(line)
            if line.startswith(("Collecting ", "Requirement already")):
                collected += 1
                if collected % _EVERY == 0:
                    print(f"    {collected} of {count} packages fetched", flush=True)
            elif line.startswith("Installing "):
                print(f"    {count} of {count} packages fetched, installing them", flush=True)
    if running.returncode:
        print("".join(lines), end="", flush=True)
        return False
    return not _run(*install, "--quiet", *_ITSELF)


_PIP = ("-m", "pip", "--disable-pip-version-check")
_BUILDERS = ("--require-hashes", "-r", str(HERE / "build.txt"))
_LOCKED = ("--require-hashes", "--no-build-isolation", "-r")
"""Packages without a wheel are built with locked build tools."""
_ITSELF = ("--no-index", "--no-deps", "--no-build-isolation", "--editable", str(PROJECT))
"""The project itself; its build tools are already installed."""


def _from_pip(python: Path) -> Mapping[str, str]:
    """pip's configuration, from files and variables, as variables of uv."""
    found = {}
    for line in _output(python, *_PIP, "config", "list").splitlines():
        key, _, value = line.partition("=")
        name = _OF_PIP.get(key.rpartition(".")[2])
        if name is not None:
            found[name] = " ".join(value.strip("'\"").split())
    return found


def _run(*command: Path | str, environment: Mapping[str, str] | None = None) -> int:
    sys.stdout.flush()
    try:
        return subprocess.call([str(part) for part in command], env=environment)
    except OSError as error:
        print(f"    {command[0]}: {error.strerror}", flush=True)
        return 1


def _output(*command: Path | str) -> str:
    try:
        return subprocess.run(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=False,
        ).stdout
    except OSError:
        return ""


def _say(text: str) -> None:
    print(f"==> {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
