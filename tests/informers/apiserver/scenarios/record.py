"""Asks a real server all scenarios and writes its answers down. For developers, with ``KUBECONFIG`` set.

::

    python -m tests.informers.apiserver.scenarios.record
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from informers.client.http import HttpTransport
from informers.client.kubeconfig import load_default
from informers.client.transport import Transport
from informers.objects import Object
from tests.informers.apiserver.scenarios.asking import ask, play, prepare
from tests.informers.apiserver.scenarios.scenarios import scenarios
from tests.informers.apiserver.scenarios.steps import NAMESPACE
from tests.informers.apiserver.scenarios.widgets import WIDGETS

ANSWERS = Path(__file__).with_name("answers.json")


async def play_all(transport: Transport) -> dict[str, list[Object]]:
    """The answers to all scenarios; what was made is removed."""
    await prepare(transport)
    answers = {name: await play(transport, steps) for name, steps in scenarios()}
    definition = WIDGETS["metadata"]["name"]
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await ask(transport, "DELETE", f"{path}/{definition}")
    await ask(transport, "DELETE", f"/api/v1/namespaces/{NAMESPACE}")
    return answers


async def main() -> None:
    """Record everything, then remove what was made."""
    transport = HttpTransport(load_default(None), user_agent="asker")
    try:
        code, version = await ask(transport, "GET", "/version")
        assert code == 200
        answers = await play_all(transport)
        recorded = {"version": version["gitVersion"], "answers": answers}
        ANSWERS.write_text(json.dumps(recorded, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    finally:
        await transport.close()


if __name__ == "__main__":
    asyncio.run(main())
