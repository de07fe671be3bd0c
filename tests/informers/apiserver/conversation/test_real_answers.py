"""The embedded server answers a long conversation as a real one did."""

from __future__ import annotations

import asyncio
import json
import random
from functools import cache
from typing import Any

import pytest

from e2e.conformance.deviations import DEVIATIONS
from informers.apiserver.core import ApiServer
from informers.objects import Object
from informers.testing.clock import VirtualClock, run_virtual
from informers.testing.transport import ApiServerTransport
from tests.informers.apiserver.conversation.comparing import unordered
from tests.informers.apiserver.conversation.conversation import conversation
from tests.informers.apiserver.conversation.record import ANSWERS, hold

# Same code and reason, other words: where a real server's sentence shows its own insides.
WORDING = {title for one in DEVIATIONS for title in one.asks}


@cache
def recorded() -> dict[str, Object]:
    """What the real server answered."""
    answers: dict[str, Object] = json.loads(ANSWERS.read_text())["answers"]
    return answers


@cache
def ours() -> dict[str, Object]:
    """What the embedded server answers."""

    async def main() -> dict[str, Object]:
        core = ApiServer(VirtualClock(), rng=random.Random(7))
        running = asyncio.create_task(core.run())
        core.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
        try:
            return await hold(ApiServerTransport(core, user_agent="asker"))
        finally:
            running.cancel()

    return run_virtual(main())


def without_words(answer: Object) -> Any:
    """The part of a refusal that programs read."""
    return {key: answer["body"].get(key) for key in ("code", "reason", "status", "kind")}


@pytest.mark.parametrize("title", [ask.title for ask in conversation()])
def test_the_answer_is_the_real_one(title: str) -> None:
    mine, real = ours()[title], recorded()[title]
    assert mine["code"] == real["code"]
    if title in WORDING:
        assert without_words(mine) == without_words(real)
    else:
        assert unordered(mine) == unordered(real)


def test_every_difference_in_words_is_one() -> None:
    assert [title for title in WORDING if ours()[title] == recorded()[title]] == []


def test_titles_tell_requests_apart() -> None:
    titles = [ask.title for ask in conversation()]
    assert len(set(titles)) == len(titles)
