"""The etcd process of a node: found, checked, started, and started again after it ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from collections import deque
from pathlib import Path

from etl_operator.node.consensus.address import Address
from etl_operator.node.consensus.engine import ConsensusError, StorageCorrupt
from etl_operator.node.consensus.etcd.client import version_problem
from etl_operator.node.consensus.settings import Timing
from etl_operator.tls.files import TlsFiles

log = logging.getLogger(__name__)

_LAUNCHER = Path(__file__).with_name("launch.py")
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 5.0
_REMOVED = "removed from the cluster"
"""So etcd says for good: a member that was removed never comes back, and its data is of no use."""
_ATTEMPTS = 3
"""Starts without success after which the node ends, and says what etcd's last words were."""
_END_SECONDS = 10.0
_LONGEST_SOCKET = 100
"""Bytes of a Unix socket's path: the kernel takes 107."""
_MOST_SPACE = 8 * 2**30
_LEAST_SPACE = 64 * 2**20
_WAL = 3 * 64 * 2**20
"""etcd keeps room for its log in files of 64 MiB."""


def find(binary: str | None) -> str | None:
    """Path of the etcd program: the one that is named, else the one on PATH; None if there is none."""
    return shutil.which(binary or "etcd")


async def check(binary: str) -> None:
    """See that the program can be used.

    :raises ConsensusError: it is no etcd, or too old.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            binary, "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
    except OSError as error:
        raise ConsensusError(f"cannot run etcd at {binary}: {error}") from error
    found = re.search(r"etcd Version: (\S+)", output.decode(errors="replace"))
    if found is None:
        raise ConsensusError(f"{binary} --version does not name a version of etcd")
    if problem := version_problem(found[1]):
        raise ConsensusError(f"cannot use etcd at {binary}: {problem}")


class Program:
    """One etcd member as a child of this process.

    :param directory: for its data; made when it starts.
    :param bind: where it listens for other members.
    :param quota: bytes that its store may take; None: half of what the disk has, up to 8 GiB.
    """

    def __init__(
        self,
        binary: str,
        directory: Path,
        node_id: int,
        bind: Address,
        *,
        timing: Timing,
        tls: TlsFiles | None = None,
        quota: int | None = None,
    ) -> None:
        self._binary = binary
        self._directory = directory
        self._node_id = node_id
        self._bind = bind
        self._timing = timing
        self._tls = tls
        self._fixed_quota = quota
        self.quota = 0
        """Of the running process."""
        self._process: asyncio.subprocess.Process | None = None
        self._words: deque[str] = deque(maxlen=5)
        self._healthy = self._removed = False
        self._socket_directory: Path | None = None
        self._again = asyncio.Event()

    @property
    def has_data(self) -> bool:
        """It has been a member."""
        return (self._directory / "member").exists()

    @property
    def pid(self) -> int | None:
        """Of the process, if it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def scheme(self) -> str:
        """Of the members' addresses."""
        return "https" if self._tls else "http"

    def prepare(self) -> str:
        """Make the directories; the gRPC target of the process."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return f"unix:{self._socket()}"

    def _socket(self) -> Path:
        own = self._directory.absolute() / "client.sock"
        if len(os.fsencode(own)) <= _LONGEST_SOCKET:
            return own
        if self._socket_directory is None:
            self._socket_directory = Path(
                tempfile.mkdtemp(prefix="etl-etcd-", dir=_short(tempfile.gettempdir()))
            )
        return self._socket_directory / "client.sock"

    def healthy(self) -> None:
        """It serves: what it logged before is no reason to give up."""
        self._healthy = True

    def space(self) -> int:
        """The quota that the disk allows now."""
        if self._fixed_quota is not None:
            return self._fixed_quota
        disk = shutil.disk_usage(self._directory)
        own = sum(path.stat().st_size for path in self._directory.rglob("*") if path.is_file())
        return max(_LEAST_SPACE, min(_MOST_SPACE, (disk.free + own - _WAL) // 2))

    async def restart(self) -> None:
        """Start it again, as after the disk has grown."""
        self._again.set()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    async def run(self, initial: str, state: str, url: str) -> None:
        """Keep it running until cancelled, or removed from the cluster: its data is deleted then.

        :param initial: all members as etcd's ``--initial-cluster`` has them. Used without data only.
        :param state: ``new`` or ``existing``.
        :param url: this member's own address in it.
        :raises ConsensusError: it does not start.
        """
        attempts, pause = 0, _FIRST_PAUSE
        while True:
            code = await self._once(initial, state, url)
            if self._again.is_set():
                self._again.clear()
                continue
            attempts, pause = (0, _FIRST_PAUSE) if self._healthy else (attempts + 1, pause)
            self._healthy = False
            words = "; ".join(self._words) or "it logged nothing"
            if self._removed:
                self._forget()
                return
            if attempts >= _ATTEMPTS and shutil.disk_usage(self._directory).free > _LEAST_SPACE:
                raise StorageCorrupt(f"etcd does not start in {self._directory}: {words}")
            log.warning("etcd ended with %s; starting it again: %s", code, words)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE)

    def _forget(self) -> None:
        self._removed = False
        log.warning("this node was removed from the cluster; its etcd data is deleted")
        shutil.rmtree(self._directory / "member", ignore_errors=True)

    async def _once(self, initial: str, state: str, url: str) -> int:
        socket = self._socket()
        socket.unlink(missing_ok=True)
        self.quota = self.space()
        self._words.clear()
        flags = self._flags(initial, state, url)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ETCD_")}
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), self._binary, *flags),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        try:
            assert self._process.stderr is not None
            await self._relay(self._process.stderr)
            return await self._process.wait()
        finally:
            await self._end()

    async def _relay(self, lines: asyncio.StreamReader) -> None:
        """Log what it says until it ends."""
        while True:
            try:
                line = await lines.readline()
            except ValueError:  # Longer than the buffer.
                continue
            if not line:
                return
            level, text = _said(line.decode(errors="replace").strip())
            # etcd warns of much that is no trouble here.
            log.log(logging.INFO if level == logging.WARNING else level, "etcd: %s", text)
            if level >= logging.WARNING:
                self._words.append(text[:500])
            self._removed |= _REMOVED in text

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await process.wait()
        except (TimeoutError, asyncio.CancelledError):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def close(self) -> None:
        """Remove what only a running process needs."""
        if self._socket_directory is not None:
            shutil.rmtree(self._socket_directory, ignore_errors=True)

    def _flags(self, initial: str, state: str, url: str) -> list[str]:
        client = f"unix://{self._socket()}"
        election = int(self._timing.election_min * 1000)
        flags = {
            "name": name_of(self._node_id),
            "data-dir": self._directory,
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": f"{self.scheme}://{self._bind}",
            "initial-advertise-peer-urls": url,
            "initial-cluster": initial,
            "initial-cluster-state": state,
            "initial-cluster-token": "etl-router",
            # etcd wants five heartbeats at least in an election timeout, which it lengthens at random by up
            # to as much again.
            "heartbeat-interval": max(1, min(int(self._timing.heartbeat * 1000), election // 5)),
            "election-timeout": election,
            "quota-backend-bytes": self.quota,
            "log-level": "warn",
        }
        if self._tls is not None:
            flags |= {
                "peer-cert-file": self._tls.certificate,
                "peer-key-file": self._tls.key,
                "peer-trusted-ca-file": self._tls.authority or "",
                "peer-client-cert-auth": "true",
            }
        return [f"--{flag}={value}" for flag, value in flags.items()]


def _short(directory: str) -> str:
    """A directory in which the path of a socket is short enough."""
    room = _LONGEST_SOCKET - len("/etl-etcd-12345678/client.sock")
    return directory if len(os.fsencode(directory)) <= room else "/tmp"  # noqa: S108 - made by mkdtemp


def name_of(node_id: int) -> str:
    """etcd's name of a node's member."""
    return f"node-{node_id}"


def _said(line: str) -> tuple[int, str]:
    """Level and text of a line of etcd's log, which is JSON if nothing is badly wrong."""
    try:
        entry = json.loads(line)
        level = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING}.get(
            entry.pop("level"), logging.ERROR
        )
        text = entry.pop("msg")
    except (ValueError, KeyError, AttributeError, TypeError):
        return logging.ERROR, line
    more = ", ".join(
        f"{key}={value}" for key, value in entry.items() if key not in ("ts", "caller", "stacktrace")
    )
    return level, f"{text} ({more})" if more else str(text)
