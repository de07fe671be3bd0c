"""The operator's last act."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from controllers.finalizing.endings import Endings
from controllers.finalizing.farewell import Farewell
from controllers.objects.kinds import DEFINITION
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE
from informers.errors import Forbidden
from informers.objects import ObjectKey
from tests.controllers.store import NAMESPACE
from tests.controllers.world import World

HELD = {PIPELINE: ("etl.router/pipeline", "m"), SOURCE: ("etl.router/service", "m"), SINK: ("x", "m")}


def held() -> World:
    world = World()
    world.store.put(PIPELINE, "p", {}, finalizers=["etl.router/pipeline", "mine/too"])
    for number in range(50):
        world.store.put(SOURCE, f"s{number}", {}, finalizers=["etl.router/service"])
    world.store.put(SINK, "k", {}, finalizers=["x"])
    return world


def finalizers(world: World, resource: Any, name: str) -> list[str]:
    return list(world.store.of(resource, name)["metadata"].get("finalizers") or ())


async def test_what_goes_with_its_definition_is_let_go_at_the_end() -> None:
    world = held()
    world.end_definitions(PIPELINE, SOURCE)
    running = asyncio.ensure_future(Farewell(world.context, HELD).run())
    await asyncio.sleep(0)
    assert world.store.writes == []
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert running.cancelled()
    assert finalizers(world, PIPELINE, "p") == ["mine/too"]
    assert not any(finalizers(world, SOURCE, f"s{number}") for number in range(50))
    assert finalizers(world, SINK, "k") == ["x"], "its definition stays"


@pytest.mark.parametrize("error", [Forbidden(403), None])
async def test_nothing_is_let_go_without_need(error: Exception | None) -> None:
    world = held()
    if error is not None:

        async def refuse(*_: Any, **__: Any) -> Any:
            raise error

        world.store.get = refuse  # type: ignore[method-assign]
    await Farewell(world.context, HELD).let_go()
    assert world.store.writes == []


async def test_a_definition_is_asked_for_once_a_second() -> None:
    world = World()
    asked: list[str] = []
    get = world.store.get

    async def counted(resource: Any, key: ObjectKey, **named: Any) -> Any:
        asked.append(key.name)
        return await get(resource, key, **named)

    world.store.get = counted  # type: ignore[method-assign]
    endings = Endings(world.context.client, world.context.clock)
    for _ in range(5):
        assert await endings.of(PIPELINE, ObjectKey(NAMESPACE, "p"), ObjectKey(NAMESPACE, "c")) is None
    assert asked.count("etlpipelines.etl.router") == 1
    world.end_definitions(PIPELINE, CLUSTER)
    world.store.now += 1
    found = await endings.of(PIPELINE, ObjectKey(NAMESPACE, "p"), ObjectKey("other", "c"))
    assert found is not None
    assert found.with_cluster
    assert DEFINITION.plural == "customresourcedefinitions"
