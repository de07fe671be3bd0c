"""Rules of what goes wrong: which there can be, and what they say of rights."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import pytest

from informers.access import AGAIN, REVIEW, Access
from informers.apiserver.faults import FaultRule
from informers.client.requests import LIST_SILENCE
from informers.controller import Controller
from informers.errors import BadRequest, Forbidden, TransportError
from informers.manager import Manager
from informers.objects import Object, ObjectKey, Resource, Result
from informers.testing.simulation import NAMESPACE, Simulation, simulate

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
SECRET = Resource("", "v1", "secrets", "Secret")


@pytest.mark.parametrize("rule", [{"verb": "read"}, {"cut": "never"}])
def test_a_rule_that_can_never_strike_is_refused(rule: dict[str, Any]) -> None:
    async def play(world: Simulation) -> None:
        with pytest.raises(ValueError, match="must be one of"):
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


class Idle:
    async def reconcile(self, _: ObjectKey) -> Result:
        return Result.done()


def asking(world: Simulation) -> Manager:
    """A manager that asks for its rights."""
    manager = world.manager("asking", preflight=True)
    access = [
        Access(SECRET, ("patch",), (NAMESPACE,), subresource="status"),
        Access(SECRET, ("get",), name="a"),
    ]
    controller = Controller("idle", Idle(), access=access)
    controller.watches(manager.informer(CONFIG_MAP))
    manager.add(controller)
    return manager


def missing(manager: Manager) -> str | None:
    (finding,) = manager.ready.findings(only=["access"])
    return finding.problem


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], None),
        ([{"user": "somebody", "status": 403}, {"resource": "secrets", "status": 500}], None),
        ([{"resource": "secrets", "verb": "get", "namespace": NAMESPACE, "status": 403}], None),
        ([{"resource": "secrets", "verb": "get", "name": "b", "status": 403}], None),
        ([{"resource": "secrets", "subresource": "", "verb": "patch", "status": 403}], None),
        ([{"resource": "secrets", "status": 403, "probability": 0.5}], None),
        ([{"resource": "secrets", "status": 403, "skip": 1}], None),
        ([{"resource": "secrets", "status": 403, "times": 0}], None),
        ([{"resource": "secrets", "delay": 1.0}, {"resource": "secrets", "status": 403}], None),
        ([{"verb": "watch", "resource": "configmaps", "status": 403}], "watch configmaps in all namespaces"),
        (
            [{"resource": "secrets", "user": "asking", "status": 403, "times": 1}],
            f'patch secrets/status in namespace {NAMESPACE}; get secrets "a" in all namespaces',
        ),
    ],
)
def test_preflight_is_told_what_rules_refuse(rules: list[dict[str, Any]], expected: str | None) -> None:
    async def play(world: Simulation) -> None:
        for rule in rules:
            world.fault(**rule)
        manager = asking(world)
        async with world.running(manager):
            await world.sleep(20)
            assert missing(manager) == (expected and f"not allowed to {expected}")
            world.server.faults.clear()
            await world.until(lambda: missing(manager) is None, within=2 * AGAIN)

    simulate(play)


def test_who_may_do_nothing_may_ask() -> None:
    async def play(world: Simulation) -> None:
        world.fault(status=403)
        manager = asking(world)
        async with world.running(manager):
            await world.sleep(20)
            problem = missing(manager)
            assert problem is not None and "list, watch configmaps" in problem and "events" in problem

    simulate(play)


def test_reviews_meet_with_faults_themselves() -> None:
    async def play(world: Simulation) -> None:
        refused = world.fault(resource="selfsubjectaccessreviews", status=403, times=1)
        lost = world.fault(cut="before", times=1)
        client = world.client()
        question: Object = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
        with pytest.raises(Forbidden):
            await client.raw("POST", REVIEW.path(), body=question)
        with pytest.raises(TransportError):
            await client.raw("POST", REVIEW.path(), body=question)
        assert (refused.hits, lost.hits) == (1, 1)
        answer = await client.raw("POST", REVIEW.path(), body=question)
        assert answer == {**question, "status": {"allowed": True}}
        world.fault(status=403)
        page: Object = {"spec": {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}}
        assert (await client.raw("POST", REVIEW.path(), body=page))["status"] == {"allowed": True}
        nonsenses: list[Any] = [{}, [], {"spec": {}}, {"spec": {**question["spec"], **page["spec"]}}]
        for nonsense in nonsenses:
            with pytest.raises(BadRequest, match="exactly one of"):
                await client.raw("POST", REVIEW.path(), body=nonsense)

    simulate(play)


def test_an_answer_that_takes_too_long_is_none() -> None:
    """Lists that come slowly have minutes, but nothing comes slowly here."""

    async def play(world: Simulation) -> None:
        world.fault(verb="list", delay=LIST_SILENCE - 1, times=1)
        world.fault(verb="list", delay=LIST_SILENCE + 1, times=1)
        client = world.client()
        assert (await client.list(CONFIG_MAP)).items == []
        with pytest.raises(TransportError, match=r"no answer within 60\.0 s"):
            await client.list(CONFIG_MAP)

    simulate(play)
