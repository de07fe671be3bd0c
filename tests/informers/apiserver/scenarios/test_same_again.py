"""Writing what is there already changes nothing, for every built-in kind.

An operator that compares what it wants with what it finds must be able to come to rest.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from informers.apiserver.builtin.lifecycle import owns_generation
from informers.apiserver.kinds.table import builtin_types
from tests.informers.apiserver.scenarios.record import ANSWERS
from tests.informers.apiserver.scenarios.scenarios import scenarios
from tests.informers.apiserver.scenarios.steps import NAMESPACE, Step, object_of, request
from tests.informers.apiserver.served import APPLY, Served, serving

_ANSWERS = json.loads(ANSWERS.read_text())["answers"]
ACCEPTED = {
    name: steps
    for name, steps in scenarios()
    if name.startswith("create:") and _ANSWERS[name][0]["code"] == 201
}


def created(served: Served, steps: list[Step]) -> tuple[str, Any]:
    """The path of a newly created object, and the object."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    served.core.create(namespace)
    method, path, _, body, _ = request(object_of(steps), steps[0])
    made = served.obj(method, path, body)
    return f"{path}/{made['metadata']['name']}", made


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_was_read_can_be_written_back(name: str) -> None:
    async def test(served: Served) -> None:
        path, made = created(served, ACCEPTED[name])
        revision = served.revision
        await asyncio.sleep(1.5)
        served.ask("PUT", path, made)
        served.ask("PATCH", path, {})
        assert served.revision == revision

    serving(test)


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_was_applied_can_be_applied_again(name: str) -> None:
    async def test(served: Served) -> None:
        path, _ = created(served, ACCEPTED[name])
        sent = object_of(ACCEPTED[name])
        served.ask("PATCH", path, sent, APPLY, fieldManager="m", force=True)
        revision = served.revision
        await asyncio.sleep(1.5)
        served.ask("PATCH", path, sent, APPLY, fieldManager="m", force=True)
        assert served.revision == revision

    serving(test)


def test_kinds_and_rules_agree_on_who_counts_generations() -> None:
    types = [one for versions in builtin_types().values() for one in versions]
    counted = {str(one.resource) for one in types if one.generation}
    assert counted == {str(one.resource) for one in types if owns_generation(one.resource)}
