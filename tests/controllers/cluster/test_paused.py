"""Paused clusters: nothing is applied, and the status says what waits."""

from __future__ import annotations

from controllers.objects.kinds import STATEFUL_SET
from etl_operator.api import CLUSTER
from tests.controllers.cluster.running import NAME, Running


async def test_a_paused_cluster_is_observed_but_left_alone() -> None:
    running = await Running().started()
    pause = {"metadata": {"annotations": {"etl.router/paused": "true"}}, "spec": {"image": "etl-router:2"}}
    running.store.edit(CLUSTER, NAME, pause)
    running.store.writes.clear()
    await running.once()
    await running.once()
    assert {verb for verb, _, _ in running.store.writes} == {"status"}
    assert running.world.events.reasons().count("Paused") == 1
    assert running.condition("Paused")["status"] == "True"
    # Ready would claim that the new spec is in force.
    assert running.condition("Ready")["reason"] == running.condition("Stalled")["reason"] == "Paused"
    running.store.edit(CLUSTER, NAME, {"metadata": {"annotations": None}})
    await running.settle()
    assert running.condition("Ready")["status"] == "True"
    assert running.condition("Paused") == {}
    assert running.world.events.reasons().count("Resumed") == 1


async def test_a_paused_cluster_that_is_to_grow_says_what_the_pause_holds() -> None:
    running = await Running().started()
    pause = {"metadata": {"annotations": {"etl.router/paused": "true"}}, "spec": {"replicas": 5}}
    running.store.edit(CLUSTER, NAME, pause)
    await running.once()
    assert running.condition("Ready")["reason"] == running.condition("Stalled")["reason"] == "Paused"
    assert running.store.of(STATEFUL_SET, NAME)["spec"]["replicas"] == 3


async def test_a_paused_cluster_with_nothing_to_do_stays_ready() -> None:
    running = await Running().started()
    running.store.edit(CLUSTER, NAME, {"metadata": {"annotations": {"etl.router/paused": "true"}}})
    await running.once()
    assert running.condition("Paused")["status"] == "True"
    assert running.condition("Ready")["status"] == "True"


async def test_a_pause_in_the_middle_of_a_roll_says_that_it_holds_the_roll() -> None:
    running = await Running().started()
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "etl-router:2"}})
    await running.once()
    running.world.run_stateful_set(NAME)
    running.store.edit(CLUSTER, NAME, {"metadata": {"annotations": {"etl.router/paused": "true"}}})
    await running.once()
    assert running.condition("Ready")["reason"] == "Paused"
    assert running.condition("Reconciling") == {}
