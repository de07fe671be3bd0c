"""Callers who connect and do not go on: each listener bears them, and the others do not notice."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest

from etl_operator.node import limits
from etl_operator.router.pb import router_pb2, router_pb2_grpc
from tests.node.cluster import HTTP, METRICS, RAFT, RouterProcess, running
from tests.processes import GRPC, until

FILES = 512
"""What the node may open; container runtimes often allow 1024."""
CROWD = 600

FEW_FILES = (
    "import os, resource, sys;"
    f"resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES}));"
    "os.execvp(sys.argv[1], sys.argv[1:])"
)
LAUNCHER = (sys.executable, "-c", FEW_FILES)


def half_open(address: tuple[str, int], said: bytes) -> list[socket.socket]:
    callers = []
    for _ in range(CROWD):
        caller = socket.create_connection(address)
        with contextlib.suppress(OSError):
            caller.sendall(said)
        callers.append(caller)
    return callers


@contextlib.asynccontextmanager
async def crowd(node: RouterProcess, port: int, said: bytes = b"") -> AsyncIterator[None]:
    """So many callers of one port, who say this and no more."""
    callers = await asyncio.to_thread(half_open, (node.ip, port), said)
    try:
        yield
    finally:
        for caller in callers:
            caller.close()


async def serves_newcomers(node: RouterProcess) -> bool:
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"{node.ip}:{GRPC}", options=options) as channel:
        admin = router_pb2_grpc.RouterAdminStub(channel)  # type: ignore[no-untyped-call]
        try:
            await admin.GetClusterStatus(router_pb2.GetClusterStatusRequest(), timeout=2)
        except grpc.aio.AioRpcError:
            return False
    return True


@pytest.mark.parametrize(
    ("port", "said"),
    [
        (HTTP, b"GET /hea"),
        (METRICS, b"GET /metrics HT"),
        (METRICS, b""),
        (RAFT, b"\0\0"),
        (GRPC, b"PRI * HT"),
    ],
    ids=["health", "metrics", "metrics, silent", "raft", "grpc"],
)
async def test_a_crowd_at_one_listener_keeps_nobody_out(tmp_path: Path, port: int, said: bytes) -> None:
    async with running(tmp_path, 1, launcher=LAUNCHER) as cluster:
        node = await cluster.leader()
        async with crowd(node, port, said):
            for _ in range(3):
                assert (await node.get("/health"))[0] == 200
                assert (await node.get("/metrics", METRICS))[0] == 200
            # Those who come after a crowd that fills the gRPC port wait until it has been sent away.
            await until(lambda: serves_newcomers(node), cluster.logs)
        assert "Traceback" not in node.logs()
        assert "descriptor" not in node.logs()
        assert await node.terminate() == 0


async def test_a_member_comes_back_through_a_crowd_at_the_raft_port(tmp_path: Path) -> None:
    async with running(tmp_path, 3, launcher=LAUNCHER) as cluster:
        leader = await cluster.leader()
        back = next(node for node in cluster.nodes.values() if node is not leader)

        async def ready() -> bool:
            return (await back.get("/ready"))[0] == 200

        back.kill()
        async with crowd(leader, RAFT):
            back.start(cluster.nodes)
            await until(ready, cluster.logs)
            assert (await leader.get("/ready"))[0] == 200
        assert not any("Traceback" in node.logs() for node in cluster.nodes.values())


def test_files_are_left_for_everything_but_callers() -> None:
    assert limits.callers(1024) < 1024 - 3 * 64
    assert limits.callers(1 << 20) == limits.MOST_CALLERS
    assert limits.callers(10) > 0


def test_the_limit_of_open_files_is_raised_as_far_as_allowed() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 512), before[1]))
        raised = limits.raise_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (raised, before[1])
        assert raised >= min(before[1], limits.MOST_CALLERS) > 512
        assert limits.raise_open_files() == raised
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
