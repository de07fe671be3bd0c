"""The server under test is asked what a real one was asked when the answers were recorded."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from e2e.conformance.deviations import marked
from e2e.realserver import version
from informers.client import Client, HttpTransport, load_kubeconfig
from informers.objects import Object
from tests.informers.apiserver.conversation import record as conversation_record
from tests.informers.apiserver.conversation.comparing import unordered
from tests.informers.apiserver.conversation.conversation import conversation
from tests.informers.apiserver.scenarios import record as scenario_record
from tests.informers.apiserver.scenarios.scenarios import scenarios


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One check per request and scenario; deviations are expected of the sandbox only."""
    ours = metafunc.config.getoption("--cluster") == "sandbox"
    if "title" in metafunc.fixturenames:
        titles = [ask.title for ask in conversation()]
        metafunc.parametrize("title", marked(titles, "asks", expected=ours))
    if "scenario" in metafunc.fixturenames:
        names = [name for name, _ in scenarios()]
        metafunc.parametrize("scenario", marked(names, "scenarios", expected=ours))


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _recorded(path: Path) -> dict[str, Any]:
    answers: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["answers"]
    return answers


@pytest.fixture(scope="session")
def told(server: Path, cluster: str) -> tuple[dict[str, Object], dict[str, list[Object]]]:
    """The answers to the conversation, which mostly waits, and meanwhile those to the scenarios."""

    async def of_the_recorded_version(transport: HttpTransport) -> None:
        running = (await Client(transport).raw("GET", "/version"))["gitVersion"]
        if _minor(running) != _minor(version()):
            pytest.skip(f"the answers are those of {version()}; this cluster is {running}")

    async def hold(transport: HttpTransport) -> dict[str, Object]:
        await conversation_record.clear(transport)
        found = await conversation_record.hold(transport)
        await conversation_record.clear(transport)
        return found

    async def both(transport: HttpTransport) -> tuple[dict[str, Object], dict[str, list[Object]]]:
        if cluster not in ("sandbox", "real"):
            await of_the_recorded_version(transport)
        conversing = asyncio.create_task(hold(transport))
        if cluster != "sandbox":
            # A streaming list of a second is answered in time by a server that has little else to do.
            await conversing
        played = await scenario_record.play_all(transport)
        return await conversing, played

    found: tuple[dict[str, Object], dict[str, list[Object]]] = _with(server, both)
    return found


@pytest.fixture
def answers(told: tuple[dict[str, Object], dict[str, list[Object]]]) -> dict[str, Object]:
    """The answers to the conversation, by title."""
    return told[0]


@pytest.fixture
def played(told: tuple[dict[str, Object], dict[str, list[Object]]]) -> dict[str, list[Object]]:
    """The answers to the scenarios, by name."""
    return told[1]


def _with(server: Path, work: Any) -> Any:
    async def main() -> Any:
        transport = HttpTransport(load_kubeconfig(str(server)), user_agent="asker")
        try:
            return await work(transport)
        finally:
            await transport.close()

    return asyncio.run(main())


def _skip_with_accounts(answer: Any) -> None:
    """Skip where pods are changed on their way in, which the recorded server does not do."""
    if "kube-api-access-" in json.dumps(answer):
        pytest.skip("this cluster mounts service account tokens into pods; the recorded one does not")


def test_conversation(answers: dict[str, Object], title: str) -> None:
    _skip_with_accounts(answers[title])
    assert unordered(answers[title]) == unordered(_recorded(conversation_record.ANSWERS)[title])


def test_scenario(played: dict[str, list[Object]], scenario: str) -> None:
    _skip_with_accounts(played[scenario])
    assert played[scenario] == _recorded(scenario_record.ANSWERS)[scenario]
