"""``/openapi/v2`` over HTTP: complete, current, and sent only to who has not got it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from etl_operator.sandbox.apiserver import swagger
from etl_operator.sandbox.apiserver.server import EmbeddedServer
from tests.sandbox_apiserver.serving import browsing, eventually, serving
from tests.sandbox_apiserver.test_bodies import DEFINITION

_GVK = "x-kubernetes-group-version-kind"


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with serving() as made:
        yield made


@pytest.fixture
async def http(server: EmbeddedServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with browsing(server) as session:
        yield session


async def read(http: aiohttp.ClientSession, path: str = "/openapi/v2") -> tuple[str, Any]:
    async with http.get(path) as response:
        assert response.status == 200, await response.text()
        return response.headers["ETag"], await response.json()


def references(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for one in value:
            yield from references(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            if key == "$ref" and isinstance(one, str):
                yield one
            else:
                yield from references(one)


async def test_every_reference_leads_somewhere(http: aiohttp.ClientSession) -> None:
    _, document = await read(http)
    there = {f"#/definitions/{name}" for name in document["definitions"]}
    assert set(references(document)) <= there


@pytest.mark.parametrize("path", ["/openapi/v3/apis/apps/v1", "/openapi/v3/api/v1"])
async def test_every_reference_of_version_3_leads_somewhere(http: aiohttp.ClientSession, path: str) -> None:
    _, document = await read(http, path)
    there = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= there


async def test_paths_and_operations_are_those_of_version_3(http: aiohttp.ClientSession) -> None:
    _, document = await read(http)
    async with http.get("/openapi/v3") as response:
        listed = (await response.json())["paths"]
    expected: dict[str, set[str]] = {}
    for name in listed:
        _, described = await read(http, f"/openapi/v3/{name}")
        expected |= {path: set(item) for path, item in described["paths"].items()}
    assert {path: set(item) for path, item in document["paths"].items()} == expected


async def test_every_kind_that_is_served_is_defined(http: aiohttp.ClientSession) -> None:
    _, document = await read(http)
    defined = {
        (one["group"], one["version"], one["kind"])
        for schema in document["definitions"].values()
        for one in schema.get(_GVK, ())
    }
    operations = [
        operation
        for item in document["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    served = {(one[_GVK]["group"], one[_GVK]["version"], one[_GVK]["kind"]) for one in operations}
    assert ("apps", "v1", "StatefulSet") in served
    assert served <= defined


async def test_it_follows_the_definitions(http: aiohttp.ClientSession) -> None:
    before, document = await read(http)
    assert "test.bodies.v1.Gadget" not in document["definitions"]
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    async with http.post(path, json=DEFINITION) as response:
        assert response.status == 201, await response.text()

    async def described() -> str | None:
        tag, document = await read(http)
        return tag if "test.bodies.v1.Gadget" in document["definitions"] else None

    after = await eventually(described, what="the new kind is described")
    assert after != before
    async with http.get("/openapi/v2", headers={"If-None-Match": before}) as response:
        assert response.status == 200
    async with http.delete(f"{path}/gadgets.bodies.test") as response:
        assert response.status == 200, await response.text()

    async def gone() -> bool:
        return "test.bodies.v1.Gadget" not in (await read(http))[1]["definitions"]

    await eventually(gone, what="the kind that was deleted is not described")
    assert (await read(http))[0] == before


@pytest.mark.parametrize("path", ["/openapi/v2", "/openapi/v3/apis/apps/v1"])
async def test_it_is_sent_only_to_who_has_not_got_it(http: aiohttp.ClientSession, path: str) -> None:
    tag, _ = await read(http, path)
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        async with http.get(path, headers={"If-None-Match": known}) as response:
            assert (response.status, response.headers["ETag"], await response.read()) == (304, tag, b"")
    for unknown in ('"other"', "nonsense", ""):
        async with http.get(path, headers={"If-None-Match": unknown}) as response:
            assert response.status == 200


async def test_it_is_made_when_it_is_asked_for_and_once(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bytes] = []
    document = swagger.document

    def counted(*args: Any) -> bytes:
        made.append(document(*args))
        return made[-1]

    monkeypatch.setattr(swagger, "document", counted)
    async with http.get("/api/v1") as response:
        assert response.status == 200
    assert not made
    await read(http)
    await read(http)
    assert len(made) == 1


async def test_who_may_not_read_it_is_refused(server: EmbeddedServer) -> None:
    async with browsing(server, "") as stranger, stranger.get("/openapi/v2") as response:
        assert response.status in (401, 403)
