"""Counters of routers in the status of a pipeline: what they mean, and when they are written."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from heapq import heappop, heappush
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.pipeline.counting import SETTLED, Look, Tally
from controllers.pipeline.letters import QUIET
from controllers.pipeline.reconciler import PipelineReconciler
from controllers.status.turns import Turns
from controllers.wiring.metrics import ControllerMetrics
from etl_operator.api import PIPELINE, SINK, SOURCE
from etl_operator.router.pb import router_pb2 as pb
from informers.metrics import Metrics
from informers.objects import ObjectKey
from tests.controllers.pipeline.running import ID, NAME, Running, add_cluster
from tests.controllers.routers import Pipeline
from tests.controllers.store import NAMESPACE, START
from tests.controllers.world import World

LETTERS = {"enabled": True, "sink": "out"}


def count(
    pipeline: Pipeline, records: int, *, errors: int = 0, letters: int = 0, buffered: int = 0, ms: float = 0.3
) -> None:
    """The router reports on a pipeline."""
    name = pipeline.config.name
    stages = {stage.id: pb.StageStatus(records_processed=records) for stage in pipeline.config.stages}
    stages[f"{name}-sink"] = pb.StageStatus(
        records_processed=records - errors, errors=errors, records_buffered=buffered, avg_latency_ms=ms
    )
    if f"{name}-dlq" in stages:
        waiting = pb.StageStatus(records_processed=letters, records_buffered=errors - letters)
        stages[f"{name}-dlq"] = waiting
    pipeline.counters = stages


async def passing(running: Running, seconds: float) -> Counter[str]:
    """The operator looks as often as it wants to. Returns the writes by kind."""
    store = running.store
    store.writes.clear()
    end = store.now + seconds
    while store.now < end:
        again = await running.once()
        assert again
        store.now = min(end, store.now + again)
    return Counter(verb for verb, _, _ in store.writes)


async def test_a_status_has_all_that_the_router_counts() -> None:
    running = await Running(dlq=LETTERS).started()
    count(running.remote, 100, errors=4, letters=3, buffered=7, ms=0.3)
    await running.once()
    status = running.status
    assert (status["recordsProcessed"], status["errors"], status["deadLetters"]) == (100, 4, 3)
    assert status["pendingRecords"] == 8
    assert status["stages"][3] == {
        "id": "analytics-sink",
        "name": "out",
        "type": "Sink",
        "endpoints": ["out-svc:50051"],
        "recordsProcessed": 96,
        "errors": 4,
        "buffered": 7,
        "avgLatencyMs": 1,
    }


async def test_counters_are_written_once_a_minute_while_records_move() -> None:
    running = await Running().started()
    store, written = running.store, []
    for number in range(120):
        count(running.remote, 1000 * (number + 1))
        before = len(store.writes)
        await running.once()
        written += [store.now] * (len(store.writes) - before)
        store.now += 5
    assert [at - written[0] for at in written] == [60 * number for number in range(10)]


async def test_nothing_is_written_while_nothing_moves() -> None:
    """Over a hundred looks, and also when only a latency changes."""
    running = await Running(dlq=LETTERS).started()
    count(running.remote, 5000, errors=2, letters=2)
    await passing(running, 30 + QUIET)
    mutations = list(running.world.routers.mutations)
    count(running.remote, 5000, errors=2, letters=2, ms=250.0)
    assert await passing(running, 100 * 30) == Counter()
    assert running.world.routers.mutations == mutations


async def test_counters_go_along_with_other_changes_and_cause_none() -> None:
    running = await Running().started()
    count(running.remote, 10)
    await running.once()
    running.store.now += 5
    count(running.remote, 20)
    running.store.writes.clear()
    await running.once()
    assert (running.store.writes, running.status["recordsProcessed"]) == ([], 10)
    running.ready(SINK, "out", False)
    await running.once()
    assert running.condition("Degraded")["status"] == "True"
    assert running.status["recordsProcessed"] == 20
    running.store.now += 55
    count(running.remote, 30)
    assert await running.once() == pytest.approx(5), "a minute after they went along"


async def test_totals_outlast_the_operator_the_router_and_a_move() -> None:
    running = await Running().started()
    count(running.remote, 100, errors=1)
    await running.once()
    running.reconciler = PipelineReconciler(running.world.context)
    count(running.remote, 150, errors=1)
    await running.once()
    assert running.status["recordsProcessed"] == 150, "what was counted while no operator ran counts once"
    running.world.routers.pipelines.clear()
    running.store.now += 60
    await running.once()
    count(running.remote, 7)
    await passing(running, 200)
    assert (running.status["recordsProcessed"], running.status["errors"]) == (157, 1)
    add_cluster(running.world, "other")
    running.services_to("other")
    running.store.edit(PIPELINE, NAME, {"spec": {"clusterRef": {"name": "other"}}})
    await running.once()
    count(running.remote, 3)
    await passing(running, 200)
    assert running.status["cluster"] == f"{NAMESPACE}/other"
    assert running.status["recordsProcessed"] == 160
    assert running.status["stages"][0]["recordsProcessed"] == 3


async def test_an_object_that_was_made_anew_begins_at_zero() -> None:
    running = await Running().started()
    count(running.remote, 100)
    await running.once()
    running.delete()
    await running.once()
    assert not running.exists
    running.store.put(PIPELINE, NAME, {"source": "in", "sink": "out", "enabled": True})
    await running.once()
    assert running.status["recordsProcessed"] == 0


async def test_a_status_that_others_broke_is_no_obstacle() -> None:
    running = await Running().started()
    count(running.remote, 100)
    await running.once()
    running.store.edit(PIPELINE, NAME, {"status": {"stages": "none", "recordsProcessed": "many"}})
    await passing(running, 200)
    assert running.status["recordsProcessed"] == 100
    assert running.status["stages"][0]["recordsProcessed"] == 100


async def test_a_crowd_of_pipelines_writes_five_times_a_second_and_none_is_forgotten() -> None:
    world = World(counter_interval=10.0, drift_interval=5.0)
    add_cluster(world, "prod")
    world.store.put(SOURCE, "in", {"grpc": {"endpoint": "in:1"}})
    world.store.put(SINK, "out", {"grpc": {"endpoint": "out:1"}})
    reconciler = PipelineReconciler(world.context)
    keys = [ObjectKey(NAMESPACE, f"p{number}") for number in range(100)]
    for key in keys:
        world.store.put(PIPELINE, key.name, {"source": "in", "sink": "out", "enabled": True})
        await reconciler.reconcile(key)
    due = dict.fromkeys(keys, world.store.now)
    world.store.writes.clear()
    seconds: Counter[int] = Counter()
    while world.store.now < START + 100:
        key = min(due, key=lambda one: due[one])
        world.store.now = max(world.store.now, due[key])
        count(world.routers.pipelines[str(key)], int(world.store.now) % 1_000_000)
        before = len(world.store.writes)
        again = (await reconciler.reconcile(key)).requeue_after
        assert again
        due[key] = world.store.now + again
        seconds[int(world.store.now)] += len(world.store.writes) - before
    assert max(seconds.values()) <= 6, "five, and one at the border of two seconds"
    assert 470 <= sum(seconds.values()) <= 476, "no turn is lost from the second look on"
    each = Counter(name for _, _, name in world.store.writes)
    assert set(each) == {str(key) for key in keys}
    assert max(each.values()) - min(each.values()) <= 1, "all get their turn"


async def test_series_of_records_end_with_their_object() -> None:
    running, metrics = Running(dlq=LETTERS), Metrics(process=False)
    context = replace(running.world.context, metrics=ControllerMetrics(metrics))
    running.reconciler = PipelineReconciler(context)
    await running.started()
    for records in (40, 100):
        count(running.remote, records, errors=4, letters=3, buffered=7)
        await running.once()
    labels = '{name="analytics",namespace="etl"}'
    shown = set(metrics.render().decode().splitlines())
    assert {
        f"etl_operator_pipeline_records_total{labels} 100.0",
        f"etl_operator_pipeline_record_errors_total{labels} 4.0",
        f"etl_operator_pipeline_dead_letters_total{labels} 3.0",
        f"etl_operator_pipeline_pending_records{labels} 8.0",
    } <= shown
    running.delete()
    await running.once()
    assert "analytics" not in metrics.render().decode()


# -- what a fall of a counter means ------------------------------------------------------------------


def look(values: dict[str, int]) -> Look:
    counters = {"source": pb.StageStatus(records_processed=sum(values.values()))}
    return Look(counters, source="source")


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.booleans()), max_size=40)


@given(STEPS)
def test_restarts_never_make_a_total_fall_nor_count_a_record_twice(steps: list[Any]) -> None:
    tally, members, truth, now, last = Tally("c", "u"), dict.fromkeys("abc", 0), 0, 0.0, 0
    for member, records, restarts in steps:
        members[member] = 0 if restarts else members[member] + records
        truth += 0 if restarts else records
        now += 30
        tally.look(look(members), now)
        assert last <= tally.total.records <= truth
        last = tally.total.records


@given(STEPS)
def test_a_member_that_is_silent_for_a_moment_is_counted_once(steps: list[Any]) -> None:
    tally, members, truth, now = Tally("c", "u"), dict.fromkeys("abc", 0), 0, 0.0
    for member, records, silent in steps:
        members[member] += records
        truth += records
        now += 30
        tally.look(
            look({name: value for name, value in members.items() if not (silent and name == member)}), now
        )
        assert tally.total.records <= truth
        now += 30
        tally.look(look(members), now)
        assert tally.total.records == truth


def test_after_a_restart_it_goes_on_from_there() -> None:
    tally = Tally("c", "u")
    for now, value in ((0.0, 500), (30.0, 20), (60.0, 50), (30.0 + SETTLED, 90), (200.0, 100)):
        tally.look(look({"a": value}), now)
    assert tally.total.records == 500 + (100 - 20)


# -- dead letters ------------------------------------------------------------------------------------


async def test_new_dead_letters_are_an_alarm_until_there_are_none_for_a_while() -> None:
    running = await Running(dlq=LETTERS).started()
    assert running.condition("DLQHealthy")["status"] == "True"
    count(running.remote, 100, errors=2, letters=2)
    await running.once()
    assert running.condition("DLQHealthy")["reason"] == "DLQGrowing"
    assert running.condition("Ready")["status"] == "True"
    assert running.world.events.reasons() == ["DLQGrowing"]
    for number in range(10):
        count(running.remote, 200 + number, errors=3 + number, letters=3 + number)
        writes = await passing(running, 60)
        assert writes["status"] <= 1, "no write for each dead letter"
    running.reconciler = PipelineReconciler(running.world.context)
    await passing(running, QUIET - 60)
    assert running.condition("DLQHealthy")["status"] == "False", "a new process does not know when it grew"
    await passing(running, 120)
    assert running.condition("DLQHealthy")["status"] == "True"
    assert running.world.events.reasons() == ["DLQGrowing"]


async def test_a_dead_letter_sink_that_takes_nothing_is_named() -> None:
    running = await Running(dlq=LETTERS).started()
    count(running.remote, 100, errors=5, letters=0)
    await passing(running, 120)
    assert running.condition("DLQHealthy")["reason"] == "DLQBlocked"
    assert "EtlSink out" in running.condition("DLQHealthy")["message"]
    assert running.world.events.reasons() == ["DLQBlocked"]


async def test_letters_that_the_router_keeps_are_counted_and_explained() -> None:
    running = await Running(dlq={"enabled": True}).started()
    count(running.remote, 100, errors=5)
    await running.once()
    assert running.status["deadLetters"] == 5
    assert "spec.dlq.sink" in running.condition("DLQHealthy")["message"]
    running.store.edit(PIPELINE, NAME, {"spec": {"dlq": None}})
    await running.once()
    assert running.condition("DLQHealthy") == {}


# -- draining ----------------------------------------------------------------------------------------


async def test_a_disabled_pipeline_is_ready_when_it_is_drained() -> None:
    running = await Running().started()
    running.remote.pending = 12
    running.store.edit(PIPELINE, NAME, {"spec": {"enabled": False}})
    assert await running.once() == 1.0
    assert running.condition("Ready")["reason"] == "Draining"
    assert "12 records" in running.condition("Ready")["message"]
    assert (running.status["pendingRecords"], running.status["phase"]) == (12, "Draining")
    running.remote.pending = 3
    # Another process takes over, and knows it from the status.
    running.reconciler = PipelineReconciler(running.world.context)
    await running.once()
    assert running.status["pendingRecords"] == 3
    running.remote.pending = 0
    await running.once()
    assert running.condition("Ready")["status"] == "True"
    assert (running.status["pendingRecords"], running.status["phase"]) == (0, "Disabled")
    assert running.world.events.reasons() == ["Suspended", "Drained"]
    running.world.routers.mutations.clear()
    assert await passing(running, 100 * 30) == Counter()
    assert running.world.routers.mutations == []


async def test_a_pipeline_that_drains_can_be_enabled_again() -> None:
    running = await Running().started()
    running.remote.pending = 12
    running.store.edit(PIPELINE, NAME, {"spec": {"enabled": False}})
    await running.once()
    running.store.edit(PIPELINE, NAME, {"spec": {"enabled": True}})
    await running.once()
    assert running.remote.enabled
    assert running.condition("Ready")["status"] == "True"
    assert running.status["phase"] == "Running"


async def test_a_deleted_pipeline_shows_what_it_waits_for() -> None:
    running = await Running().started()
    running.remote.pending = 12
    running.delete()
    await running.once()
    assert running.status["pendingRecords"] == 12
    assert running.status["phase"] == "Deleting"
    assert ID in running.world.routers.pipelines


# -- turns -------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 3)), max_size=200))
def test_turns_keep_both_distances(asked: list[tuple[int, float]]) -> None:
    world = World()
    turns, taken = Turns(world, 60.0, 0.2), []
    for number, later in asked:
        world.store.now += later
        key = ObjectKey("n", str(number))
        if turns.take(key) == 0.0:
            taken.append((world.store.now, key))
    times = [at for at, _ in taken]
    assert all(after - before >= 0.2 - 1e-6 for before, after in pairwise(times))
    for key in {key for _, key in taken}:
        own = [at for at, one in taken if one == key]
        assert all(after - before >= 60 - 1e-6 for before, after in pairwise(own))


def test_pipelines_that_are_late_together_do_not_all_ask_again_at_once() -> None:
    world = World()
    turns, many = Turns(world, 60.0, 0.2), 300
    asking = [(world.store.now + turns.take(ObjectKey("n", str(number))), number) for number in range(many)]
    world.store.now += 600
    asking = [(max(at, world.store.now), number) for at, number in asking if at > world.store.now - 600]
    calls = 0
    while asking:
        at, number = heappop(asking)
        world.store.now = max(world.store.now, at)
        calls += 1
        if wait := turns.take(ObjectKey("n", str(number))):
            heappush(asking, (world.store.now + wait, number))
    assert calls < 3 * many
