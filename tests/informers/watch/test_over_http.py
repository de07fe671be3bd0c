"""An informer over real sockets: what virtual time cannot show."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from informers.cache.informer import Informer
from informers.client import Client, ClusterAccess, HttpTransport
from informers.clock import SystemClock
from informers.objects import Object, ObjectKey
from tests.hanging import HANGS
from tests.informers.client.serving import serving
from tests.informers.watch.running import running
from tests.informers.watch.server import PODS

KEY = ObjectKey("a", "pod")


def line(kind: str, version: int, **meta: Any) -> bytes:
    metadata = {"resourceVersion": str(version), **meta}
    obj = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


async def seen(informer: Informer, version: str) -> None:
    async with asyncio.timeout(HANGS):
        while (view := informer.get(KEY)) is None or view.resource_version != version:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def following(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
    released: asyncio.Event,
    read_deadline: float,
) -> AsyncIterator[Informer]:
    """An informer that runs against this server; ``released`` is set at the end."""
    async with serving(answer) as url:
        client = Client(HttpTransport(ClusterAccess(url)))
        clock, rng = SystemClock(), random.Random(1)
        informer = Informer(client, PODS, clock=clock, rng=rng, read_deadline=read_deadline)
        try:
            async with asyncio.timeout(HANGS), running(informer):
                yield informer
        finally:
            released.set()
            await client.close()


async def test_a_connection_that_falls_silent_or_is_cut_is_replaced() -> None:
    queries: list[dict[str, str]] = []
    released = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        queries.append(dict(request.query))
        response = web.StreamResponse()
        await response.prepare(request)
        if "sendInitialEvents" in request.query:
            end = {"k8s.io/initial-events-end": "true"}
            await response.write(line("ADDED", 5, name="pod", namespace="a", uid="u"))
            await response.write(line("BOOKMARK", 7, annotations=end))
            # Silence, on a connection that stays up.
            await released.wait()
        elif request.query["resourceVersion"] == "7":
            await response.write(line("MODIFIED", 8, name="pod", namespace="a", uid="u"))
            assert request.transport is not None
            request.transport.abort()
        else:
            await response.write(line("MODIFIED", 9, name="pod", namespace="a", uid="u"))
            await released.wait()
        return response

    async with following(answer, released, 0.3) as informer:
        await seen(informer, "9")
        assert [query.get("resourceVersion") for query in queries[:3]] == [None, "7", "8"]


def pods(*names: str, token: str = "") -> bytes:
    items: list[Object] = [
        {"metadata": {"name": name, "namespace": "a", "uid": name, "resourceVersion": "1"}} for name in names
    ]
    meta = {"resourceVersion": "5", "continue": token}
    return json.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": meta, "items": items}).encode()


async def test_a_list_in_one_answer_may_trickle_but_not_fall_silent() -> None:
    whole: list[str] = []
    released = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" in request.query:
            return web.json_response({"kind": "Status", "code": 422}, status=422)
        if "continue" in request.query:
            return web.json_response({"kind": "Status", "code": 410, "reason": "Expired"}, status=410)
        if "limit" in request.query:
            return web.Response(body=pods("pod", token="more"))
        response = web.StreamResponse()
        await response.prepare(request)
        if "watch" in request.query:
            await released.wait()
            return response
        whole.append("begun")
        body = pods("pod", "other")
        step = len(body) // 10
        for at in range(0, len(body), step):
            await asyncio.sleep(0.1)
            await response.write(body[at : at + step])
            if len(whole) == 1:
                # Half a list, on a connection that stays up.
                await released.wait()
        return response

    async with following(answer, released, 0.7) as informer:
        assert len(informer) == 2
        assert len(whole) >= 2
