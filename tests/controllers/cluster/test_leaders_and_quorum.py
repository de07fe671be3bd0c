"""Leaders, the quorum, and members that do not answer, as the status and events show them."""

from __future__ import annotations

import pytest

from controllers.objects.kinds import POD
from etl_operator.api import CLUSTER
from tests.controllers.cluster.running import GRACE, NAME, Running


async def test_pods_of_others_with_the_clusters_label_are_no_members() -> None:
    running = await Running().started()
    labels = dict(running.store.of(POD, "prod-0")["metadata"]["labels"])
    running.store.put(POD, "prod-3", {}, labels=labels)
    running.world.set_ready("prod-3", False)
    await running.once()
    assert running.condition("Ready")["status"] == "True"
    assert running.status["replicas"] == 3


async def test_two_leaders_in_one_term_freeze_the_cluster() -> None:
    running = await Running().started()
    running.world.routers.claims = {2: 2}
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "etl-router:2"}})
    for _ in range(4):
        await running.once()
        running.world.run_stateful_set(NAME)
    assert running.condition("Ready")["reason"] == "SplitBrain"
    assert "PodRestarted" not in running.world.events.reasons()
    assert running.world.events.reasons().count("SplitBrain") == 1
    running.world.routers.claims = {}
    await running.settle()
    assert running.condition("Ready")["status"] == "True"


async def test_two_leaders_are_an_alarm_also_in_a_cluster_that_never_had_one() -> None:
    running = Running()
    running.world.routers.claims = {2: 2}
    await running.once()
    running.world.run_stateful_set(NAME)
    for _ in range(3):
        await running.once()
    assert running.condition("QuorumHealthy")["reason"] == "SplitBrain"
    assert running.world.events.reasons().count("SplitBrain") == 1


async def test_a_new_leader_is_told_once() -> None:
    running = await Running().started()
    running.world.routers.leader, running.world.routers.term = 3, 2
    await running.once()
    await running.once()
    assert (running.status["leaderId"], running.status["term"]) == (3, 2)
    assert running.world.events.reasons().count("LeaderChanged") == 1


async def test_a_first_quorum_is_not_told_as_a_restored_one() -> None:
    running = Running()
    running.world.routers.leader = 0
    await running.once()
    running.world.run_stateful_set(NAME)
    await running.once()
    assert running.condition("QuorumHealthy")["reason"] == "NoLeader"
    running.world.routers.leader = 1
    await running.once()
    assert running.condition("QuorumHealthy")["status"] == "True"
    assert "QuorumRestored" not in running.world.events.reasons()


async def test_a_lost_quorum_is_seen_and_healed() -> None:
    running = await Running().started()
    running.world.routers.down = {"prod-1", "prod-2"}
    assert await running.once() == running.world.context.settings.busy_interval
    await running.later(GRACE)
    assert running.condition("QuorumHealthy")["reason"] == "QuorumLost"
    assert running.condition("Ready")["status"] == "False"
    assert running.condition("Available")["status"] == "False"
    assert running.world.events.reasons().count("QuorumLost") == 1
    running.world.routers.down = set()
    await running.once()
    assert running.condition("Ready")["status"] == "True"
    assert "QuorumRestored" in running.world.events.reasons()


@pytest.mark.parametrize("answer", ["none leads", "none answers"])
async def test_an_ordinary_hand_over_is_no_lost_quorum(answer: str) -> None:
    running = await Running().started()
    for leader in (2, 3, 1):
        running.world.routers.leader = 0
        running.world.routers.down = {"prod-0", "prod-1", "prod-2"} if answer == "none answers" else set()
        for _ in range(int(GRACE)):
            assert await running.later(1) == running.world.context.settings.busy_interval
            for kind in ("Ready", "Available", "QuorumHealthy"):
                assert running.condition(kind)["status"] == "True"
            assert "an election can be in progress" in running.condition("QuorumHealthy")["message"]
        running.world.routers.leader, running.world.routers.down = leader, set()
        await running.later(1)
        assert running.condition("QuorumHealthy")["message"] == f"3 of 3 members follow node {leader}"
    assert not [reason for kind, reason, _ in running.world.events.seen if kind == "Warning"]


async def test_how_long_an_election_may_take_follows_the_spec() -> None:
    running = await Running(raft={"electionTimeoutMs": 5000, "heartbeatIntervalMs": 500}).started()
    running.world.routers.leader = 0
    await running.later(1)
    await running.later(29)
    assert running.condition("QuorumHealthy")["status"] == "True"
    await running.later(2)
    assert running.condition("QuorumHealthy")["reason"] == "NoLeader"


async def test_a_member_that_does_not_answer_is_not_counted_as_ready_although_its_pod_is() -> None:
    running = await Running(5).started()
    running.world.routers.down = {"prod-4"}
    await running.later(1)
    assert running.condition("Ready")["status"] == "True"
    await running.later(GRACE)
    assert running.condition("Ready")["status"] == "False"
    assert running.condition("Ready")["message"] == "4 of 5 members are ready; prod-4 does not answer"
    assert running.status["readyReplicas"] == 4
    assert running.condition("Available")["status"] == "True"
    assert not [reason for kind, reason, _ in running.world.events.seen if kind == "Warning"]
    running.world.routers.down = set()
    await running.later(1)
    assert running.condition("Ready")["status"] == "True"
    assert running.status["readyReplicas"] == 5


async def test_the_clock_of_a_silence_starts_anew_with_every_answer() -> None:
    running = await Running().started()
    for _ in range(4):
        running.world.routers.down = {"prod-2"}
        await running.later(GRACE - 1)
        await running.later(GRACE - 2)
        assert running.status["readyReplicas"] == 3
        running.world.routers.down = set()
        await running.later(1)


@pytest.mark.parametrize("replicas", [1, 2])
async def test_the_operators_own_restart_of_a_member_without_which_there_is_no_quorum_is_no_alarm(
    replicas: int,
) -> None:
    running = await Running(replicas).started()
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "etl-router:2"}})
    for _ in range(40):
        await running.later(1)
        running.world.run_stateful_set(NAME, ready=False)
        for ordinal in range(replicas):
            pod = running.store.of(POD, f"prod-{ordinal}")
            age = running.store.now - running.seen.setdefault(pod["metadata"]["uid"], running.store.now)
            running.world.set_ready(f"prod-{ordinal}", age > 9, running=age > 8)
        up = [
            n for n in range(replicas) if running.store.of(POD, f"prod-{n}")["status"]["phase"] == "Running"
        ]
        running.world.routers.down = {f"prod-{n}" for n in range(replicas)} - {f"prod-{n}" for n in up}
        running.world.routers.leader = up[0] + 1 if len(up) == replicas else 0
    assert running.is_new("prod-0")
    assert running.condition("Ready")["status"] == "True"
    assert "PodRestarted" in running.world.events.reasons()
    assert not [
        reason
        for kind, reason, _ in running.world.events.seen
        if kind == "Warning" and reason != "EvenReplicas"
    ]


async def test_a_growing_cluster_counts_by_the_members_its_leader_counts() -> None:
    # Three of old with one that joins: the leader counts three, so two of them are a majority.
    running = await Running().started()
    running.store.edit(CLUSTER, NAME, {"spec": {"replicas": 4}})
    for _ in range(3):
        await running.later(1)
        running.world.run_stateful_set(NAME)
    running.world.routers.claims = {4: 0}
    running.world.routers.down = {"prod-2"}
    await running.later(1)
    await running.later(GRACE)
    assert running.condition("QuorumHealthy")["status"] == "True"
    assert running.condition("Available")["status"] == "True"
    assert "QuorumLost" not in running.world.events.reasons()
