"""Holds the conversation with a real server and writes its answers down. For developers, with ``KUBECONFIG``.

::

    python -m tests.informers.apiserver.conversation.record
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from informers.client.http import HttpTransport
from informers.client.kubeconfig import load_default
from informers.client.transport import HttpRequest, Transport
from informers.objects import Object
from tests.hanging import HANGS
from tests.informers.apiserver.conversation.comparing import comparable, decoded, filled, keep
from tests.informers.apiserver.conversation.conversation import COG, HOME, JSON, MERGE, Ask, conversation

ANSWERS = Path(__file__).with_name("answers.json")


async def answer(transport: Transport, ask: Ask, kept: dict[str, str]) -> Object:
    """One answer, comparable."""
    body = json.dumps(filled(ask.body, kept)).encode() if ask.body is not None else None
    query = tuple(filled(ask.query, kept).items())
    request = HttpRequest(ask.method, ask.path, query, body, ask.content_type)
    if "watch" in ask.query:
        async with transport.stream(request) as stream:
            status, raw = stream.status, await stream.read()
    else:
        response = await transport.request(request)
        status, raw = response.status, response.body
    found = decoded(raw)
    keep(ask, found, kept)
    if ask.settle:
        await asyncio.sleep(ask.settle)
    return {"code": status, "body": comparable(found)}


async def hold(transport: Transport) -> dict[str, Object]:
    """The whole conversation: answers by title."""
    kept: dict[str, str] = {}
    return {ask.title: await answer(transport, ask, kept) for ask in conversation()}


async def _send(transport: Transport, method: str, path: str, body: Object | None = None) -> int:
    encoded = json.dumps(body).encode() if body is not None else None
    sent = HttpRequest(method, path, (), encoded, MERGE if method == "PATCH" else JSON)
    return (await transport.request(sent)).status


async def clear(transport: Transport) -> None:
    """Leave no trace of a conversation."""
    held = f"{HOME}/configmaps/hold"
    await _send(transport, "PATCH", held, {"metadata": {"finalizers": None}})
    for path in (COG, HOME):
        await _send(transport, "DELETE", path)
    async with asyncio.timeout(HANGS):
        while await _send(transport, "GET", HOME) != 404:  # noqa: ASYNC110 (a server has no event)
            await asyncio.sleep(0.5)


async def main() -> None:
    """Record everything, then remove what was made."""
    transport = HttpTransport(load_default(None), user_agent="asker")
    try:
        await clear(transport)
        version = json.loads((await transport.request(HttpRequest("GET", "/version"))).body)
        recorded = {"version": version["gitVersion"], "answers": await hold(transport)}
        text = json.dumps(recorded, indent=1, sort_keys=True, ensure_ascii=False)
        ANSWERS.write_text(text + "\n")
        await clear(transport)
    finally:
        await transport.close()


if __name__ == "__main__":
    asyncio.run(main())
