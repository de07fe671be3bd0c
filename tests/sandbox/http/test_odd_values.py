"""No value of any field is a fault of the server's own."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from informers.apiserver.protobuf import MAGIC
from informers.objects import Object
from tests.sandbox.http.content.test_bodies import DEFINITION
from tests.sandbox.http.protobuf_bodies import as_message, field
from tests.sandbox.http.random_requests import DIGITS
from tests.sandbox.http.raw import Running, Sent, one_server
from tests.sandbox.http.samples import IN, OBJECTS, an_object


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with one_server() as server:
        yield server


_TABLE_OR_NOT = "application/json;as=Table;g=meta.k8s.io;v=v1, application/json"

_WORST: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**30,
    "",
    [],
    [None],
    {},
    {"": 1},
    DIGITS,
    f"{DIGITS}%",
    f"{DIGITS}Mi",
)


def _ways(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if way:
        yield way
    for key, below in (value if isinstance(value, dict) else dict(enumerate(value))).items():
        yield from _ways(below, (*way, key)) if isinstance(below, dict | list) else [(*way, key)]


def _another(path: str, obj: Object) -> Object:
    """The object by a name that is not taken, unless it is about one that is there."""
    if obj is DEFINITION:
        another: Object = json.loads(json.dumps(obj).replace("adget", "idget"))
        return another
    about = "/x/" in path or path.endswith("/token")
    return obj if about else {**obj, "metadata": {**obj["metadata"], "name": "another"}}


_DELETE_OPTIONS: Object = {
    "apiVersion": "v1",
    "kind": "DeleteOptions",
    "gracePeriodSeconds": 0,
    "propagationPolicy": "Background",
    "preconditions": {"uid": "u", "resourceVersion": "1"},
    "dryRun": ["All"],
}
_SCALE = an_object("Scale", "autoscaling/v1", spec={"replicas": 1})
_ALL_BODIES = [
    *(("POST", path, _another(path, obj)) for path, obj in OBJECTS.items()),
    ("DELETE", f"/api/v1{IN}/configmaps/x", _DELETE_OPTIONS),
    ("DELETE", f"/api/v1{IN}/configmaps", _DELETE_OPTIONS),
    ("PUT", f"/apis/apps/v1{IN}/deployments/x/scale", _SCALE),
    (
        "PUT",
        f"/apis/apps/v1{IN}/deployments/x/status",
        an_object("Deployment", "apps/v1", status={"replicas": 1}),
    ),
    ("PUT", "/api/v1/namespaces/x/finalize", OBJECTS["/api/v1/namespaces"]),
]


@pytest.mark.parametrize(("method", "path", "whole"), _ALL_BODIES)
def test_no_value_of_any_field_is_a_fault(running: Running, method: str, path: str, whole: Object) -> None:
    """What chance finds seldom: every field of every object, with each of these, shown as a table."""
    headers = [("Content-Type", "application/json"), ("Accept", _TABLE_OR_NOT)]
    with running.connection() as connection:
        for way in _ways(whole):
            for value in _WORST:
                body = json.loads(json.dumps(whole))
                functools.reduce(lambda inner, key: inner[key], way[:-1], body)[way[-1]] = value
                answer = connection.ask(
                    Sent(method, f"{path}?dryRun=All", headers, json.dumps(body).encode())
                )
                assert answer.code < 500, (answer.code, answer.body[:500], way, value)
    assert not running.faults


_DEEP = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
_MAPS = f"/api/v1{IN}/configmaps"
_AS_JSON, _AS_PROTOBUF = (
    ("Content-Type", "application/json"),
    ("Content-Type", "application/vnd.kubernetes.protobuf"),
)


def _written(name: str, **metadata: str) -> bytes:
    return json.dumps({**an_object("ConfigMap"), "metadata": {"name": name, **metadata}}).encode()


def _with_managed_fields(fields: bytes) -> bytes:
    head = field(1, b"v1") + field(2, b"ConfigMap")
    return MAGIC + field(1, head) + field(2, as_message("ConfigMap", (b"a", fields, 1, 1)))


@pytest.mark.parametrize(
    ("code", "request_"),
    [
        (403, Sent("GET", _MAPS, [("Impersonate-User", "a\xffb")], b"")),
        (201, Sent("POST", _MAPS, [_AS_JSON, ("User-Agent", "a\xffb/1")], _written("by-whom"))),
        (400, Sent("GET", f"{_MAPS}?resourceVersion={DIGITS}", [], b"")),
        (400, Sent("GET", f"/sandbox/writes?since={DIGITS}", [], b"")),
        (201, Sent("POST", _MAPS, [_AS_JSON], _written("by-version", resourceVersion=DIGITS))),
        (400, Sent("POST", _MAPS, [_AS_PROTOBUF], _with_managed_fields(b"[" * 100_000))),
        (400, Sent("POST", _MAPS, [_AS_PROTOBUF], _with_managed_fields(_DEEP))),
        (400, Sent("POST", _MAPS, [_AS_PROTOBUF], _with_managed_fields(b'{"a":"\\ud800"}'))),
        (400, Sent("POST", _MAPS, [_AS_PROTOBUF], _with_managed_fields(b'{"a":NaN}'))),
    ],
)
def test_what_was_a_fault_is_answered(running: Running, code: int, request_: Sent) -> None:
    with running.connection() as connection:
        answer = connection.ask(request_)
        assert (answer.code, answer.open) == (code, True), answer.body
        assert connection.ask(Sent("GET", f"{_MAPS}?limit=500")).code == 200
    assert not running.faults
