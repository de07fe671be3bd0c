"""Bytes in objects: base64 as Go's decoder reads it, written back without line breaks."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from e2e.conformance.asking import APPLY, MERGE, STRATEGIC, found
from informers.client import HttpTransport
from informers.objects import Object

PLACES = {"Secret": ("secrets", "data"), "ConfigMap": ("configmaps", "binaryData")}
LONG = b"x" * 200
WRITTEN = {
    base64.encodebytes(LONG).decode(): base64.b64encode(LONG).decode(),
    "YWJj\n": "YWJj",
    "YW\r\nJj": "YWJj",
    "Y\nW\nJ\nj": "YWJj",
    "YW=\n=": "YQ==",
    "YX==": "YQ==",
    "": "",
}
REFUSED = {
    "YW Jj": 2,
    "YW=Jj": 2,
    "YWI": 0,
    "YWJ\n": 1,
    "YW==YW==": 4,
    "YWJj=": 4,
    "Y===": 1,
    "=": 0,
    "YW=\n": 4,
    "YW= =": 2,
    "\u00e9": 0,
    "YWJj\u00e9": 4,
    "YWJjYW=x": 6,
}
DRY = ("dryRun", "All")


def made(kind: str, value: Any) -> Object:
    metadata = {"name": "bytes"}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, PLACES[kind][1]: {"k": value}}


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("text", WRITTEN)
async def test_line_breaks_are_skipped(transport: HttpTransport, kind: str, text: str) -> None:
    plural, field = PLACES[kind]
    path = f"/api/v1/namespaces/default/{plural}"
    code, answer = await found(transport, "POST", path, DRY, body=made(kind, text))
    assert (code, answer[field]) == (201, {"k": WRITTEN[text]})


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("text", REFUSED)
async def test_all_else_is_strict(transport: HttpTransport, kind: str, text: str) -> None:
    plural, _ = PLACES[kind]
    path = f"/api/v1/namespaces/default/{plural}"
    code, answer = await found(transport, "POST", path, DRY, body=made(kind, text))
    assert code == 400
    why = f"illegal base64 data at input byte {REFUSED[text]}"
    assert answer["message"] == f'{kind} in version "v1" cannot be handled as a {kind}: {why}'


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("media", [MERGE, STRATEGIC, APPLY])
async def test_every_patch_reads_them_alike(transport: HttpTransport, kind: str, media: str) -> None:
    plural, field = PLACES[kind]
    path = f"/api/v1/namespaces/default/{plural}"
    await found(transport, "POST", path, body=made(kind, "YQ=="))
    query = (("fieldManager", "other"), ("force", "true")) if media == APPLY else ()
    try:
        body = made(kind, "YW\nJj")
        code, first = await found(transport, "PATCH", f"{path}/bytes", *query, body=body, media=media)
        assert (code, first[field]) == (200, {"k": "YWJj"})
        _, again = await found(transport, "PATCH", f"{path}/bytes", *query, body=body, media=media)
        assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    finally:
        await found(transport, "DELETE", f"{path}/bytes")


@pytest.mark.parametrize(
    ("kind", "field", "shown"),
    [
        ("Secret", "data", "data"),
        ("Secret", "stringData", "data"),
        ("ConfigMap", "data", "data"),
        ("ConfigMap", "binaryData", "binaryData"),
    ],
)
async def test_a_null_among_values_is_an_empty_one(
    transport: HttpTransport, kind: str, field: str, shown: str
) -> None:
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "nulls"}, field: {"k": None}}
    path = f"/api/v1/namespaces/default/{PLACES[kind][0]}"
    code, answer = await found(transport, "POST", path, DRY, body=body)
    assert (code, answer[shown]) == (201, {"k": ""})
