"""The kopf side of the benchmark, run in the virtual environment that has kopf and nothing of ours.

An event handler keeps every object, as a cache would, and counts; it makes kopf write nothing. (kopf's own
index keeps them as well, but filling one costs time that grows with the square of the number of objects.)
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from pathlib import Path
from typing import Any

import kopf

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers.measure import Meter, arguments, say

SENT = "bench.etl.router/sent"
SEQUENCE = "bench.etl.router/seq"
RESOURCE = ("etl.router", "v1", "etlpipelines")


class Tally:
    """What the handlers have seen."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.listed = 0
        self.changed = 0
        self.synced = asyncio.Event()
        self.all = asyncio.Event()
        self.nanoseconds: list[int] = []
        self.objects: dict[tuple[str, str], Any] = {}

    def see(self, annotations: dict[str, str]) -> None:
        """An event handler was called."""
        sequence = int(annotations[SEQUENCE])
        if sequence == 0:
            self.listed += 1
            if self.listed == self.options.objects:
                self.synced.set()
            return
        self.changed += 1
        sent = int(annotations[SENT])
        if sent:
            self.nanoseconds.append(time.monotonic_ns() - sent)
        # Events of one object that come close together may be handled as one, so the last one decides.
        if sequence == self.options.events:
            self.all.set()


def registry_of(tally: Tally) -> kopf.OperatorRegistry:
    """The handlers."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.scanning.disabled = True

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> Any:
        return kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.event(*RESOURCE, registry=registry)
    async def seen(**event: Any) -> None:
        tally.objects[event["namespace"], event["name"]] = event["body"]
        tally.see(event["annotations"])

    return registry


async def _main() -> None:
    logging.disable(logging.CRITICAL)
    options = arguments(("sync", "ingest", "latency"))
    tally = Tally(options)
    registry = registry_of(tally)
    meter = Meter()
    running = asyncio.create_task(kopf.operator(registry=registry, clusterwide=True, standalone=True))
    waiting = asyncio.create_task(tally.synced.wait())
    await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
    say("ready", **meter.read())
    if options.settle:
        await asyncio.sleep(options.settle)
        say("settled", **meter.read())
    if options.scenario != "sync":
        meter = Meter()
        await tally.all.wait()
        say("result", **meter.read(), events=tally.changed, nanoseconds=tally.nanoseconds)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(_main())
