"""Restarts of pods: a new template, a request, one pod at a time."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.objects.kinds import POD, SERVICE
from etl_operator.api import CLUSTER
from tests.controllers.cluster.running import GRACE, NAME, Running
from tests.controllers.store import NAMESPACE


async def test_a_new_image_rolls_one_pod_at_a_time_with_the_leader_last() -> None:
    running = await Running().started()
    running.world.routers.leader = 2
    await running.once()
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "etl-router:2"}})
    assert await running.settle() == ["prod-2", "prod-0", "prod-1"]
    assert running.condition("ConfigApplied")["status"] == "True"
    assert running.world.events.reasons().count("PodRestarted") == 3


async def test_a_new_spec_is_never_ready_before_it_is_rolled_out() -> None:
    running = await Running().started()
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "etl-router:2"}})
    # The StatefulSet controller has not seen the new template in the later looks either.
    for _ in range(3):
        await running.once()
        assert running.status["observedGeneration"] == 2
        assert running.condition("Ready")["status"] == "False"
        assert running.condition("ConfigApplied")["status"] == "Unknown"
        assert running.condition("Available")["status"] == "True"


async def test_the_roll_waits_for_a_pod_that_is_not_ready() -> None:
    running = await Running().started()
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "etl-router:2"}})
    await running.once()
    running.world.run_stateful_set(NAME)
    running.world.set_ready("prod-0", False)
    running.world.set_ready("prod-1", False)
    for _ in range(5):
        await running.once()
    assert len(running.world.context.informers[POD].list(NAMESPACE)) == 3
    assert "prod-" in running.condition("ConfigApplied")["message"]


async def test_a_roll_that_cannot_go_on_says_what_the_new_pod_lacks() -> None:
    running = await Running().started()
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "nobody/has-this:1"}})
    await running.once()
    running.world.run_stateful_set(NAME)
    await running.once()
    running.world.run_stateful_set(NAME, ready=False)
    new = next(name for name in ("prod-0", "prod-1", "prod-2") if running.is_new(name))
    running.world.set_ready(new, False, running=False)
    await running.once()
    assert f"pod {new} is not ready: CrashLoopBackOff" in running.condition("ConfigApplied")["message"]
    assert f"1 of 3 pods updated; {new}: CrashLoopBackOff" == running.condition("Ready")["message"]


async def test_a_roll_that_waits_for_long_is_told_once_until_it_goes_on() -> None:
    running = await Running().started()
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "etl-router:2"}})
    await running.once()
    running.world.run_stateful_set(NAME)
    await running.once()
    running.world.run_stateful_set(NAME, ready=False)

    def told() -> int:
        return running.world.events.reasons().count("RolloutBlocked")

    await running.once()
    running.store.now += running.world.context.settings.blocked_after - 1
    await running.once()
    assert told() == 0
    for _ in range(3):
        running.store.now += 1
        await running.once()
    assert told() == 1
    kind, _, note = running.world.events.seen[-1]
    assert (kind, note) == ("Warning", "the rollout has been waiting for 120 s: pod prod-2 is not ready")
    running.world.set_ready(f"{NAME}-2", True)
    await running.once()
    running.world.run_stateful_set(NAME, ready=False)
    await running.once()
    running.store.now += running.world.context.settings.blocked_after
    await running.once()
    assert told() == 2, "it went on, and waits again"
    running.world.set_ready(f"{NAME}-1", True)
    await running.settle()
    assert running.condition("Ready")["status"] == "True"
    assert told() == 2


async def rolling() -> Running:
    """A cluster whose StatefulSet has a new template, and none of whose pods has it."""
    running = await Running().started()
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "etl-router:2"}})
    await running.once()
    running.world.run_stateful_set(NAME)
    return running


def restarts(running: Running) -> list[str]:
    return [key for verb, kind, key in running.store.writes if (verb, kind) == ("delete", "Pod")]


async def test_a_pod_is_deleted_once_although_the_cache_shows_it_for_a_while() -> None:
    running = await rolling()
    for ordinal in range(3):
        # Held as by its grace period.
        running.store.edit(POD, f"prod-{ordinal}", {"metadata": {"finalizers": ["held"]}})
    running.store.informers[POD].fall_behind()
    for _ in range(5):
        await running.once()
    assert restarts(running) == ["etl/prod-2"]
    assert running.world.events.reasons().count("PodRestarted") == 1


async def test_a_pod_that_was_replaced_meanwhile_is_not_deleted_for_its_predecessor() -> None:
    running = await rolling()
    running.store.informers[POD].fall_behind()
    running.store.remove(POD, "prod-2")
    running.world.run_stateful_set(NAME)
    await running.once()
    assert restarts(running) == []
    assert "PodRestarted" not in running.world.events.reasons()


async def test_another_members_failure_during_a_restart_is_an_alarm() -> None:
    running = await rolling()
    await running.once()
    assert restarts(running) == ["etl/prod-2"]
    running.world.run_stateful_set(NAME, ready=False)
    running.world.set_ready("prod-2", False, running=False)
    running.world.routers.down = {"prod-1", "prod-2"}
    await running.later(1)
    await running.later(GRACE)
    assert running.condition("QuorumHealthy")["reason"] == "QuorumLost"
    assert [kind for kind, reason, _ in running.world.events.seen if reason == "QuorumLost"] == ["Warning"]


async def test_on_delete_leaves_the_pods_to_the_user() -> None:
    running = await Running(updateStrategy="OnDelete").started()
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "etl-router:2"}})
    await running.once()
    running.world.run_stateful_set(NAME)
    await running.once()
    assert running.condition("ConfigApplied")["reason"] == "WaitingForPodDeletion"
    assert running.condition("Ready")["reason"] == "WaitingForPodDeletion"
    assert "delete prod-0, prod-1, prod-2" in running.condition("Stalled")["message"]
    assert running.condition("Reconciling") == {}
    assert "PodRestarted" not in running.world.events.reasons()


@pytest.mark.parametrize("strategy", ["QuorumAware", "OnDelete"])
async def test_a_pod_somebody_deletes_is_no_roll(strategy: str) -> None:
    running = await Running(updateStrategy=strategy).started()
    leaving = {"metadata": {"deletionTimestamp": "2027-01-15T09:00:00Z", "finalizers": ["held"]}}
    running.store.edit(POD, "prod-0", leaving)
    await running.once()
    assert running.condition("Ready")["reason"] == "PodsNotReady"
    assert running.condition("Ready")["message"] == "2 of 3 members are ready"
    assert running.condition("Stalled") == {}
    # It may answer for some moments; nobody waits for it.
    assert running.status["nodes"][0]["role"] == "Unknown"


async def test_a_requested_restart_rolls_every_pod() -> None:
    running = await Running().started()
    stamp = {"metadata": {"annotations": {"etl.router/restart-requested-at": "2027-01-15T09:00:00Z"}}}
    running.store.edit(CLUSTER, NAME, stamp)
    assert sorted(await running.settle()) == ["prod-0", "prod-1", "prod-2"]


async def test_a_new_grpc_port_is_rolled_out_although_old_pods_answer_at_the_old_one() -> None:
    running = await Running().started()
    pod = running.store.of(POD, "prod-2")
    ports = [{"name": "grpc", "containerPort": 6000}]
    running.store.edit(
        POD, "prod-2", {"spec": {**pod["spec"], "containers": [{"name": "router", "ports": ports}]}}
    )
    await running.once()
    addresses = [node["address"] for node in running.status["nodes"]]
    assert [address.rpartition(":")[2] for address in addresses] == ["50051", "50051", "6000"]


async def test_services_of_an_older_operator_get_port_numbers_and_no_pod_restarts() -> None:
    running = await Running().started()
    wanted = {}
    for name in ("prod", "prod-headless"):
        wanted[name] = running.store.of(SERVICE, name)["spec"]["ports"]
        named = [{**port, "targetPort": port["name"]} for port in wanted[name]]
        running.store.edit(SERVICE, name, {"spec": {"ports": named}})
    running.store.writes.clear()
    assert await running.settle() == []
    assert sorted(running.store.writes) == [
        ("apply", "Service", "etl/prod"),
        ("apply", "Service", "etl/prod-headless"),
    ]
    for name, ports in wanted.items():
        assert running.store.of(SERVICE, name)["spec"]["ports"] == ports


@pytest.mark.parametrize(
    "helper", [{"waiting": {"reason": "CrashLoopBackOff"}}, {"terminated": {"exitCode": 1}}]
)
async def test_a_helper_that_fails_in_every_pod_changes_nothing_of_a_roll(helper: Any) -> None:
    running = await Running().started()
    for ordinal in range(3):
        running.store.edit(POD, f"prod-{ordinal}", {"status": with_helper(helper)})
    await running.once()
    assert running.condition("Ready")["status"] == "True"
    assert "Service prod leaves out prod-0, prod-1, prod-2" in running.condition("Ready")["message"]
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "etl-router:2"}})
    gone = await running.settle(1)
    running.store.edit(POD, "prod-2", {"status": with_helper(helper)})
    gone += await running.settle(12)
    assert gone == ["prod-2", "prod-1", "prod-0"], "one at a time, the leader last"


def with_helper(state: Any) -> Any:
    """The status of a pod whose router is ready and whose other container is not."""
    return {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "False"}],
        "containerStatuses": [
            {"name": "helper", "ready": False, "state": state},
            {"name": "router", "ready": True, "state": {"running": {}}},
        ],
    }
