"""Engines on real etcd processes."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from e2e.realserver import etcd
from etl_operator.node.consensus.etcd.client import Client, NoSpace, delete, put
from etl_operator.node.consensus.etcd.engine import EtcdEngine, Own
from tests.node.group import Group
from tests.processes import until

MISSING = (
    "no etcd on PATH, in KUBEBUILDER_ASSETS or in the cache; `python -m e2e.realserver` builds it with Go"
)

JUNK = b"junk/"


def binary() -> str:
    """The etcd program; skips the test if there is none."""
    found = etcd()
    if found is None:
        pytest.skip(MISSING)
    return str(found)


class EtcdGroup(Group):
    """Engines on etcd, each with a process of its own."""

    def make(self, *where: Any, **options: Any) -> Any:
        quota = options.pop("quota", None)
        return EtcdEngine(*where, store=Own(binary(), quota=quota), **options)

    def readable(self, node: int) -> bool:
        return bool(self.engines[node].status().caught_up)

    def engine(self, node: int) -> EtcdEngine:
        found: Any = self.engines[node]
        assert isinstance(found, EtcdEngine)
        return found

    def pid(self, node: int) -> int:
        """Of its etcd process."""
        program = self.engine(node)._program
        assert program is not None
        assert program.pid is not None
        return program.pid

    def client(self, node: int) -> Client:
        """Of its etcd process, for what nodes never do."""
        return self.engine(node)._client

    async def crash(self, node: int) -> None:
        """End an engine and its etcd without any farewells."""
        engine = self.engine(node)
        program = engine._program
        assert program is not None
        if program._process is not None and program._process.returncode is None:
            program._process.send_signal(signal.SIGKILL)
        engine._stopped = True
        await engine._end()
        del self.engines[node]

    async def fill(self, node: int) -> None:
        """Write until there is no space."""
        number = 0
        while True:
            number += 1
            try:
                await self.client(node).txn([], [put(JUNK + b"%d" % number, b"x" * 500_000)])
            except NoSpace:
                return

    async def empty(self, node: int) -> None:
        """Give the space back."""
        await self.client(node).txn([], [delete(JUNK, JUNK[:-1] + b"0")])


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    await until(lambda: not Path(f"/proc/{pid}/stat").exists() or _ended(pid))
    await asyncio.sleep(0)


def _ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
