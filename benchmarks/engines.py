"""``python -m benchmarks.engines``: the router's two consensus engines beside each other.

Real router processes on this machine, written to over gRPC, as the operator writes: pipelines of about a
kilobyte. Several members on one machine share its disk and its cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc.aio

from benchmarks.processes import ROOT
from e2e.realserver import etcd
from etl_operator.router.pb import router_pb2
from tests.node.cluster import RouterCluster, RouterProcess, pipeline, running
from tests.processes import until

OUTPUT = ROOT / "docs" / "benchmarks"
WRITERS = 32
_ENV = {
    "ETL_ROUTER__CLUSTER__ELECTION_TIMEOUT_MIN_MS": "300",
    "ETL_ROUTER__CLUSTER__ELECTION_TIMEOUT_MAX_MS": "600",
    "ETL_ROUTER__CLUSTER__HEARTBEAT_INTERVAL_MS": "50",
}
_PADDING = "x" * 700
_GROWTH = 1.2
"""Largest exponent of the time to write so many pipelines that passes as linear."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    members: Sequence[int]
    writes: int
    kills: int
    pipelines: Sequence[int]


FULL = Sizes((1, 3, 5), 3000, 3, (100, 10_000, 50_000))
QUICK = Sizes((1, 3), 500, 1, (100, 1000, 4000))


@dataclass(frozen=True)
class Speed:
    """Of writes to a cluster of so many members."""

    engine: str
    members: int
    writes_per_second: float
    alone_p50_ms: float
    alone_p99_ms: float
    together_p99_ms: float
    recovery_seconds: float | None
    """From kill -9 of the leader to the next acknowledged write; the median."""


@dataclass(frozen=True)
class Growth:
    """Three members with so many pipelines."""

    engine: str
    pipelines: int
    seconds: float
    """To write all of them."""
    writes_per_second: float
    """Updates, with all of them there."""
    update_p99_ms: float
    node_mib: float
    """Resident memory of the leader's control process."""
    etcd_mib: float
    """Of its etcd."""
    restart_seconds: float
    """From the start of a node that was killed until it is ready, with all of them."""


def engines() -> dict[str, list[str]]:
    """Flags by engine; without etcd where there is none."""
    found = {"embedded": ["--engine=embedded"]}
    if (program := etcd()) is not None:
        found["etcd"] = ["--engine=etcd", f"--etcd-binary={program}"]
    return found


@asynccontextmanager
async def cluster_of(flags: Sequence[str], members: int) -> AsyncIterator[RouterCluster]:
    """A cluster with a leader."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        async with running(Path(directory), members, flags=flags, env=_ENV) as cluster:
            await cluster.leader()
            yield cluster


def _config(name: str) -> router_pb2.PipelineConfig:
    return pipeline(name, description=_PADDING)


async def write(cluster: RouterCluster, name: str) -> None:
    """Create a pipeline on whichever node leads."""
    request = router_pb2.CreatePipelineRequest(config=_config(name))
    while True:
        for node in list(cluster.nodes.values()):
            if node.process is None or node.process.poll() is not None:
                continue
            try:
                await node.admin.CreatePipeline(request, timeout=10)
            except grpc.aio.AioRpcError:
                continue
            return
        await asyncio.sleep(0.005)


async def _timed(node: RouterProcess, cluster: RouterCluster, name: str) -> float:
    began = time.perf_counter()
    try:
        await node.admin.CreatePipeline(router_pb2.CreatePipelineRequest(config=_config(name)), timeout=30)
    except grpc.aio.AioRpcError:  # It does not lead any more.
        await write(cluster, name)
    return time.perf_counter() - began


async def many(cluster: RouterCluster, names: Sequence[str]) -> tuple[float, list[float]]:
    """Write all, `WRITERS` at a time: the seconds it took, and those of each, sorted."""
    leader = await cluster.leader()
    queue = iter(names)
    spent: list[float] = []

    async def worker() -> None:
        spent.extend([await _timed(leader, cluster, name) for name in queue])

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(WRITERS)))
    return time.perf_counter() - began, sorted(spent)


def _at(spent: Sequence[float], share: float) -> float:
    return spent[min(int(len(spent) * share), len(spent) - 1)] * 1000


async def speed(engine: str, flags: Sequence[str], members: int, sizes: Sizes) -> Speed:
    """Of one engine with so many members."""
    async with cluster_of(flags, members) as cluster:
        await many(cluster, [f"warm/{number}" for number in range(WRITERS)])
        leader = await cluster.leader()
        alone = sorted([await _timed(leader, cluster, f"alone/{n}") for n in range(sizes.writes // 10)])
        seconds, together = await many(cluster, [f"many/{number}" for number in range(sizes.writes)])
        gaps = [await _recovery(cluster, kill) for kill in range(sizes.kills)] if members > 1 else []
    return Speed(
        engine,
        members,
        sizes.writes / seconds,
        _at(alone, 0.5),
        _at(alone, 0.99),
        _at(together, 0.99),
        sorted(gaps)[len(gaps) // 2] if gaps else None,
    )


async def _recovery(cluster: RouterCluster, kill: int) -> float:
    leader = await cluster.leader()
    leader.kill()
    began = time.perf_counter()
    await write(cluster, f"after/{kill}")
    gap = time.perf_counter() - began
    leader.start(cluster.nodes)
    await cluster.leader()
    return gap


async def _is_ready(node: RouterProcess) -> bool:
    return (await node.get("/ready"))[0] == 200


def _resident(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _memory(node: RouterProcess) -> tuple[float, float]:
    assert node.process is not None
    stores = [
        pid for pid in node.workers() if "--initial-cluster-token" in Path(f"/proc/{pid}/cmdline").read_text()
    ]
    return _resident(node.process.pid), sum(map(_resident, stores))


async def growth(engine: str, flags: Sequence[str], pipelines: int, sizes: Sizes) -> Growth:
    """Of one engine with so many pipelines."""
    async with cluster_of(flags, 3) as cluster:
        names = [f"fleet/{number}" for number in range(pipelines)]
        seconds, _ = await many(cluster, names)
        again = [names[number % pipelines] for number in range(sizes.writes)]
        took, spent = await many(cluster, again)
        leader = await cluster.leader()
        node, store = _memory(leader)
        leader.kill()
        await write(cluster, "fleet/after")
        began = time.perf_counter()
        leader.start(cluster.nodes)
        await until(lambda: _is_ready(leader))
        restart = time.perf_counter() - began
    return Growth(engine, pipelines, seconds, sizes.writes / took, _at(spent, 0.99), node, store, restart)


def exponents(found: Sequence[Growth]) -> dict[str, float]:
    """By engine, of the time to write: 1 is linear. Between the two largest sizes."""
    result = {}
    for engine in dict.fromkeys(one.engine for one in found):
        small, large = sorted((one for one in found if one.engine == engine), key=lambda one: one.pipelines)[
            -2:
        ]
        result[engine] = math.log(large.seconds / small.seconds) / math.log(large.pipelines / small.pipelines)
    return result


def table(speeds: Sequence[Speed], growths: Sequence[Growth]) -> str:
    """Markdown."""
    lines = [
        "| engine | members | writes/s | alone: p50, ms | p99, ms | together: p99, ms | after kill -9, s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.engine} | {one.members} | {one.writes_per_second:.0f} | {one.alone_p50_ms:.1f} "
        f"| {one.alone_p99_ms:.1f} | {one.together_p99_ms:.0f} "
        f"| {'' if one.recovery_seconds is None else f'{one.recovery_seconds:.2f}'} |"
        for one in speeds
    ]
    lines += [
        "",
        "| engine | pipelines | to write all, s | updates/s | p99, ms | node, MiB | etcd, MiB | restart, s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.engine} | {one.pipelines} | {one.seconds:.1f} | {one.writes_per_second:.0f} "
        f"| {one.update_p99_ms:.0f} | {one.node_mib:.0f} | {one.etcd_mib:.0f} | {one.restart_seconds:.1f} |"
        for one in growths
    ]
    grown = ", ".join(f"{engine} {value:.2f}" for engine, value in exponents(growths).items())
    lines += ["", f"Exponent of the time to write, between the two largest sizes (1 is linear): {grown}.", ""]
    return "\n".join(lines)


async def measure(sizes: Sizes) -> tuple[list[Speed], list[Growth]]:
    """Both engines, in turns."""
    speeds, growths = [], []
    for members in sizes.members:
        for engine, flags in engines().items():
            _tell(f"{engine}: {members} members")
            speeds.append(await speed(engine, flags, members, sizes))
    for pipelines in sizes.pipelines:
        for engine, flags in engines().items():
            _tell(f"{engine}: {pipelines} pipelines")
            growths.append(await growth(engine, flags, pipelines, sizes))
    return speeds, growths


def main() -> int:
    """Measure, print, and write the report; 1 when growth is not linear and ``--check`` was given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller and once")
    parser.add_argument("--check", action="store_true", help="exit with 1 when growth is not linear")
    options = parser.parse_args()
    if "etcd" not in engines():
        _tell("etcd is left out: there is none on PATH or in the cache; python -m e2e.realserver builds it")
    speeds, growths = asyncio.run(measure(QUICK if options.quick else FULL))
    setting = f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {WRITERS} writers, pipelines of 1 kB."
    text = f"{table(speeds, growths)}\n{setting}\n"
    sys.stdout.write(text)
    name = "engines-quick" if options.quick else "engines"
    figures: dict[str, Any] = {
        "speed": [asdict(one) for one in speeds],
        "growth": [asdict(one) for one in growths],
        "setting": setting,
    }
    (OUTPUT / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (OUTPUT / f"{name}.md").write_text(text, encoding="utf-8")
    return int(options.check and any(value > _GROWTH for value in exponents(growths).values()))


def _tell(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
