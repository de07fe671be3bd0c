"""The processes that many runs share, and one run among them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf.duration_pb2 import Duration

from etl_operator.router.pb import common_pb2, registry_pb2, router_pb2
from tests.node.cluster import METRICS, RouterCluster, RouterProcess
from tests.node.data.made import line
from tests.node.killing import services
from tests.node.killing.traces import (
    Journal,
    Violation,
    Written,
    check_accepted,
    check_complete,
    check_order,
    duplicates,
    reached,
)
from tests.processes import GRPC, until
from tests.services.processes import ServiceProcess

NODES = 3
KINDS = {"change": common_pb2.SERVICE_TYPE_TRANSFORM, "out": common_pb2.SERVICE_TYPE_SINK}
PROGRAM = (sys.executable, "-m", "tests.node.killing.services")
QUIET = ("--health-port=0", "--metrics-port=0")
FLAGS = ("--lease-seconds=100000",)
"""Nobody renews a registration here."""
FAULTS = {"node": 3, "worker": 3, "source": 2, "sink": 2, "transform": 1}
"""What is killed, and how often in comparison."""


@dataclass(frozen=True)
class Plan:
    """What a seed stands for."""

    seed: int
    window: int
    batch: int
    mixed: bool
    transforms: bool
    lanes: int
    count: int
    """Records of a partition."""
    rate: float
    faults: tuple[str, ...]

    @property
    def in_flight(self) -> int:
        """Records that a source has sent and that are not answered, at most."""
        # A batch of all partitions is rounded up.
        return self.window * (self.batch + services.PARTITIONS)

    @property
    def kinds(self) -> set[str]:
        """Types of the records at the sinks."""
        return {services.CHANGED if self.transforms else "-"}

    @property
    def total(self) -> int:
        """Records."""
        return self.count * services.PARTITIONS


def plan_of(seed: int) -> Plan:
    """The plan of a seed."""
    chance = random.Random(seed)
    return Plan(
        seed=seed,
        window=chance.choice([1, 4, 8]),
        batch=chance.choice([5, 20, 50]),
        mixed=chance.random() < 0.3,
        transforms=chance.random() < 0.5,
        lanes=chance.choice([0, 0, 2]),
        count=chance.randint(200, 600),
        rate=chance.choice([500.0, 1000.0, 2000.0]),
        faults=tuple(chance.choices(list(FAULTS), list(FAULTS.values()), k=chance.randint(2, 5))),
    )


@dataclass
class Figures:
    """What happened in one run or in several."""

    runs: int = 0
    records: int = 0
    duplicates: int = 0
    bound: int = 0
    """Duplicates that the faults allow."""
    window: int = 0
    """Records in flight at most, of any run."""
    kills: Counter[str] = field(default_factory=Counter)

    def add(self, other: Figures) -> None:
        """Those of another run."""
        self.runs += other.runs
        self.records += other.records
        self.duplicates += other.duplicates
        self.bound += other.bound
        self.window = max(self.window, other.window)
        self.kills += other.kills

    def __str__(self) -> str:
        kinds = ", ".join(f"{number} of {kind}s" for kind, number in sorted(self.kills.items()))
        return (
            f"{self.runs} runs, {self.kills.total()} kills ({kinds}), {self.records} records, "
            f"{self.duplicates} duplicates ({self.bound} allowed), {self.window} records in flight at most"
        )


class Scene:
    """Three nodes, two transforms and two sinks, which come back when they are killed."""

    def __init__(self, cluster: RouterCluster, directory: Path) -> None:
        self.cluster = cluster
        self.directory = directory
        self.written = Written(directory / "written")
        env = {services.WRITTEN: str(directory / "written")}
        self.services = {
            name: [ServiceProcess(directory, [kind, *QUIET], program=PROGRAM, env=env) for _ in range(2)]
            for name, kind in (("change", "transform"), ("out", "sink"))
        }
        self._returning: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Start everything."""
        self.cluster.start(range(1, NODES + 1))
        for process in self.processes:
            process.start()
        for node in self.cluster.nodes.values():
            self._spawn(self._register(node))

    @property
    def processes(self) -> Iterable[ServiceProcess]:
        """Of all services that runs share."""
        return [process for each in self.services.values() for process in each]

    async def settled(self) -> None:
        """Wait until every node that was killed knows the services again."""
        while self._returning:
            await asyncio.gather(*self._returning)

    async def close(self) -> None:
        """Kill everything."""
        for task in self._returning:
            task.cancel()
        await asyncio.gather(*self._returning, return_exceptions=True)
        for process in (*self.processes, *self.cluster.nodes.values()):
            await process.close()

    def logs(self) -> str:
        """Of all processes."""
        texts = [f"--- {process.command[3]}\n{process.logs()}" for process in self.processes]
        return "\n".join([self.cluster.logs(), *texts])

    async def on_leader(self, call: Callable[[RouterProcess], Awaitable[Any]]) -> None:
        """Make a call at whatever node takes it."""
        while True:
            for node in list(self.cluster.nodes.values()):
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await call(node)
                    return
            await asyncio.sleep(0.05)

    async def strike(self, kind: str, chance: random.Random) -> None:
        """Kill one process of a kind, and have it come back."""
        match kind:
            case "node":
                node = await self._node(chance)
                node.kill()
                self._spawn(self._return(node, chance.choice([0.0, 0.3, 1.0])))
            case "worker":
                node = await self._node(chance)
                if workers := node.workers():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(chance.choice(workers), signal.SIGKILL)
            case _:
                process = chance.choice(self.services["out" if kind == "sink" else "change"])
                process.kill()
                process.start()

    async def _node(self, chance: random.Random) -> RouterProcess:
        """One that runs; mostly one with a stream."""
        running = [n for n in self.cluster.nodes.values() if n.process and n.process.poll() is None]
        while not running:
            await asyncio.sleep(0.05)
            running = [n for n in self.cluster.nodes.values() if n.process and n.process.poll() is None]
        busy = [
            node
            for node in running
            if "\netl_router_streams 0.0\n" not in (await node.get("/metrics", METRICS))[1]
        ]
        return chance.choice(busy if busy and chance.random() < 0.7 else running)

    async def _return(self, node: RouterProcess, wait: float) -> None:
        await asyncio.sleep(wait)
        node.start(self.cluster.nodes)
        await self._register(node)

    async def _register(self, node: RouterProcess) -> None:
        for name, processes in self.services.items():
            for number, process in enumerate(processes):
                identity = common_pb2.ServiceIdentity(
                    service_id=f"ns/{name}-{number}", service_type=KINDS[name], name=name
                )
                request = registry_pb2.RegisterRequest(
                    identity=identity,
                    endpoint=common_pb2.Endpoint(host=process.ip, port=GRPC),
                    heartbeat_interval=Duration(seconds=10),
                )
                while True:
                    try:
                        await node.registry.Register(request, timeout=10)
                        break
                    except grpc.aio.AioRpcError:
                        # It may have been killed again: then somebody else waits for it, too.
                        await asyncio.sleep(0.1)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)


def _made(directory: Path, workers: int) -> Scene:
    directory.mkdir(parents=True, exist_ok=True)
    flags = [*FLAGS, f"--data-workers={workers}"]
    return Scene(RouterCluster(directory, flags=flags), directory)


@asynccontextmanager
async def scene(directory: Path, workers: int = 1) -> AsyncIterator[Scene]:
    """A scene whose processes run; killed at the end.

    :param workers: of each node.
    """
    made = _made(directory, workers)
    try:
        made.start()
        yield made
    finally:
        await made.close()


async def play(scene: Scene, plan: Plan) -> Figures:
    """One run: a source sends all its records while processes are killed.

    :raises Violation: a promise was not kept.
    """
    await scene.settled()
    source, pipeline = f"s-{plan.seed}", f"ns/p-{plan.seed}"
    transforms = ["change"] if plan.transforms else []
    config = line(pipeline, transforms, source=source, lanes=plan.lanes)
    create = router_pb2.CreatePipelineRequest(config=config)
    await scene.on_leader(lambda node: node.admin.CreatePipeline(create, timeout=10))
    enable = router_pb2.EnablePipelineRequest(pipeline_id=pipeline)
    await scene.on_leader(lambda node: node.admin.EnablePipeline(enable, timeout=10))
    async with AsyncExitStack() as stack:
        run = Run(scene, plan, source)
        stack.push_async_callback(run.process.close)
        try:
            figures = await run.play()
        except Violation as violation:
            raise Violation(f"seed {plan.seed}: {violation}; {plan}; {run.happened}") from None
    delete = router_pb2.DeletePipelineRequest(pipeline_id=pipeline, force=True)
    await scene.on_leader(lambda node: node.admin.DeletePipeline(delete, timeout=10))
    return figures


class Run:
    """A source, and what happens to it."""

    def __init__(self, scene: Scene, plan: Plan, source: str) -> None:
        self.happened: list[str] = []
        self._scene = scene
        self._plan = plan
        self._source = source
        self._chance = random.Random(plan.seed)
        self._journal = Journal(scene.directory / f"{source}.journal")
        self._bound = 0
        nodes = scene.cluster.nodes.values()
        self.process = ServiceProcess(
            scene.directory,
            [
                *("source", *QUIET, f"--source-id={source}", f"--window={plan.window}"),
                *(f"--batch-size={plan.batch}", *(f"--router={node.ip}:{GRPC}" for node in nodes)),
            ],
            program=PROGRAM,
            env={
                services.JOURNAL: str(self._journal.path),
                services.COUNT: str(plan.count),
                services.RATE: str(plan.rate),
                services.MIXED: str(int(plan.mixed)),
            },
        )

    async def play(self) -> Figures:
        """All faults, one after the other, and the end."""
        plan, kills = self._plan, Counter[str]()
        self.process.start()
        for kind in plan.faults:
            goal = len(self._ids) + self._chance.randint(0, plan.total // 4)
            await until(lambda goal=goal: len(self._ids) >= goal or self._done(), self._logs)  # type: ignore[misc]
            if self._done():
                break
            await asyncio.sleep(self._chance.random() * 0.02)
            kills[kind] += 1
            self.happened.append(f"{kind} at {len(self._ids)}")
            if kind == "source":
                await self._restart()
            else:
                await self._scene.strike(kind, self._chance)
                # What was in flight comes again.
                self._bound += plan.in_flight
        await until(self._done, self._logs)
        check_accepted(self._journal, self._scene.written, self._source)
        ids = self._ids
        check_complete(ids, services.PARTITIONS, plan.count)
        check_order(ids)
        if duplicates(ids) > self._bound:
            raise Violation(f"{duplicates(ids)} duplicates; {self._bound} are allowed")
        if (kinds := self._scene.written.kinds(self._source)) != plan.kinds:
            raise Violation(f"records of the types {kinds}")
        return Figures(1, plan.total, duplicates(ids), self._bound, plan.in_flight, kills)

    @property
    def _ids(self) -> list[tuple[int, int]]:
        return self._scene.written.of(self._source)

    def _done(self) -> bool:
        assert self.process.process is not None
        code = self.process.process.poll()
        if code:
            raise Violation(f"the source ended with {code}")
        return code == 0

    async def _restart(self) -> None:
        """Kill the source and start it again: what it had sent beyond the checkpoint comes again."""
        self.process.kill()
        check_accepted(self._journal, self._scene.written, self._source)
        before = len(self._journal.starts)
        self.process.start()

        def started() -> bool:
            self._journal.read()
            return len(self._journal.starts) > before and len(self._journal.starts[-1]) == services.PARTITIONS

        await until(lambda: started() or self._done(), self._logs)
        start, highest = self._journal.starts[-1], reached(self._ids)
        beyond = sum(max(0, number - start.get(partition, 0)) for partition, number in highest.items())
        self._bound += beyond + self._plan.in_flight

    def _logs(self) -> str:
        texts = [f"seed {self._plan.seed}: {self._plan}; {self.happened}", self.process.logs()]
        return "\n".join([*texts, self._scene.logs()])
