"""Real router processes, each on a loopback address of its own, as pods have theirs."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import yaml

from etl_operator.router.pb import registry_pb2_grpc, router_pb2, router_pb2_grpc
from tests.processes import GRPC, LoggedProcess, until

RAFT, HTTP, METRICS = 50052, 8080, 9090

CONFIG = {
    "cluster": {
        "election_timeout_min_ms": 500,
        "election_timeout_max_ms": 1000,
        "heartbeat_interval_ms": 100,
        "snapshot_interval": 10_000,
        "max_entries_per_append": 100,
    },
    "buffer": {
        "max_total_records": 1_000_000,
        "max_per_source": 100_000,
        "max_per_stage": 100_000,
        "backpressure_threshold": 0.8,
        "backpressure_resume_threshold": 0.6,
    },
    "grpc": {
        "max_message_size": 67_108_864,
        "keepalive_interval_secs": 10,
        "keepalive_timeout_secs": 5,
    },
    "metrics": {"enabled": True, "listen_addr": "0.0.0.0:9090"},
}


class RouterProcess(LoggedProcess):
    """One node."""

    def __init__(self, cluster: RouterCluster, node_id: int) -> None:
        super().__init__(f"{cluster.network}.{node_id}", cluster.directory / f"node-{node_id}.log")
        self._cluster = cluster
        self.node_id = node_id

    def start(self, members: Iterable[int]) -> None:
        """Start with the given member ids as peers."""
        peers = [m for m in members if m != self.node_id]
        flags = [f"--peers={peer}:{self._cluster.network}.{peer}:{RAFT}" for peer in peers]
        flags += [*self._cluster.flags, *self._cluster.node_flags.get(self.node_id, ())]
        self.spawn([*self._cluster.launcher, *self.command(), *flags], self._cluster.env)

    def command(self) -> list[str]:
        """The command line without peers."""
        return [
            sys.executable,
            "-m",
            "etl_operator.node",
            f"--node-id={self.node_id}",
            f"--listen-addr={self.ip}:{GRPC}",
            f"--raft-addr={self.ip}:{RAFT}",
            f"--graphql-addr={self.ip}:{HTTP}",
            f"--metrics-addr={self.ip}:{METRICS}",
            f"--data-dir={self._cluster.directory / 'data'}",
            f"--config={self._cluster.config_file}",
        ]

    def workers(self) -> list[int]:
        """Process ids of its data workers."""
        assert self.process is not None
        pid = self.process.pid
        with contextlib.suppress(FileNotFoundError):
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []

    @property
    def admin(self) -> Any:
        """RouterAdmin."""
        return router_pb2_grpc.RouterAdminStub(self.channel)  # type: ignore[no-untyped-call]

    @property
    def registry(self) -> Any:
        """ServiceRegistry."""
        return registry_pb2_grpc.ServiceRegistryStub(self.channel)  # type: ignore[no-untyped-call]

    async def status(self) -> router_pb2.GetClusterStatusResponse | None:
        """GetClusterStatus, or None while the node does not answer."""
        try:
            answer: router_pb2.GetClusterStatusResponse = await self.admin.GetClusterStatus(
                router_pb2.GetClusterStatusRequest(), timeout=2
            )
        except grpc.aio.AioRpcError:
            return None
        return answer

    async def get(self, path: str, port: int = HTTP) -> tuple[int, str]:
        """An HTTP GET: status and body; status 0 while nobody listens."""
        try:
            reader, writer = await asyncio.open_connection(self.ip, port)
        except OSError:
            return 0, ""
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {self.ip}\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        head, _, body = answer.partition("\r\n\r\n")
        return int(head.split(" ")[1]), body


class RouterCluster:
    """Some nodes.

    :param flags: for every node.
    :param node_flags: for single nodes, by id.
    :param env: for every node.
    :param launcher: a command that starts the one that follows it. Not a function: what runs between fork and
        exec in a process that has gRPC's threads may hang.
    """

    def __init__(
        self,
        directory: Path,
        *,
        flags: Iterable[str] = (),
        node_flags: Mapping[int, Sequence[str]] | None = None,
        env: dict[str, str] | None = None,
        launcher: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.flags = list(flags)
        self.node_flags = node_flags or {}
        self.env = env or {}
        self.launcher = launcher
        pick = random.SystemRandom()
        self.network = f"127.{pick.randint(64, 127)}.{pick.randint(0, 255)}"
        self.config_file = directory / "router.yaml"
        self.config_file.write_text(yaml.safe_dump(CONFIG))
        self.nodes: dict[int, RouterProcess] = {}

    def start(self, members: Iterable[int]) -> None:
        """Start these nodes, each with all of them as members."""
        members = list(members)
        for member in members:
            self.node(member).start(members)

    def node(self, node_id: int) -> RouterProcess:
        """A node, running or not."""
        return self.nodes.setdefault(node_id, RouterProcess(self, node_id))

    async def leader(self, of: Iterable[int] | None = None) -> RouterProcess:
        """Wait until these nodes (default: all) are ready and name the same leader among them."""
        wanted = list(of or self.nodes)
        found: list[RouterProcess] = []

        async def agreed() -> bool:
            answers = [await self.node(n).status() for n in wanted]
            leaders = {answer.leader_id if answer else 0 for answer in answers}
            ready = [(await self.node(n).get("/ready"))[0] == 200 for n in wanted]
            if len(leaders) == 1 and all(ready) and leaders <= set(wanted):
                found.append(self.node(leaders.pop()))
            return bool(found)

        await until(agreed, self.logs)
        return found[-1]

    def logs(self) -> str:
        """Of all nodes."""
        return "\n".join(f"--- node {n}\n{node.logs()}" for n, node in self.nodes.items())


@asynccontextmanager
async def running(directory: Path, members: int, **options: Any) -> AsyncIterator[RouterCluster]:
    """A cluster with nodes 1 to ``members`` started; killed at the end."""
    cluster = RouterCluster(directory, **options)
    try:
        cluster.start(range(1, members + 1))
        yield cluster
    finally:
        for node in cluster.nodes.values():
            await node.close()


@asynccontextmanager
async def writing(cluster: RouterCluster) -> AsyncIterator[set[str]]:
    """Create pipelines all the while, on whatever node takes them; yields the ids acknowledged so far."""
    acknowledged: set[str] = set()
    stop = asyncio.Event()

    async def write(worker: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for node in list(cluster.nodes.values()):
                request = router_pb2.CreatePipelineRequest(config=pipeline(f"{worker}/{number}"))
                try:
                    answer = await node.admin.CreatePipeline(request, timeout=5)
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.02)
                    continue
                assert answer.success
                acknowledged.add(answer.pipeline_id)
                break

    writers = [asyncio.create_task(write(worker)) for worker in range(3)]
    try:
        yield acknowledged
    finally:
        stop.set()
        await asyncio.gather(*writers)


def pipeline(name: str, **fields: Any) -> router_pb2.PipelineConfig:
    """A small pipeline."""
    source = router_pb2.Stage(
        id=f"{name}-source",
        stage_type=router_pb2.STAGE_TYPE_SOURCE,
        service_selector=router_pb2.ServiceSelector(service_name="source"),
    )
    return router_pb2.PipelineConfig(id=name, name=name, stages=[source], **fields)
