"""What differs in the router from the spec, and is or is not corrected."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.pipeline.graph import OWNER_UID
from etl_operator.api import PIPELINE
from etl_operator.router.pb import router_pb2 as pb
from tests.controllers.pipeline.running import ID, NAME, Running


@pytest.mark.parametrize("damage", ["lost", "changed", "switched"])
async def test_drift_in_the_router_is_corrected(damage: str) -> None:
    running = await Running().started()
    if damage == "lost":
        running.world.routers.pipelines.clear()
    elif damage == "changed":
        running.remote.config.metadata["etl.router/spec-hash"] = "old"
    else:
        running.remote.enabled = False
    await running.once()
    assert running.remote.enabled
    assert running.world.events.reasons() == ["DriftCorrected"]
    assert running.condition("Ready")["status"] == "True"


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda config: config.stages.pop(1), "stages"),
        (lambda config: config.edges.add(from_stage="a", to_stage="b"), "edges"),
        (lambda config: setattr(config.stages[2], "parallelism", 9), "stages[2].parallelism"),
        (
            lambda config: setattr(config.stages[0].service_selector, "service_name", "spy"),
            "stages[0].service_selector.service_name",
        ),
        (lambda config: config.edges[0].condition.CopyFrom(pb.Condition(always="x")), "edges[0].condition"),
        (lambda config: config.metadata.pop("etl.router/owner-uid"), ""),
        (
            lambda config: config.metadata.update({"etl.router/dlq.enabled": "true"}),
            "metadata[etl.router/dlq",
        ),
        (lambda config: setattr(config, "description", "mine"), "description"),
    ],
)
async def test_drift_behind_an_unchanged_hash_is_seen(damage: Any, named: str) -> None:
    running = await Running().started()
    wanted = pb.PipelineConfig()
    wanted.CopyFrom(running.remote.config)
    held = pb.PipelineConfig()
    held.CopyFrom(wanted)
    damage(held)
    running.remote.config = held
    await running.once()
    if not named:
        # Without an owner it is somebody else's.
        assert running.condition("Ready")["reason"] == "NameConflict"
        return
    assert running.world.routers.mutations == ["update"]
    assert running.remote.config == wanted
    ((_, reason, note),) = running.world.events.seen
    assert reason == "DriftCorrected"
    assert named in note


async def test_a_router_that_keeps_fields_in_a_form_of_its_own_has_not_drifted() -> None:
    running = await Running().started()
    running.world.routers.habit = lambda config: setattr(config.stages[1], "parallelism", 4)
    running.world.routers.pipelines[ID].config.stages[1].parallelism = 4
    await running.once()
    # One try, as it might have been drift; after that the router is known.
    assert running.world.routers.mutations == ["update"]
    for _ in range(5):
        await running.once()
    assert running.world.routers.mutations == ["update"]
    assert running.world.events.seen == []
    assert running.condition("Ready")["status"] == "True"
    assert "stages[1].parallelism" in running.condition("Accepted")["message"]
    running.remote.config.stages[1].parallelism = 7
    await running.once()
    assert running.world.events.reasons() == ["DriftCorrected"]
    assert running.remote.config.stages[1].parallelism == 4


async def test_metadata_of_others_are_no_drift() -> None:
    running = await Running().started()
    running.remote.config.metadata["router.example/seen"] = "today"
    await running.once()
    assert running.world.routers.mutations == []


async def test_somebody_elses_pipeline_is_refused_then_adopted() -> None:
    running = Running()
    foreign = running.world.routers.pipelines
    await running.once()
    config = foreign[ID].config
    del config.metadata[OWNER_UID]
    running.world.routers.mutations.clear()
    await running.once()
    assert running.condition("Ready")["reason"] == "NameConflict"
    assert running.world.routers.mutations == []
    running.store.edit(PIPELINE, NAME, {"metadata": {"annotations": {"etl.router/adopt": "true"}}})
    await running.once()
    assert running.condition("Ready")["status"] == "True"
    assert running.remote.config.metadata[OWNER_UID]
    assert running.world.events.reasons()[-2:] == ["Adopted", "PipelineUpdated"]


async def test_what_a_former_object_of_the_name_left_is_taken_over() -> None:
    """Volumes outlive the cluster, and the pipelines in them their objects."""
    running = await Running().started()
    left = running.world.routers
    again = Running(enabled=False)
    again.world.routers.pipelines = left.pipelines
    left.pipelines[ID].config.metadata[OWNER_UID] = "uid-of-the-former"
    await again.once()
    assert again.condition("Ready")["status"] == "True"
    assert again.world.routers.mutations == ["update", "disable"]
    uid = again.store.of(PIPELINE, NAME)["metadata"]["uid"]
    assert again.remote.config.metadata[OWNER_UID] == uid
    assert again.world.events.reasons() == ["Adopted", "PipelineUpdated"]
