"""Plays scenarios over a transport, whatever server is behind it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from informers.client.transport import HttpRequest, Transport
from informers.objects import Object
from tests.hanging import HANGS
from tests.informers.apiserver.scenarios.comparing import comparable
from tests.informers.apiserver.scenarios.steps import NAMESPACE, Step, object_of, request
from tests.informers.apiserver.scenarios.widgets import WIDGETS

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_WIDGETS = f"/apis/rules.example.com/v1/namespaces/{NAMESPACE}/widgets"


async def ask(
    transport: Transport,
    method: str,
    path: str,
    query: dict[str, str] | None = None,
    body: Any = None,
    content_type: str = "application/json",
) -> tuple[int, Any]:
    """One request: status code and decoded answer."""
    data = json.dumps(body).encode() if body is not None else None
    sent = HttpRequest(method, path, tuple((query or {}).items()), data, content_type)
    response = await transport.request(sent)
    is_json = "json" in response.headers.get("content-type", "")
    return response.status, json.loads(response.body) if is_json else response.body.decode()


async def prepare(transport: Transport) -> None:
    """The namespace and the custom kind of the scenarios, ready to be used."""
    async with asyncio.timeout(HANGS):
        # What an earlier run left behind must go away first.
        for path, body in (
            ("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}}),
            (_DEFINITIONS, WIDGETS),
        ):
            while (answer := await ask(transport, "POST", path, body=body))[0] == 409:
                await ask(transport, "DELETE", f"{path}/{body['metadata']['name']}")
                await asyncio.sleep(0.2)
            assert answer[0] == 201, answer
        while (await ask(transport, "GET", _WIDGETS))[0] != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def play(transport: Transport, steps: list[Step]) -> list[Object]:
    """The answers to the steps of one scenario; nothing is left behind."""
    obj = object_of(steps)
    answers = []
    for step in steps:
        code, answer = await ask(transport, *request(obj, step))
        answers.append(comparable(code, answer))
    await ask(transport, *request(obj, Step("merge", {"metadata": {"finalizers": None}})))
    end = Step("delete", {"gracePeriodSeconds": 0, "propagationPolicy": "Background"})
    await ask(transport, *request(obj, end))
    return answers
