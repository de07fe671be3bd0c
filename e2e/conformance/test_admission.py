"""Default admission: both servers refuse, complete and warn alike."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from e2e.conformance.admission import RECORDED, answers, asks
from informers.objects import Object


@pytest.fixture(scope="session")
def told(server: Path) -> dict[str, Object]:
    """The server's answers, by title."""
    return asyncio.run(answers(server))


@pytest.mark.parametrize("title", [ask.title for ask in asks()])
def test_admission(told: dict[str, Object], title: str) -> None:
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    assert told[title] == recorded[title]
