"""Our own runtime as a program to be measured: manager, informers and controllers as an operator has them.

``python -m benchmarks.peers.informers_peer SCENARIO ...`` with the common arguments of all programs.
"""

from __future__ import annotations

import asyncio
import os
import time
from argparse import Namespace
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from benchmarks.peers.measure import Meter, arguments, say
from benchmarks.peers.workload import LAST, PIPELINE, STATEFUL_SET, Building, Counting, pipeline_body
from benchmarks.stub.objects import SENT, SEQUENCE
from etl_operator.api.pipeline import PipelineSpec
from informers.cache.informer import Delta, Informer
from informers.client import Client, HttpTransport, load_kubeconfig
from informers.clock import SystemClock
from informers.controller import Controller
from informers.controller.gate import Gate
from informers.manager import Manager
from informers.metrics import MeasuredTransport, Metrics
from informers.objects import ObjectKey, Result
from informers.queue import Priority

CONCURRENCY = 8
"""Applies under way at once."""


class Bench:
    """One operator: what every scenario has in common.

    :param meter: began when nothing but the imports had been done.
    """

    def __init__(self, options: Namespace) -> None:
        self.options = options
        clock, metrics = SystemClock(), Metrics()
        access = load_kubeconfig(os.environ["KUBECONFIG"])
        self.client = Client(MeasuredTransport(HttpTransport(access), metrics, clock), clock=clock)
        self.manager = Manager(
            self.client, clock=clock, metrics=metrics, metrics_address="0", health_address="0"
        )
        self.meter = Meter()

    async def run(self, after_sync: Callable[[], Awaitable[None]]) -> None:
        """Run until ``after_sync``, which is called with full caches, has ended."""
        ended = asyncio.Event()

        async def work() -> None:
            say("ready", **self.meter.read(), objects=self.options.objects)
            if self.options.settle:
                await asyncio.sleep(self.options.settle)
                say("settled", **self.meter.read())
            await after_sync()
            ended.set()

        self.manager.add_runnable("bench", work)
        self.meter = Meter()
        running = asyncio.create_task(self.manager.run())
        waiting = asyncio.create_task(ended.wait())
        await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            # What ended the manager must be seen.
            running.result()
        running.cancel()
        waiting.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        await self.client.close()


async def sync(bench: Bench) -> None:
    """Fill a cache, and be idle."""
    informer = bench.manager.informer(PIPELINE)

    async def nothing() -> None:
        assert len(informer) == bench.options.objects

    await bench.run(nothing)


async def ingest(bench: Bench) -> None:
    """Take in events as fast as they come; every one asks for a reconcile that does nothing."""
    informer = bench.manager.informer(PIPELINE)
    controller = Controller("bench", Counting())
    bench.manager.add(controller)
    seen = _Seen(bench.options.events)
    informer.add_handler(seen.handle)
    controller.watches(informer)

    async def wait() -> None:
        meter = Meter()
        await seen.all.wait()
        say("result", **meter.read(), events=seen.count)

    await bench.run(wait)


class _Seen:
    """Counts the changes that come after the first state."""

    def __init__(self, wanted: int) -> None:
        self.count = 0
        self.all = asyncio.Event()
        self._wanted = wanted

    def handle(self, delta: Delta) -> None:
        if delta.initial:
            return
        self.count += 1
        if self.count == self._wanted:
            self.all.set()


class Stopwatch:
    """Reads from the cached object when its event was sent."""

    def __init__(self, informer: Informer, events: int) -> None:
        self._informer = informer
        self._last = str(events)
        self.nanoseconds: list[int] = []
        self.done = asyncio.Event()

    async def reconcile(self, key: ObjectKey) -> Result:
        view = self._informer.get(key)
        if view is not None and (sent := int(view.annotations[SENT])):
            self.nanoseconds.append(time.monotonic_ns() - sent)
            if view.annotations[SEQUENCE] == self._last:
                self.done.set()
        return Result.done()


async def latency(bench: Bench) -> None:
    """How long after an event was sent the reconcile begins that it causes."""
    informer = bench.manager.informer(PIPELINE)
    stopwatch = Stopwatch(informer, bench.options.events)
    controller = Controller("bench", stopwatch)
    bench.manager.add(controller)
    controller.watches(informer)

    async def wait() -> None:
        meter = Meter()
        await stopwatch.done.wait()
        say("result", **meter.read(), nanoseconds=stopwatch.nanoseconds)

    await bench.run(wait)


async def noop(
    bench: Bench, reconciler: Counting | Building, pipelines: Informer, gate: Gate | None = None
) -> None:
    """Reconcile every key again and again; nothing has changed."""
    controller = Controller("bench", reconciler, gate=gate)
    bench.manager.add(controller)

    async def rounds() -> None:
        keys = [view.key for view in pipelines.list()]
        # A round that is not measured does what later ones are spared.
        await _round(controller, reconciler, keys)
        meter = Meter()
        for _ in range(bench.options.rounds):
            await _round(controller, reconciler, keys)
        say("result", **meter.read(), reconciles=len(keys) * bench.options.rounds)

    await bench.run(rounds)


async def _round(controller: Controller, reconciler: Counting | Building, keys: Sequence[ObjectKey]) -> None:
    reconciler.last.clear()
    await controller.resync(keys)
    # Behind all others, and not to be kept back by a gate.
    controller.enqueue(LAST, priority=Priority.RESYNC, force=True)
    await reconciler.last.wait()


async def noop_empty(bench: Bench) -> None:
    """No-op reconciles without a body: what the runtime itself costs."""
    await noop(bench, Counting(), bench.manager.informer(PIPELINE))


async def noop_build(bench: Bench) -> None:
    """No-op reconciles that build the StatefulSet and find that it is there already."""
    pipelines, children = bench.manager.informer(PIPELINE), bench.manager.informer(STATEFUL_SET)
    await noop(bench, Building(pipelines, children), pipelines)


async def noop_pydantic(bench: Bench) -> None:
    """The same, and every spec is validated by pydantic."""
    pipelines, children = bench.manager.informer(PIPELINE), bench.manager.informer(STATEFUL_SET)
    await noop(bench, Building(pipelines, children, PipelineSpec), pipelines)


async def noop_gate(bench: Bench) -> None:
    """The same behind the input gate: no input has moved, so nothing is built."""
    pipelines, children = bench.manager.informer(PIPELINE), bench.manager.informer(STATEFUL_SET)
    gate = Gate()
    await noop(bench, Building(gate.reads(pipelines), gate.reads(children)), pipelines, gate)


async def apply(bench: Bench) -> None:
    """Server-side apply, eight at once; answers are decoded."""
    meter = Meter()
    indexes = iter(range(bench.options.events))
    await asyncio.gather(*(_apply_all(bench.client, indexes, bench.options) for _ in range(CONCURRENCY)))
    say("result", **meter.read(), requests=bench.options.events)
    await bench.client.close()


async def _apply_all(client: Client, indexes: Iterator[int], options: Namespace) -> None:
    for index in indexes:
        body = pipeline_body(index % options.objects)
        answer = await client.apply(PIPELINE, body, field_manager="bench", force=True)
        assert answer["metadata"]["name"] == body["metadata"]["name"]


SCENARIOS: dict[str, Any] = {
    "sync": sync,
    "ingest": ingest,
    "latency": latency,
    "noop-empty": noop_empty,
    "noop-build": noop_build,
    "noop-pydantic": noop_pydantic,
    "noop-gate": noop_gate,
    "apply": apply,
}


async def _main() -> None:
    options = arguments(SCENARIOS)
    await SCENARIOS[options.scenario](Bench(options))


if __name__ == "__main__":
    asyncio.run(_main())
