"""Both servers serve the same: groups, versions, kinds, verbs, short names, categories, scopes, columns."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.conformance.deviations import NOT_SERVED
from e2e.conformance.served import RECORDED, served
from e2e.realserver import version
from informers.client import HttpTransport
from informers.client.transport import HttpRequest


async def test_what_is_served_is_what_a_real_server_serves(transport: HttpTransport, cluster: str) -> None:
    if cluster not in ("sandbox", "real"):
        answer = await transport.request(HttpRequest("GET", "/version"))
        running = json.loads(answer.body)["gitVersion"]
        if running != version():
            pytest.skip(f"recorded is what {version()} serves by default; this cluster is {running}")
    wanted: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    absent = NOT_SERVED if cluster == "sandbox" else {}
    assert set(absent) <= set(wanted), "a deviation is about what no server has"
    found = await served(transport)
    assert sorted(found) == sorted(wanted.keys() - absent.keys())
    for name, entry in found.items():
        assert entry == wanted[name], name


@pytest.mark.parametrize("name", sorted(NOT_SERVED))
async def test_what_is_not_served_is_refused_with_a_reason(
    transport: HttpTransport, cluster: str, name: str
) -> None:
    if cluster != "sandbox":
        pytest.skip("a real server serves it")
    plural, _, subresource = name.removeprefix("v1/").partition("/")
    namespace = "" if plural == "nodes" else "/namespaces/default"
    path = f"/api/v1{namespace}/{plural}/any/{subresource}"
    response = await transport.request(HttpRequest("GET", path))
    answer = json.loads(response.body)
    assert (response.status, answer["reason"]) == (501, "NotImplemented")
    assert subresource in answer["message"]
