"""A ``Status`` is the same in every shape, as kube-apiserver 1.37.2 has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from informers.objects import Object
from tests.sandbox.http.raw import Running, Sent, one_server
from tests.sandbox.http.samples import IN, OBJECTS

_JSON = ("Content-Type", "application/json")
_PODS = f"/api/v1{IN}/pods"
_SHAPES = {
    shape: ("Accept", f"application/json;as={shape};g=meta.k8s.io;v=v1")
    for shape in ("Table", "PartialObjectMetadata")
}
_ACTS = ("binding", "eviction")


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with one_server() as server:
        yield server


def _ask(running: Running, method: str, path: str, shape: str, body: Any = None) -> tuple[int, Object]:
    sent = json.dumps(body).encode() if body is not None else b""
    with running.connection() as connection:
        headers = [_JSON, *([_SHAPES[shape]] if shape else [])]
        answer = connection.ask(Sent(method, path, headers, sent))
        found: Object = json.loads(answer.body)
        return answer.code, found


def _pod(running: Running, name: str) -> str:
    pod = {**OBJECTS[_PODS], "metadata": {"name": name}}
    assert _ask(running, "POST", _PODS, "", pod)[0] == 201
    return f"{_PODS}/{name}"


@pytest.mark.parametrize("shape", _SHAPES)
@pytest.mark.parametrize("kind", ["configmaps", "limitranges", "secrets"])
def test_a_deletion_answers_with_a_status(running: Running, shape: str, kind: str) -> None:
    path, name = f"/api/v1{IN}/{kind}", f"to-delete-{shape.lower()}"
    assert _ask(running, "POST", path, "", {**OBJECTS[path], "metadata": {"name": name}})[0] == 201
    code, found = _ask(running, "DELETE", f"{path}/{name}", shape)
    assert (code, found["kind"], found["status"]) == (200, "Status", "Success")


@pytest.mark.parametrize("act", _ACTS)
def test_what_is_done_to_a_pod_makes_no_table(running: Running, act: str) -> None:
    pod = _pod(running, f"table-{act}")
    code, found = _ask(running, "POST", f"{pod}/{act}", "Table", OBJECTS[f"{_PODS}/x/{act}"])
    assert (code, found["reason"]) == (406, "NotAcceptable")


@pytest.mark.parametrize("act", _ACTS)
def test_what_is_done_to_a_pod_answers_with_a_status(running: Running, act: str) -> None:
    pod = _pod(running, f"partial-{act}")
    body = {**OBJECTS[f"{_PODS}/x/{act}"], "metadata": {"name": f"partial-{act}"}}
    code, found = _ask(running, "POST", f"{pod}/{act}", "PartialObjectMetadata", body)
    assert (code, found["kind"], found["status"]) == (201, "Status", "Success")


def test_a_token_in_other_shapes(running: Running) -> None:
    path = f"/api/v1{IN}/serviceaccounts/default/token"
    assert _ask(running, "POST", path, "Table", OBJECTS[path])[0] == 406
    code, found = _ask(running, "POST", path, "PartialObjectMetadata", OBJECTS[path])
    assert (code, found["kind"], found["metadata"]["name"]) == (201, "PartialObjectMetadata", "default")
    assert "status" not in found, "the token is not shown"
