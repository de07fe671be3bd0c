"""The stub is a fair server: whole lists, ordered events, objects of the size it promises. No timing here."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from benchmarks.stub.objects import FIRST_VERSION, SENT, SEQUENCE, desired_stateful_set, kinds
from benchmarks.stub.server import Stub
from controllers.applying.comparing import contains
from etl_operator.api import PIPELINE, EtlPipeline
from informers.cache.informer import Delta, Informer
from informers.client import Client, ClusterAccess, HttpTransport
from informers.clock import SystemClock
from informers.objects import ObjectKey
from tests.hanging import HANGS

COUNT = 1_203
"""More than two pages, and no multiple of a batch."""


@asynccontextmanager
async def serving(*, streaming: bool = True) -> AsyncIterator[str]:
    """A stub with pipelines; gives its URL."""
    async with asyncio.timeout(HANGS):
        stub = Stub()
        url = f"http://127.0.0.1:{await stub.serve(0)}"
        try:
            await ask(url, "objects", {"etlpipelines": COUNT, "streaming": streaming})
            yield url
        finally:
            await stub.close()


async def ask(url: str, what: str, wanted: dict[str, Any]) -> None:
    async with aiohttp.ClientSession() as session, session.post(f"{url}/bench/{what}", json=wanted) as answer:
        assert answer.status == 200


@asynccontextmanager
async def informer_of(url: str) -> AsyncIterator[tuple[Client, Informer, list[Delta]]]:
    """A synced informer, and the changes after that."""
    client = Client(HttpTransport(ClusterAccess(url)))
    informer = Informer(client, PIPELINE, clock=SystemClock(), rng=random.Random(1))
    running = asyncio.create_task(informer.run())
    await informer.wait_synced()
    deltas: list[Delta] = []
    informer.add_handler(lambda delta: None if delta.initial else deltas.append(delta))
    try:
        yield client, informer, deltas
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await client.close()


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_list_is_complete_however_it_comes(streaming: bool) -> None:
    async with serving(streaming=streaming) as url, informer_of(url) as (_, informer, _):
        assert len(informer) == COUNT
        view = informer.get(ObjectKey("bench-7", "bench-000007"))
        assert view is not None
        assert view.resource_version == str(FIRST_VERSION + 7)


@pytest.mark.parametrize("rate", [0, 2_000])
async def test_events_come_in_order_and_change_every_object(rate: int) -> None:
    events = COUNT + 100
    async with serving() as url, informer_of(url) as (_, informer, deltas):
        await ask(url, "events", {"count": events, "rate": rate})
        while len(deltas) < events:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        sequence = [int(delta.new.annotations[SEQUENCE]) for delta in deltas if delta.new is not None]
        assert sequence == list(range(1, events + 1))
        assert len(informer) == COUNT
        stamped = [delta.new is not None and int(delta.new.annotations[SENT]) > 0 for delta in deltas]
        assert all(stamped) == (rate > 0)


async def test_an_apply_is_answered_with_the_object() -> None:
    async with serving() as url, informer_of(url) as (client, _, _):
        body = {
            "apiVersion": "etl.router/v1",
            "kind": "EtlPipeline",
            "metadata": {"name": "bench-000003", "namespace": "bench-3"},
        }
        answer = await client.apply(PIPELINE, body, field_manager="test", force=True)
        assert answer["metadata"]["name"] == "bench-000003"
        assert int(answer["metadata"]["resourceVersion"]) > FIRST_VERSION


def test_objects_are_of_the_promised_size_and_shape() -> None:
    rendered = kinds()["etlpipelines"].render(42, FIRST_VERSION)
    obj = json.loads(rendered)
    managed = len(json.dumps(obj["metadata"]["managedFields"], separators=(",", ":")))
    assert 2_000 < len(rendered) < 2_400
    assert 900 < managed < 1_300
    EtlPipeline.model_validate(obj)


def test_the_child_is_what_the_benchmark_builds_with_the_servers_defaults() -> None:
    stored = json.loads(kinds()["statefulsets"].render(42, FIRST_VERSION))
    uid = stored["metadata"]["ownerReferences"][0]["uid"]
    desired = desired_stateful_set("bench-000042", "bench-2", uid, 3)
    assert contains(stored, desired)
    assert not contains(stored, desired_stateful_set("bench-000042", "bench-2", uid, 4))
