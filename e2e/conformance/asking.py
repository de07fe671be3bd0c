"""Requests as raw HTTP: what no client library would send, and answers to the byte."""

from __future__ import annotations

import json
from typing import Any

from informers.client import HttpTransport
from informers.client.transport import HttpRequest, HttpResponse

JSON = "application/json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


async def ask(
    transport: HttpTransport,
    method: str,
    path: str,
    *query: tuple[str, str],
    body: Any = None,
    media: str = JSON,
    accept: str = JSON,
) -> HttpResponse:
    """The answer to one request.

    :param body: sent as JSON unless it is bytes already.
    """
    sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    return await transport.request(HttpRequest(method, path, query, sent, media, accept))


async def found(
    transport: HttpTransport, method: str, path: str, *query: tuple[str, str], **more: Any
) -> tuple[int, Any]:
    """The code of an answer and what its body says."""
    answer = await ask(transport, method, path, *query, **more)
    return answer.status, json.loads(answer.body)
