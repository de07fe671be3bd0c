"""What a large cache costs, in a process of its own: the peak while it fills, and what is left."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from typing import Any

import pytest

from tests.hanging import HANGS

_PROGRAM = """
import asyncio, gc, json, random, sys, tracemalloc
from contextlib import asynccontextmanager

from informers.cache.informer import Informer
from informers.client import Client
from informers.client.transport import HttpResponse
from informers.clock import SystemClock
from informers.objects import Resource
from tests.hanging import HANGS
from tests.informers.cache.test_packing import document

COUNT, STREAMING = int(sys.argv[1]), sys.argv[2] == "streaming"
MANAGED = [{"manager": "kubectl", "fieldsV1": {f"f:field-{number}": {} for number in range(60)}}]
END = {"k8s.io/initial-events-end": "true"}


def encoded(number):
    obj = document(number)
    obj["metadata"]["managedFields"] = MANAGED
    return json.dumps(obj, separators=(",", ":")).encode()


class Refusal:
    status, headers = 422, {}

    async def read(self):
        return b"{}"


class Stream:
    status, headers = 200, {}

    def __init__(self, initial):
        self.initial = initial

    async def chunks(self):
        for start in range(0, COUNT, 100) if self.initial else ():
            await asyncio.sleep(0)
            yield b"".join(
                b'{"type":"ADDED","object":%b}\\n' % encoded(number) for number in range(start, start + 100)
            )
        mark = {"metadata": {"resourceVersion": "9", "annotations": END}}
        yield json.dumps({"type": "BOOKMARK", "object": mark}).encode() + b"\\n"
        await asyncio.Event().wait()


class Server:
    async def request(self, request):
        await asyncio.sleep(0)
        start = int(dict(request.query).get("continue") or 0)
        end = min(start + 500, COUNT)
        meta = {"resourceVersion": "9", "continue": str(end) if end < COUNT else ""}
        items = b",".join(encoded(number) for number in range(start, end))
        return HttpResponse(200, b'{"metadata":%b,"items":[%b]}' % (json.dumps(meta).encode(), items))

    @asynccontextmanager
    async def stream(self, request):
        initial = "sendInitialEvents" in dict(request.query)
        yield Refusal() if initial and not STREAMING else Stream(initial)


async def main():
    import zstandard  # its own tables are no part of a cache

    resource = Resource("", "v1", "pods", "Pod")
    informer = Informer(Client(Server()), resource, clock=SystemClock(), rng=random.Random(1))
    gc.collect()
    tracemalloc.start()
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    async with asyncio.timeout(HANGS):
        while informer.cache_size().raw > 0.05 * informer.cache_size().compressed:
            await asyncio.sleep(0.01)
    gc.collect()
    store, peak = tracemalloc.get_traced_memory()
    view = informer.list()[COUNT // 2]
    assert view.object()["spec"] == document(int(view.name.rpartition("-")[2]))["spec"]
    size = informer.cache_size()
    print(json.dumps({"store": store, "peak": peak, "objects": size.objects, "counted": size.total}))
    task.cancel()


asyncio.run(main())
"""


@functools.cache
def measured(count: int, how: str) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(count), how], capture_output=True, text=True, timeout=HANGS
    )
    assert ran.returncode == 0, ran.stderr
    said: dict[str, Any] = json.loads(ran.stdout)
    return said


@pytest.mark.parametrize("how", ["streaming", "paged"])
def test_a_large_list_peaks_at_less_than_twice_the_store(how: str) -> None:
    """Twenty thousand objects of 2 KB each: 40 MB on the wire."""
    of = measured(20_000, how)
    assert of["objects"] == 20_000
    assert of["peak"] < 2 * of["store"], of
    # What the budget counts is about what there is.
    assert of["store"] / 1.5 < of["counted"] < of["store"] * 1.5, of


def test_memory_grows_with_the_number_of_objects() -> None:
    small, large = measured(4_000, "streaming"), measured(20_000, "streaming")
    assert large["store"] < 5 * 1.05 * small["store"], (small, large)
    assert large["store"] / large["objects"] < 600, "bytes an object, of 2 KB"
