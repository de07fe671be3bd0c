"""Statuses: written to the right object, as far as the server takes them, and again after others."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import controllers
from controllers.objects.kinds import STATEFUL_SET
from controllers.pipeline.status import conclude
from controllers.status.conditions import Conditions
from controllers.status.memory import StatusMemory
from controllers.status.writing import write_status
from controllers.wiring.settings import ControllerSettings
from etl_operator.api import CLUSTER, PIPELINE, SOURCE
from etl_operator.api.cluster import ClusterStatus
from etl_operator.api.crds import render_crds
from etl_operator.api.fitting import fitted
from etl_operator.api.pipeline import PipelineStatus
from etl_operator.api.validation import validate
from informers.apiserver.kinds.table import DEFINITION
from informers.cache.store import Delta
from informers.errors import Conflict, Invalid
from informers.manager import Manager
from informers.objects import Object, ObjectKey, Resource
from informers.testing.simulation import Simulation, simulate
from informers.views.view import View, view_of_object
from tests.controllers.routers import KeeperDouble, Routers

KEY = ObjectKey("default", "x")
NAME = f"{CLUSTER.plural}.{CLUSTER.group}"


def definitions() -> dict[str, Object]:
    loaded = [yaml.safe_load(text) for text in render_crds().values()]
    return {one["metadata"]["name"]: one for one in loaded}


def status_schema(definition: Object) -> dict[str, Any]:
    found = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    return cast(dict[str, Any], found["properties"])


def made(resource: Resource, spec: Object) -> Object:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": KEY.name, "namespace": KEY.namespace},
        "spec": spec,
    }


def operator(world: Simulation) -> Manager:
    manager, routers = world.manager("operator"), Routers()
    controllers.setup(manager, ControllerSettings(), cast(Any, routers), cast(Any, KeeperDouble(routers)))
    return manager


def status_of(world: Simulation, resource: Resource) -> Object:
    found = world.server.find(resource, KEY)
    assert found is not None
    return cast(Object, found.get("status") or {})


def unready(manager: Manager) -> str:
    (finding,) = manager.ready.findings(only=("status-fields",))
    return finding.problem or ""


def play(main: Callable[[Simulation], Awaitable[None]], old: dict[str, Object] | None = None) -> None:
    simulate(main, *(old or definitions()).values())


# -- definitions that are older than the operator ---------------------------------------------------------


@pytest.mark.parametrize("field", ["selector", "clusterHealth", "conditions"])
def test_a_field_that_the_definition_lacks_is_left_out_and_named(field: str) -> None:
    older = copy.deepcopy(definitions())
    del status_schema(older[NAME])[field]

    async def main(world: Simulation) -> None:
        manager = operator(world)
        async with world.running(manager):
            await world.create(made(CLUSTER, {"replicas": 1}))
            await world.until(lambda: "updatedReplicas" in status_of(world, CLUSTER))
            assert field not in status_of(world, CLUSTER)
            assert f"{NAME}: status.{field};" in unready(manager)
            # It costs one refusal, not one per pass.
            refused = world.server.find(CLUSTER, KEY)
            await world.sleep(120)
            assert world.server.find(CLUSTER, KEY) == refused
            # The definition is brought up to date.
            world.server.edit(
                DEFINITION, ObjectKey("", NAME), lambda obj: {**obj, "spec": definitions()[NAME]["spec"]}
            )
            await world.until(lambda: field in status_of(world, CLUSTER), within=600)
            assert unready(manager) == ""

    play(main, older)


def test_a_value_that_the_definition_does_not_take_is_left_out_and_named() -> None:
    older = copy.deepcopy(definitions())
    status_schema(older[NAME])["clusterHealth"]["enum"] = ["Healthy"]

    async def main(world: Simulation) -> None:
        manager = operator(world)
        async with world.running(manager):
            await world.create(made(CLUSTER, {"replicas": 1}))
            await world.until(lambda: "updatedReplicas" in status_of(world, CLUSTER))
            assert "clusterHealth" not in status_of(world, CLUSTER)
            assert "status.clusterHealth" in unready(manager)

    play(main, older)


def test_what_is_refused_although_it_is_left_out_is_no_news() -> None:
    """Else the same status would be sent for ever."""
    memory = StatusMemory()
    causes = [{"field": "status.term", "reason": "FieldValueInvalid", "message": "too large"}]
    refusal = Invalid(422, "Invalid", "refused", {"causes": causes})
    assert memory.learn(CLUSTER, refusal)
    assert memory.storable(CLUSTER, {"term": 1, "nodes": []}) == {"nodes": []}
    assert not memory.learn(CLUSTER, refusal)


def test_an_item_that_lacks_what_is_required_is_left_out_as_a_whole() -> None:
    memory = StatusMemory()
    field = "status.nodes[0].zone"
    causes = [{"field": field, "reason": "FieldValueRequired", "message": "Required value"}]
    assert memory.learn(CLUSTER, Invalid(422, "Invalid", "refused", {"causes": causes}))
    assert memory.storable(CLUSTER, {"term": 1, "nodes": [{"nodeId": 1}]}) == {"term": 1}


# -- whose status it is --------------------------------------------------------------------------------------


async def pass_over(
    world: Simulation, meanwhile: Callable[[], None], memory: StatusMemory | None = None
) -> bool:
    """One pass that reads a cluster, and writes its status after something has happened to it."""
    manager = world.manager()
    clusters = manager.informer(CLUSTER)
    async with world.running(manager):
        world.server.create(made(CLUSTER, {}))
        await world.until(lambda: clusters.get(KEY) is not None)
        view = clusters.get(KEY)
        assert view is not None
        obj = view.object()
        meanwhile()
        conditions = Conditions(obj, 1, "2030-01-01T00:00:00Z")
        conditions.ready("ReconciliationSucceeded", "of the one that was read")
        status = {"observedGeneration": 1, "conditions": conditions.items()}
        return await write_status(manager.client, CLUSTER, clusters, obj, status, "m", memory)


def test_a_status_is_not_written_to_a_namesake() -> None:
    async def main(world: Simulation) -> None:
        def replace() -> None:
            world.server.delete(CLUSTER, KEY)
            world.server.create(made(CLUSTER, {}))

        assert not await pass_over(world, replace)
        assert status_of(world, CLUSTER) == {}

    play(main)


def test_a_status_of_an_object_that_is_gone_is_not_written() -> None:
    async def main(world: Simulation) -> None:
        assert not await pass_over(world, lambda: world.server.delete(CLUSTER, KEY))
        assert world.server.find(CLUSTER, KEY) is None

    play(main)


def test_a_status_is_written_although_its_object_was_changed_meanwhile() -> None:
    async def main(world: Simulation) -> None:
        def scale() -> None:
            world.server.edit(CLUSTER, KEY, lambda obj: {**obj, "spec": {**obj["spec"], "replicas": 5}})

        assert await pass_over(world, scale)
        assert status_of(world, CLUSTER)["observedGeneration"] == 1

    play(main)


def test_an_object_that_never_rests_is_left_to_the_queue() -> None:
    async def main(world: Simulation) -> None:
        world.fault(verb="patch", resource=CLUSTER.plural, status=409, reason="Conflict")
        with pytest.raises(Conflict):
            await pass_over(world, lambda: None)

    play(main)


def test_what_is_refused_as_a_whole_is_an_error() -> None:
    async def main(world: Simulation) -> None:
        world.fault(verb="patch", resource=CLUSTER.plural, status=422, reason="Invalid")
        with pytest.raises(Invalid):
            await pass_over(world, lambda: None)

    play(main)


# -- others write it ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resource", "spec"),
    [
        (SOURCE, {"grpc": {"endpoint": "host:1"}}),
        (PIPELINE, {"source": "a", "sink": "b"}),
        (CLUSTER, {"replicas": 1}),
    ],
    ids=lambda one: one.kind if isinstance(one, Resource) else "",
)
def test_an_emptied_status_comes_back(resource: Resource, spec: Object) -> None:
    async def main(world: Simulation) -> None:
        async with world.running(operator(world)):
            await world.create(made(resource, spec))
            await world.until(lambda: status_of(world, resource))
            # Until nothing is left to come by itself.
            await world.sleep(400)
            before = status_of(world, resource)

            def emptied(obj: Object) -> Object:
                return {key: value for key, value in obj.items() if key != "status"}

            world.server.edit(resource, KEY, emptied, manager="somebody", subresource="status")
            assert status_of(world, resource) == {}
            await world.until(lambda: status_of(world, resource), within=5)
            await world.sleep(5)
            after = status_of(world, resource)
            assert shown(after) == shown(before)

    play(main)


def shown(status: Object) -> Object:
    """Everything but when."""
    conditions = [
        {key: value for key, value in one.items() if key != "lastTransitionTime"}
        for one in status["conditions"]
    ]
    return {**status, "conditions": conditions}


def version(number: int, status: Object) -> View:
    obj = made(CLUSTER, {})
    obj["metadata"] |= {"uid": "u", "resourceVersion": str(number)}
    view = view_of_object({**obj, "status": status})
    assert view is not None
    return view


def test_own_writes_are_known_before_and_after_their_answer() -> None:
    memory = StatusMemory()
    changed = memory.changed_by_others(CLUSTER)
    old, ours, theirs = version(1, {}), version(2, {"term": 1}), version(3, {"term": 2})
    assert changed(Delta(old, ours)), "nothing was sent"
    memory.sends(CLUSTER, KEY, {"term": 1})
    # The watch is faster than the answer.
    assert not changed(Delta(old, ours))
    memory.wrote(CLUSTER, {"term": 1}, ours.object())
    assert not changed(Delta(old, ours))
    assert not changed(Delta(ours, version(3, {"term": 1}))), "something else than the status"
    assert changed(Delta(ours, theirs))
    # The server makes something else of it: its answer says so.
    memory.wrote(CLUSTER, {"term": 1}, theirs.object())
    assert not changed(Delta(ours, theirs))
    assert memory.stored_otherwise(CLUSTER, theirs.object(), {"term": 1})
    assert not memory.stored_otherwise(CLUSTER, theirs.object(), {"term": 5})
    emptied, namesake = version(4, {}).object(), theirs.object()
    namesake["metadata"]["uid"] = "another"
    for other in (emptied, namesake):
        assert not memory.stored_otherwise(CLUSTER, other, {"term": 1}), "that is to be written anew"
    assert not changed(Delta(theirs, None))
    assert changed(Delta(old, theirs)), "forgotten with the object"


def test_what_others_add_to_a_status_is_not_fought_over() -> None:
    async def main(world: Simulation) -> None:
        async with world.running(operator(world)):
            await world.create(made(CLUSTER, {"replicas": 1}))
            await world.until(lambda: world.server.find(STATEFUL_SET, KEY))
            await world.sleep(60)

            def add(obj: Object) -> Object:
                return {**obj, "status": {**obj["status"], "protocol": "theirs"}}

            world.server.edit(CLUSTER, KEY, add, manager="somebody", subresource="status")
            await world.sleep(5)
            rest = world.server.find(CLUSTER, KEY)
            await world.sleep(600)
            assert world.server.find(CLUSTER, KEY) == rest

    play(main)


# -- figures beyond what can be stored --------------------------------------------------

COUNTERS = st.integers(min_value=-5, max_value=2**64)
STAGE = st.fixed_dictionaries(
    {
        "id": st.text(max_size=300),
        "name": st.text(max_size=300),
        "type": st.sampled_from(["Source", "Sink", "Other"]),
        "endpoints": st.integers(0, 400).map(lambda count: [f"h{number}:1" for number in range(count)]),
        "recordsProcessed": COUNTERS,
        "errors": COUNTERS,
    }
)


@given(stages=st.lists(STAGE, max_size=3), records=COUNTERS, version=COUNTERS)
def test_whatever_a_router_says_can_be_stored(stages: list[Object], records: int, version: int) -> None:
    obj = {**made(PIPELINE, {"source": "a", "sink": "b"})}
    obj["metadata"] |= {"uid": "u", "generation": 1}
    conditions = Conditions(obj, 1, "2030-01-01T00:00:00Z")
    conditions.ready("ReconciliationSucceeded", "x")
    figures = {"stages": stages, "recordsProcessed": records, "version": version, "enabled": True}
    status = conclude(obj, figures, conditions, "Running")
    left = [one for one in validate({**obj, "status": status}) if "required" not in one.message.lower()]
    assert left == []
    assert fitted(PipelineStatus, status) == status


def test_what_fits_is_left_alone() -> None:
    status: Object = {"term": 2**53 - 1, "nodes": [], "clusterHealth": "Healthy", "leaderPod": None}
    assert fitted(ClusterStatus, status) is status
    cut = fitted(ClusterStatus, {**status, "term": 2**63, "endpoint": "x" * 10_000})
    assert cut["term"] == 2**53 - 1
    assert cut["endpoint"].endswith("…")
    assert cut["nodes"] == []
