"""The embedded server answers what a real one answered when it was asked the same."""

from __future__ import annotations

import asyncio
import json
import random
from functools import cache

import pytest

from informers.objects import Object
from informers.testing.apiserver.core import ApiServer
from informers.testing.clock import VirtualClock, run_virtual
from informers.testing.transport import ApiServerTransport
from tests.apiserver_rules.asking import play, prepare
from tests.apiserver_rules.record import ANSWERS
from tests.apiserver_rules.scenarios import scenarios

SCENARIOS = dict(scenarios())
RECORDED = json.loads(ANSWERS.read_text())["answers"]


_TYPE_CHANGE = "what a new type of service makes meaningless is dropped before ownership is noted, not after"
_NULLS = "a real server writes null for lists and times of Go types that are not left out when empty"
_PROTECTED = "claims are not protected by a finalizer while pods use them"
_UNTYPED = "rules are compiled without the types of the schema"
_NO_LIST = "a fresh definition has an empty list of conditions instead of null"
DEVIATIONS = {
    "misfit: whole number with a point": "0.0 is taken for 0",
    "definition: fine": _NO_LIST,
    "definition: good rule": _NO_LIST,
    "definition: no regular expression": "Go says what is wrong with it",
    "definition: rule about nothing": _UNTYPED,
    "definition: rule that is no condition": _UNTYPED,
    "ownership: empty list map dropped": "a real server drops the whole map an empty list was dropped from",
    "definition: wrong default": "a wrong type has the reason of any wrong value here",
    "apply: missing key": "the schema asks for what Go types would fill with zero",
    "update: service closed on nodes": _TYPE_CHANGE,
    "update: service made a name": _TYPE_CHANGE,
    "create: event": _NULLS,
    "create: new event": _NULLS,
    "update: role rules": _NULLS,
    "update: slice endpoints": _NULLS,
    "update: slice type": _NULLS,
    "create: claim": _PROTECTED,
    "update: claim modes": _PROTECTED,
    "create: new event without much": "a real server leaves the group out of the sentence",
    "request: strict patch": "a real server answers patches with unknown fields with the whole object",
}
"""Where the embedded server is known to answer otherwise, and why."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xfail(strict=True, reason=DEVIATIONS[name]))
        if name in DEVIATIONS
        else name
        for name in SCENARIOS
    ],
)
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
