"""Rules of what goes wrong: which there can be."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import pytest

from informers.testing.apiserver.faults import FaultRule
from informers.testing.simulation import Simulation, simulate


@pytest.mark.parametrize("rule", [{"verb": "read"}, {"cut": "never"}])
def test_a_rule_that_can_never_strike_is_refused(rule: dict[str, Any]) -> None:
    async def play(world: Simulation) -> None:
        with pytest.raises(ValueError, match="is none of"):
            world.fault(**rule)

    simulate(play)


def test_a_world_s_faults_are_the_fields_of_rules() -> None:
    parameters = dict(inspect.signature(Simulation.fault).parameters)
    del parameters["self"]
    declared = {one.name: one for one in fields(FaultRule) if one.init}
    assert list(parameters) == list(declared)
    for field in declared.values():
        assert parameters[field.name].default == field.default
        assert parameters[field.name].annotation == field.type

    async def play(world: Simulation) -> None:
        for field in declared.values():
            value = {"verb": "list", "cut": "after"}.get(field.name, 7)
            given: dict[str, Any] = {field.name: value}
            assert world.fault(**given) == FaultRule(**given)
        with pytest.raises(TypeError, match="unexpected keyword argument 'resources'"):
            world.fault(resources="pods")  # type: ignore[call-arg]

    simulate(play)
