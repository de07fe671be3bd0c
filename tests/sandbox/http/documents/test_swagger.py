"""``/openapi/v2`` over HTTP: complete, current, and sent only to who has not got it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import aiohttp
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from etl_operator.sandbox.http.documents import swagger, swagger_protobuf
from etl_operator.sandbox.http.server import EmbeddedServer
from informers.objects import Object
from tests.sandbox.http.content.test_bodies import DEFINITION
from tests.sandbox.http.documents.reading_swagger import decoded
from tests.sandbox.http.serving import browsing, eventually

_PROTOBUF = {"Accept": "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}
_GVK = "x-kubernetes-group-version-kind"


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
    async with http.get("/openapi/v2", headers=_PROTOBUF) as response:
        assert "test.bodies.v1.Gadget" in decoded(await response.read())["definitions"]
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


@pytest.mark.parametrize(
    ("module", "maker", "headers"),
    [(swagger, "document", {}), (swagger_protobuf, "encoded", _PROTOBUF)],
    ids=["JSON", "protobuf"],
)
async def test_it_is_made_when_it_is_asked_for_and_once(
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    maker: str,
    headers: Mapping[str, str],
) -> None:
    made: list[bytes] = []
    make = getattr(module, maker)

    def counted(*args: Any) -> bytes:
        made.append(make(*args))
        return made[-1]

    monkeypatch.setattr(module, maker, counted)
    async with http.get("/openapi/v3") as response:
        assert response.status == 200
    assert not made
    for _ in range(2):
        async with http.get("/openapi/v2", headers=headers) as response:
            assert await response.read() == made[0]
    assert len(made) == 1


async def test_forms_are_told_apart_by_who_has_one(http: aiohttp.ClientSession) -> None:
    async with http.get("/openapi/v2", headers=_PROTOBUF) as response:
        assert (response.status, response.headers["Vary"]) == (200, "Accept")
        tag = response.headers["ETag"]
    async with http.get("/openapi/v2", headers={**_PROTOBUF, "If-None-Match": tag}) as response:
        assert (response.status, await response.read()) == (304, b"")
    assert (await read(http))[0] == tag, "as on a real server the tag is that of the JSON form"


_TEXTS = st.text(max_size=8)
_WHOLE = st.integers(min_value=1, max_value=2**63 - 1)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | _TEXTS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(_TEXTS, below, max_size=3),
    max_leaves=5,
)


def _schemas(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", "string", "integer"]),
            "description": _TEXTS.filter(bool),
            "format": st.just("int32"),
            "maxLength": _WHOLE,
            "maximum": st.floats(min_value=0.5, allow_infinity=False),
            "exclusiveMinimum": st.just(True),
            "required": st.lists(_TEXTS, min_size=1, max_size=2),
            "enum": st.lists(_VALUES, min_size=1, max_size=3),
            "default": _VALUES,
            "x-kubernetes-validations": _VALUES,
            "items": below,
            "allOf": st.lists(below, min_size=1, max_size=2),
            "additionalProperties": below | st.booleans(),
            "properties": st.dictionaries(
                _TEXTS | st.sampled_from(["x-a", "description", "$ref"]), below, max_size=3
            ),
        },
    )


@example({"enum": ["\x7f", "\x85", "a\u2028b", "\ufeff", "\uffff", "\U0001f600", "\\", {"<<": 1}]})
@given(st.recursive(st.just({"$ref": "#/definitions/A"}) | st.just({}), _schemas, max_leaves=8))
def test_whatever_a_schema_says_is_said_in_protobuf(schema: dict[str, Any]) -> None:
    document = {"swagger": "2.0", "definitions": {"A": schema}}
    assert decoded(swagger_protobuf.encoded(json.dumps(document).encode())) == document


def test_what_protobuf_has_no_field_for_is_left_out() -> None:
    schema: Object = {"type": "object", "anyOf": [{}], "title": None, "maxLength": 0, "default": None}
    document = {"definitions": {"A": schema}}
    read = decoded(swagger_protobuf.encoded(json.dumps(document).encode()))
    assert read == {"definitions": {"A": {"type": "object", "default": None}}}


async def test_who_may_not_read_it_is_refused(server: EmbeddedServer) -> None:
    async with browsing(server, "") as stranger, stranger.get("/openapi/v2") as response:
        assert response.status in (401, 403)
