"""Where volumes may lead, in the words of a real server."""

from __future__ import annotations

import json

import pytest

from informers.client import HttpTransport
from informers.client.transport import HttpRequest
from tests.informers.apiserver.scenarios.asked_of_volumes import cases

CASES = cases()


@pytest.mark.parametrize("title", CASES)
async def test_volumes_stay_inside(transport: HttpTransport, title: str) -> None:
    pod, wanted = CASES[title]
    path, query = "/api/v1/namespaces/default/pods", (("dryRun", "All"),)
    answer = await transport.request(
        HttpRequest("POST", path, query, json.dumps(pod).encode(), "application/json")
    )
    said = json.loads(answer.body)
    assert answer.status == (422 if wanted else 201), said
    causes = said["details"]["causes"] if wanted else []
    assert [(one["reason"], one["message"], one["field"]) for one in causes] == wanted
