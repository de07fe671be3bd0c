"""Whatever is sent, the server answers: with an object or with a refusal, and it goes on serving."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from informers.apiserver.errors import StatusError
from informers.objects import Object
from tests.informers.apiserver.requests.breaking import broken
from tests.informers.apiserver.served import (
    APPLY,
    CARTS,
    DEFINITIONS,
    MAPS,
    MERGE,
    PODS,
    Served,
    cart,
    cart_definition,
    serving,
)

SETS = "/apis/apps/v1/namespaces/shop/statefulsets"
SERVICES = "/api/v1/namespaces/shop/services"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

_CONTAINER = {
    "name": "c",
    "image": "i",
    "ports": [{"containerPort": 80}],
    "env": [{"name": "A", "value": "b"}],
    "resources": {"limits": {"cpu": "1"}},
}
_TEMPLATE: Object = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [_CONTAINER], "volumes": [{"name": "v", "emptyDir": {}}]},
}
_SET_SPEC = {"selector": {"matchLabels": {"a": "b"}}, "serviceName": "s", "template": _TEMPLATE}
_META = {
    "name": "x",
    "labels": {"a": "b"},
    "annotations": {"a": "b"},
    "finalizers": ["x.io/a"],
    "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}],
}

SENT: dict[str, Object] = {
    MAPS: {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _META, "data": {"a": "b"}},
    PODS: {"apiVersion": "v1", "kind": "Pod", "metadata": _META, "spec": _TEMPLATE["spec"]},
    SETS: {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": _META, "spec": _SET_SPEC},
    SERVICES: {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _META,
        "spec": {"ports": [{"port": 80, "name": "http"}], "selector": {"a": "b"}, "type": "ClusterIP"},
    },
    DEFINITIONS: cart_definition(),
    CARTS: cart("x", spec={"items": 1}, metadata={"labels": {"a": "b"}}),
}

_ODD: list[Any] = [None, True, 0, -1, 1.5, "", "a", "A b", "0", [], {}, [None], [1], {"": 1}, [[]], {"a": {}}]
_leaf = st.sampled_from(_ODD)
_seed = st.lists(st.integers(0, 7), min_size=1, max_size=8)


@pytest.mark.parametrize("path", SENT)
@settings(max_examples=120)
@given(way=_seed, value=_leaf)
def test_no_object_breaks_the_server(path: str, way: list[int], value: Any) -> None:
    async def test(served: Served) -> None:
        body = broken(SENT[path], way, value)
        named = f"{path}/{SENT[path]['metadata']['name']}"
        for request in (
            ("POST", path, body),
            ("PUT", named, body),
            ("PATCH", named, body, MERGE),
            ("PATCH", named, body, STRATEGIC),
            ("PATCH", f"{named}/status", body, MERGE),
            ("DELETE", named, body.get("metadata")),
        ):
            try:
                served.ask(*copy.deepcopy(request))
            except StatusError as error:
                assert error.code < 500, error
        try:
            served.ask("PATCH", named, copy.deepcopy(body), APPLY, fieldManager="m", force=True)
        except StatusError as error:
            assert error.code < 500 or "typed patch object" in error.message, error
        assert served.map("still-here")["metadata"]["uid"]

    serving(test, carts=path == CARTS)


@settings(max_examples=100)
@given(
    operations=st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x", None]),
                "path": st.sampled_from(["", "/", "/data", "/data/a", "/data/-", "/metadata/name", "a", 3]),
                "from": st.sampled_from(["/data", "/metadata", "/x", ""]),
                "value": _leaf,
            },
        ),
        max_size=4,
    )
)
def test_no_json_patch_breaks_the_server(operations: list[Object]) -> None:
    async def test(served: Served) -> None:
        served.map("a", {"a": "b"})
        try:
            served.ask("PATCH", f"{MAPS}/a", operations, JSON_PATCH)
        except StatusError as error:
            assert error.code < 500
        assert served.obj("GET", f"{MAPS}/a")["metadata"]["name"] == "a"

    serving(test)
