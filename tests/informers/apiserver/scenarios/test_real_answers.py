"""The embedded server answers what a real one answered when it was asked the same."""

from __future__ import annotations

import asyncio
import json
import random
from functools import cache

import pytest

from e2e.conformance.deviations import marked
from informers.apiserver.core import ApiServer
from informers.objects import Object
from informers.testing.clock import VirtualClock, run_virtual
from informers.testing.transport import ApiServerTransport
from tests.informers.apiserver.scenarios.asking import play, prepare
from tests.informers.apiserver.scenarios.record import ANSWERS
from tests.informers.apiserver.scenarios.scenarios import scenarios

SCENARIOS = dict(scenarios())
RECORDED = json.loads(ANSWERS.read_text())["answers"]


@pytest.mark.parametrize("name", marked(SCENARIOS, "scenarios"))
def test_answers(name: str) -> None:
    assert answers()[name] == RECORDED[name]


@cache
def answers() -> dict[str, list[Object]]:
    """The embedded server's answers to all scenarios."""
    return run_virtual(_played())


async def _played() -> dict[str, list[Object]]:
    core = ApiServer(VirtualClock(), rng=random.Random(0))
    running = asyncio.create_task(core.run())
    transport = ApiServerTransport(core, user_agent="asker")
    await prepare(transport)
    result = {name: await play(transport, steps) for name, steps in SCENARIOS.items()}
    running.cancel()
    return result
