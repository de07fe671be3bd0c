"""The cluster's life, seen through its children and its status."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.objects.kinds import (
    CONFIG_MAP,
    DISRUPTION_BUDGET,
    POD,
    PVC,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
    STORAGE_CLASS,
)
from etl_operator.api import CLUSTER
from informers.errors import Forbidden
from informers.objects import ObjectKey
from tests.controllers.cluster.running import NAME, Running
from tests.controllers.world import NAMESPACE

GRACE = 6.0
"""Three times the longest election of the default spec, in seconds."""


async def test_children_are_created_and_owned() -> None:
    running = Running()
    await running.once()
    for resource, name in [
        (CONFIG_MAP, "prod-config"),
        (SERVICE, "prod-headless"),
        (SERVICE, "prod"),
        (SERVICE_ACCOUNT, "prod"),
        (DISRUPTION_BUDGET, "prod"),
        (STATEFUL_SET, "prod"),
    ]:
        (owner,) = running.store.of(resource, name)["metadata"]["ownerReferences"]
        assert owner["controller"]
        assert owner["uid"] == running.store.of(CLUSTER, NAME)["metadata"]["uid"]
    assert running.condition("Ready")["status"] == "Unknown"
    assert running.condition("Reconciling")["status"] == "True"


async def test_a_running_cluster_is_ready_and_says_who_leads() -> None:
    running = await Running().started()
    assert running.status["leaderId"] == 1
    assert running.status["leaderPod"] == "prod-0"
    assert running.status["clusterHealth"] == "Healthy"
    assert running.status["readyReplicas"] == running.status["updatedReplicas"] == 3
    assert running.status["endpoint"] == "prod.etl.svc.cluster.local:50051"
    assert [node["role"] for node in running.status["nodes"]] == ["Leader", "Follower", "Follower"]
    for absent in ("Reconciling", "Stalled"):
        assert not running.condition(absent)
    for present in ("Available", "QuorumHealthy", "ConfigApplied", "VolumesResized"):
        assert running.condition(present)["status"] == "True"


async def test_a_hundred_passes_of_a_converged_cluster_write_nothing() -> None:
    running = await Running().started()
    running.store.writes.clear()
    running.world.events.seen.clear()
    for _ in range(100):
        assert await running.once() == running.world.context.settings.poll_interval
    assert running.store.writes == []
    assert running.world.events.seen == []


async def test_drift_of_a_child_is_put_back_and_nothing_else_is_written() -> None:
    running = await Running().started()
    running.store.edit(SERVICE, "prod", {"spec": {"selector": {"app.kubernetes.io/name": "stolen"}}})
    running.store.writes.clear()
    await running.once()
    assert running.store.writes == [("apply", "Service", "etl/prod")]
    selector = running.store.of(SERVICE, "prod")["spec"]["selector"]
    assert selector["app.kubernetes.io/name"] == "etl-router"


async def test_a_foreign_annotation_is_none_of_our_business() -> None:
    running = await Running().started()
    running.store.edit(SERVICE, "prod", {"metadata": {"annotations": {"foreign": "yes"}}})
    running.store.writes.clear()
    await running.once()
    assert running.store.writes == []


async def test_somebody_elses_object_is_refused_then_adopted_on_request() -> None:
    running = Running()
    running.store.put(CONFIG_MAP, "prod-config", None)
    await running.once()
    assert running.condition("Ready")["reason"] == "NameConflict"
    assert running.condition("Stalled")["status"] == "True"
    assert not running.store.has(STATEFUL_SET, NAME)
    running.store.edit(CONFIG_MAP, "prod-config", {"metadata": {"annotations": {"etl.router/adopt": "true"}}})
    await running.once()
    assert running.store.has(STATEFUL_SET, NAME)
    assert not running.condition("Stalled")


async def test_what_another_controller_holds_is_not_adopted_even_on_request() -> None:
    running = Running()
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "uid": "u", "controller": True}
    consent = {"etl.router/adopt": "true"}
    running.store.put(CONFIG_MAP, "prod-config", None, ownerReferences=[owner], annotations=consent)
    await running.once()
    assert running.condition("Stalled")["reason"] == "NameConflict"
    assert (
        "ConfigMap etl/prod-config is controlled by Deployment x" in running.condition("Stalled")["message"]
    )
    assert running.store.of(CONFIG_MAP, "prod-config")["metadata"]["ownerReferences"] == [owner]


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


async def test_pods_of_others_with_the_clusters_label_are_no_members() -> None:
    running = await Running().started()
    labels = dict(running.store.of(POD, "prod-0")["metadata"]["labels"])
    running.store.put(POD, "prod-3", {}, labels=labels)
    running.world.set_ready("prod-3", False)
    await running.once()
    assert running.condition("Ready")["status"] == "True"
    assert running.status["replicas"] == 3


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


async def test_scale_up_adds_one_member_at_a_time() -> None:
    running = await Running().started()
    running.store.edit(CLUSTER, NAME, {"spec": {"replicas": 5}})
    sizes = []
    for _ in range(40):
        await running.once()
        sizes.append(running.store.of(STATEFUL_SET, NAME)["spec"]["replicas"])
        running.world.run_stateful_set(NAME)
        if sizes[-1] == 5 and running.condition("Ready").get("status") == "True":
            break
    assert sorted(set(sizes)) == [4, 5]
    assert sizes == sorted(sizes)
    first_of_five = sizes.index(5)
    # Every member of the four has restarted with its peer list before the fifth is added.
    assert sizes[:first_of_five].count(4) >= 3
    pods = running.world.context.informers[POD].list(NAMESPACE)
    assert {pod.annotations["etl.router/members"] for pod in pods} == {"5"}
    assert running.store.of(DISRUPTION_BUDGET, NAME)["spec"]["maxUnavailable"] == 2


async def test_scale_down_is_refused_and_explained_until_it_is_taken_back() -> None:
    running = await Running().started()
    running.store.edit(CLUSTER, NAME, {"spec": {"replicas": 1}})
    await running.once()
    assert running.store.of(STATEFUL_SET, NAME)["spec"]["replicas"] == 3
    assert running.condition("Stalled")["reason"] == "ScaleDownUnsupported"
    assert running.condition("Available")["status"] == "True"
    assert running.world.events.reasons().count("ScaleDownUnsupported") == 1
    running.store.edit(CLUSTER, NAME, {"spec": {"replicas": 3}})
    await running.once()
    assert running.condition("Ready")["status"] == "True"


async def test_a_foreign_scale_of_the_stateful_set_is_put_back() -> None:
    running = await Running().started()
    running.store.edit(STATEFUL_SET, NAME, {"spec": {"replicas": 1}})
    await running.once()
    assert running.store.of(STATEFUL_SET, NAME)["spec"]["replicas"] == 3


async def test_volumes_grow_through_their_claims() -> None:
    running = await Running().started()
    running.store.put(STORAGE_CLASS, "standard", namespace="")
    key = ObjectKey("", "standard")
    running.store.objects[STORAGE_CLASS, key]["allowVolumeExpansion"] = True
    running.store.edit(CLUSTER, NAME, {"spec": {"storage": {"size": "20Gi"}}})
    template = running.store.of(STATEFUL_SET, NAME)["spec"]["volumeClaimTemplates"]
    await running.once()
    claim = running.store.of(PVC, "data-prod-0")
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    assert running.store.of(STATEFUL_SET, NAME)["spec"]["volumeClaimTemplates"] == template
    await running.once()
    assert running.condition("VolumesResized")["reason"] == "Resizing"
    for ordinal in range(3):
        capacity = {"status": {"capacity": {"storage": "20Gi"}}}
        running.store.edit(PVC, f"data-prod-{ordinal}", capacity)
    await running.once()
    assert running.condition("VolumesResized")["status"] == "True"
    assert running.condition("Ready")["status"] == "True"


async def test_growth_that_the_class_forbids_is_explained() -> None:
    running = await Running().started()
    running.store.put(STORAGE_CLASS, "standard", namespace="")
    running.store.edit(CLUSTER, NAME, {"spec": {"storage": {"size": "20Gi"}}})
    await running.once()
    condition = running.condition("VolumesResized")
    assert condition["reason"] == "VolumeExpansionUnsupported"
    assert "standard does not allow expansion" in condition["message"]


async def test_volumes_that_cannot_grow_do_not_hold_up_a_roll() -> None:
    running = await Running().started()
    running.store.put(STORAGE_CLASS, "standard", None, namespace="")
    running.store.edit(CLUSTER, NAME, {"spec": {"storage": {"size": "20Gi"}, "image": "etl-router:2"}})
    gone = await running.settle(12)
    assert sorted(gone) == [f"{NAME}-{i}" for i in range(3)]
    assert running.condition("ConfigApplied")["status"] == "True"
    assert running.condition("Ready")["reason"] == "VolumeExpansionUnsupported"


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


async def test_children_of_a_former_cluster_of_the_name_are_waited_for() -> None:
    running = await Running().started()
    running.store.remove(CLUSTER, NAME)
    running.store.put(CLUSTER, NAME, {"replicas": 3, "image": "etl-router:1"})
    running.store.writes.clear()
    await running.once()
    assert {verb for verb, _, _ in running.store.writes} == {"status"}
    assert running.condition("Ready")["status"] == "Unknown"
    assert "NameConflict" not in running.world.events.reasons()


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


async def test_the_status_knows_the_revision_before_and_the_protocol() -> None:
    running = await Running().started()
    first = running.status["updateRevision"]
    assert running.status["currentRevision"] == first
    assert running.status["protocol"] == "etl"
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "etl-router:2"}})
    await running.once()
    running.world.run_stateful_set(NAME)
    await running.once()
    assert running.status["currentRevision"] == first != running.status["updateRevision"]
    await running.settle()
    assert running.status["currentRevision"] == running.status["updateRevision"] != first
    running.world.routers.down = {"prod-0", "prod-1", "prod-2"}
    await running.once()
    assert running.status["protocol"] == "etl"


async def test_the_status_says_which_members_cannot_use_the_durable_buffer() -> None:
    nats = {"urls": ["nats://nats:4222"]}
    running = await Running().started()
    assert running.status["buffer"] == {"type": "Memory"}
    running.store.edit(CLUSTER, NAME, {"spec": {"buffer": {"type": "Nats", "nats": nats}}})
    await running.settle()
    assert running.status["buffer"] == {"type": "Nats", "healthy": True}
    running.world.routers.buffer_troubles = {2: "stream s: maximum bytes exceeded"}
    await running.once()
    assert running.status["buffer"] == {
        "type": "Nats",
        "healthy": False,
        "message": "prod-1: stream s: maximum bytes exceeded",
    }
    running.world.routers.buffer_troubles = {}
    await running.once()
    assert running.status["buffer"] == {"type": "Nats", "healthy": True}


@pytest.mark.parametrize(("replicas", "budget"), [(1, None), (2, 1), (3, 1), (5, 2)])
async def test_the_disruption_budget_follows_the_quorum(replicas: int, budget: int | None) -> None:
    running = Running(replicas)
    await running.once()
    assert running.store.has(DISRUPTION_BUDGET, NAME) is (budget is not None)
    if budget is not None:
        assert running.store.of(DISRUPTION_BUDGET, NAME)["spec"]["maxUnavailable"] == budget


async def test_a_doubtful_spec_is_warned_of_once_per_generation() -> None:
    running = Running(4, raft={"electionTimeoutMs": 300, "heartbeatIntervalMs": 100})
    for _ in range(3):
        await running.once()
    assert running.world.events.reasons().count("EvenReplicas") == 1
    assert running.world.events.reasons().count("ElectionTimeoutTight") == 1


async def test_the_end_of_the_namespace_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running()
    causes = [{"reason": "NamespaceTerminating"}]

    async def refuse(*_: Any, **__: Any) -> None:
        raise Forbidden(403, "Forbidden", "being terminated", {"causes": causes})

    monkeypatch.setattr(running.store, "apply", refuse)
    assert await running.once() is None


async def test_a_child_that_may_not_be_made_is_told_in_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running()

    async def refuse(*_: Any, **__: Any) -> None:
        raise Forbidden(403, "Forbidden", "exceeded quota: services=0")

    with monkeypatch.context() as refused:
        refused.setattr(running.store, "apply", refuse)
        assert await running.once() is not None
    assert running.condition("Ready")["reason"] == "ValidationFailed"
    assert "exceeded quota" in running.condition("Stalled")["message"]
    await running.started()
    assert running.condition("Stalled") == {}


async def test_an_obsolete_child_goes() -> None:
    running = await Running().started()
    running.store.edit(CLUSTER, NAME, {"spec": {"serviceAccountName": "mine"}})
    await running.once()
    assert not running.store.has(SERVICE_ACCOUNT, NAME)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_what_a_user_made_under_the_name_of_an_obsolete_child_stays(when: str) -> None:
    if when == "before":
        running = Running(serviceAccountName=NAME)
        running.store.put(SERVICE_ACCOUNT, NAME)
    else:
        running = await Running().started()
        running.store.informers[SERVICE_ACCOUNT].fall_behind()
        running.store.remove(SERVICE_ACCOUNT, NAME)
        running.store.put(SERVICE_ACCOUNT, NAME)
        running.store.edit(CLUSTER, NAME, {"spec": {"serviceAccountName": "mine"}})
    await running.once()
    assert running.store.has(SERVICE_ACCOUNT, NAME)
    assert ("delete", "ServiceAccount", "etl/prod") not in running.store.writes


async def test_a_deleted_cluster_is_left_to_garbage_collection() -> None:
    running = await Running().started()
    running.store.edit(CLUSTER, NAME, {"metadata": {"finalizers": ["foregroundDeletion"]}})
    running.store.remove(CLUSTER, NAME)
    running.store.writes.clear()
    assert await running.once() is None
    assert running.store.writes == []
    assert (running.reconciler._memory, running.reconciler._children._applier._children) == ({}, {}), (
        "nothing is left"
    )
