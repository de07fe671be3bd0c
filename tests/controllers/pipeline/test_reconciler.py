"""Submission and change: what is sent to the router, and what the status says."""

from __future__ import annotations

import pytest

from controllers.pipeline.graph import OWNER_UID
from controllers.pipeline.reconciler import FINALIZER
from controllers.service.registration import split_endpoint
from etl_operator.api import PIPELINE, SINK, SOURCE, TRANSFORM
from etl_operator.router.errors import Faulty, Overloaded, Rejected, RouterAdminUnavailable, RouterError
from tests.controllers.pipeline.running import ID, NAME, Running


async def test_a_pipeline_is_submitted_enabled_and_described() -> None:
    running = Running()
    assert await running.once() == running.world.context.settings.drift_interval
    assert running.world.routers.mutations == ["create", "enable"]
    assert running.remote.enabled
    status = running.status
    assert status["pipelineId"] == ID
    assert status["cluster"] == "etl/prod"
    assert status["enabled"] is True
    assert status["phase"] == "Running"
    assert [stage["id"] for stage in status["stages"]] == [
        "analytics-source",
        "analytics-transform-0",
        "analytics-transform-1",
        "analytics-sink",
    ]
    assert status["stages"][0]["endpoints"] == ["in-svc:50051"]
    for kind in ("ReferencesResolved", "Accepted", "Running", "Ready"):
        assert running.condition(kind)["status"] == "True"
    assert running.store.of(PIPELINE, NAME)["metadata"]["finalizers"] == [FINALIZER]
    assert running.world.events.reasons() == ["PipelineSubmitted"]


async def test_the_graph_is_linear_and_says_whose_it_is() -> None:
    running = await Running(dlq={"enabled": True, "maxRetries": 7, "sink": "out"}).started()
    config = running.remote.config
    assert [(edge.from_stage, edge.to_stage) for edge in config.edges] == [
        ("analytics-source", "analytics-transform-0"),
        ("analytics-transform-0", "analytics-transform-1"),
        ("analytics-transform-1", "analytics-sink"),
    ]
    assert config.stages[-1].id == "analytics-dlq"
    assert config.metadata["etl.router/dlq.max-retries"] == "7"
    assert config.metadata["etl.router/dlq.sink"] == "out"
    assert config.metadata[OWNER_UID] == running.store.of(PIPELINE, NAME)["metadata"]["uid"]


async def test_dead_letters_travel_in_the_metadata() -> None:
    dlq = {"enabled": True, "maxRetries": 7, "retryBackoffMs": 5, "maxRetryBackoffMs": 50, "sink": "out"}
    running = await Running(dlq=dlq).started()
    metadata = running.remote.config.metadata
    assert {key: value for key, value in metadata.items() if key.startswith("etl.router/dlq.")} == {
        "etl.router/dlq.enabled": "true",
        "etl.router/dlq.max-retries": "7",
        "etl.router/dlq.retry-backoff-ms": "5",
        "etl.router/dlq.max-retry-backoff-ms": "50",
        "etl.router/dlq.sink": "out",
    }
    assert [stage.id for stage in running.remote.config.stages][-1] == f"{NAME}-dlq"
    assert not [edge for edge in running.remote.config.edges if "dlq" in edge.from_stage + edge.to_stage]


async def test_an_ipv6_endpoint_is_shown_as_it_is_written() -> None:
    running = Running()
    running.world.routers.hosts["in"] = "fd00::7"
    await running.once()
    shown = running.status["stages"][0]["endpoints"]
    assert shown == ["[fd00::7]:50051"]
    assert split_endpoint(shown[0]) == ("fd00::7", 50051)


async def test_a_hundred_passes_of_a_converged_pipeline_write_nothing() -> None:
    running = await Running().started()
    running.store.writes.clear()
    for _ in range(100):
        await running.once()
    assert running.store.writes == []
    assert running.world.routers.mutations == []
    assert running.world.events.seen == []


async def test_a_pipeline_keeps_running_on_its_last_good_spec() -> None:
    running = await Running().started()
    before = running.remote.config
    running.store.edit(PIPELINE, NAME, {"spec": {"sink": "nowhere"}})
    await running.once()
    assert running.condition("Ready")["status"] == "False"
    assert running.condition("Running")["status"] == "True"
    assert running.remote.config == before
    assert running.remote.enabled


async def test_a_changed_spec_is_an_update_and_nothing_else() -> None:
    running = await Running().started()
    running.store.edit(PIPELINE, NAME, {"spec": {"steps": ["enrich"]}})
    await running.once()
    assert running.world.routers.mutations == ["update"]
    assert running.status["version"] == 2
    assert running.world.events.reasons() == ["PipelineUpdated"]


@pytest.mark.parametrize(("first", "then", "call"), [(True, False, "disable"), (False, True, "enable")])
async def test_the_switch_is_only_a_switch(first: bool, then: bool, call: str) -> None:
    running = await Running(enabled=first).started()
    running.store.edit(PIPELINE, NAME, {"spec": {"enabled": then}})
    await running.once()
    assert running.world.routers.mutations == [call]
    assert running.remote.enabled is then
    assert running.condition("Ready")["status"] == "True"
    assert running.condition("Running")["status"] == str(then)
    assert "DriftCorrected" not in running.world.events.reasons()


async def test_the_router_says_no() -> None:
    running = Running()
    running.world.routers.errors["CreatePipeline"] = Rejected("no such stage type")
    await running.once()
    assert running.condition("Accepted")["reason"] == "RejectedByRouter"
    assert "no such stage type" in running.condition("Ready")["message"]
    assert running.world.events.reasons() == ["SubmitFailed"]


@pytest.mark.parametrize("error", [Overloaded("buffer full"), Faulty("disk full")])
async def test_an_answer_is_no_outage(error: RouterError) -> None:
    running = Running()
    running.world.routers.errors["CreatePipeline"] = error
    await running.once()
    assert running.condition("Ready")["reason"] == "ProgressingWithRetry"
    assert error.message in running.condition("Ready")["message"]


async def test_a_router_without_admin_is_a_condition_and_not_a_storm() -> None:
    running = Running()
    running.world.routers.errors["GetPipeline"] = RouterAdminUnavailable("UNIMPLEMENTED")
    assert await running.once() == running.world.context.settings.retry_limit
    assert running.condition("Ready")["reason"] == "RouterAdminUnavailable"


async def test_an_unreachable_router_is_asked_less_and_less_often() -> None:
    running = Running()
    warn_after = running.world.context.settings.warn_after
    running.world.routers.down = {"prod-0", "prod-1", "prod-2"}
    pauses = [await running.once() for _ in range(5)]
    # The fifth try is brought forward: by then a warning is due.
    assert pauses == [1.0, 2.0, 4.0, 8.0, warn_after]
    assert running.condition("Ready")["reason"] == "ClusterUnreachable"
    assert running.world.events.seen == []
    running.store.now += warn_after
    pauses = [await running.once() for _ in range(2)]
    assert pauses == [30.0, 30.0]
    assert running.world.events.reasons() == ["ClusterUnreachable"]
    running.world.routers.down = set()
    await running.once()
    assert running.condition("Ready")["status"] == "True"


async def test_a_durable_buffer_that_cannot_be_used_is_named_and_does_not_withdraw_ready() -> None:
    running = await Running().started()
    for resource, name in ((SOURCE, "in"), (TRANSFORM, "filter"), (TRANSFORM, "enrich"), (SINK, "out")):
        running.ready(resource, name, True)
    running.world.routers.buffer_troubles = {1: "member 1: NATS at nats://nats:4222: refused"}
    await running.once()
    assert running.condition("Ready")["status"] == "True"
    assert running.condition("Degraded")["reason"] == "BufferUnavailable"
    for kind in ("Ready", "Degraded"):
        assert "NATS at nats://nats:4222: refused" in running.condition(kind)["message"]
    running.world.routers.buffer_troubles = {}
    await running.once()
    assert not running.condition("Degraded")
    assert running.condition("Ready")["message"] == "accepted and running"
