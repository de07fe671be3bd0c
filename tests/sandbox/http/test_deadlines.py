"""The parameter ``timeout`` over HTTP: who waits too long gets 504, and nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from etl_operator.sandbox.http.server import EmbeddedServer
from informers.apiserver.faults import FaultRule
from informers.objects import ObjectKey
from tests.sandbox.http.serving import CONFIG_MAP, browsing, config_map, serving

MAPS = "/api/v1/namespaces/default/configmaps"
LATE = "Timeout: request did not complete within the allotted timeout"


def is_there(server: EmbeddedServer, name: str) -> bool:
    return server.core.find(CONFIG_MAP, ObjectKey("default", name)) is not None


async def test_a_write_that_is_held_up_is_given_up() -> None:
    async with serving() as server, browsing(server) as http:
        rule = server.core.faults.add(FaultRule(verb="create", delay=3600))
        async with http.post(MAPS, params={"timeout": "50ms"}, json=config_map("late")) as answer:
            assert answer.status == 504
            assert (await answer.json(content_type="text/plain"))["message"] == LATE
        assert rule.hits == 1
        assert not is_there(server, "late")


async def test_a_body_that_never_ends_is_given_up() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'{"apiVersion": "v1", '
        await asyncio.Event().wait()

    async with serving() as server, browsing(server) as http:
        async with http.post(
            MAPS, params={"timeout": "50ms"}, data=body(), headers={"Content-Type": "application/json"}
        ) as answer:
            assert answer.status == 504
        assert not is_there(server, "late")


async def test_who_is_refused_for_the_parameter_need_not_be_known() -> None:
    async with serving() as server, browsing(server, token="wrong") as http:
        async with http.get(MAPS, params={"timeout": "soon"}) as answer:
            assert answer.status == 400
        async with http.get(MAPS, params={"timeout": "5s"}) as answer:
            assert answer.status == 401
