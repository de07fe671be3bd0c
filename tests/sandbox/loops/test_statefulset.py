"""What a StatefulSet needs next: tables, and a small world in which the decisions are carried out."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_operator.sandbox.loops.revisions import (
    Revision,
    known_revisions,
    revision_of,
    stored_revision,
    surplus_revisions,
)
from etl_operator.sandbox.loops.statefulset import Plan, owner_of, plan
from informers.objects import Object
from tests.sandbox.loops.objects import claim_of, names, pod_of, revision_label, stateful_set

NOW = 1_800_000_000.0
PARALLEL: dict[str, Any] = {"podManagementPolicy": "Parallel"}


def decide(owner: Object, pods: list[Object], claims: list[Object] | None = None, **known: Revision) -> Plan:
    """One step; ``known`` are revisions besides the spec's own."""
    update = revision_of(owner)
    revisions = {update.name: update, **{one.name: one for one in known.values()}}
    return plan(owner, pods, claims or [], revisions, update, NOW)


@pytest.mark.parametrize(
    ("pods", "created"),
    [([], ["db-0"]), ([(0, False)], []), ([(0, True)], ["db-1"]), ([(0, True), (2, True)], ["db-1"])],
)
def test_in_order_the_next_pod_waits_for_the_one_before(
    pods: list[tuple[int, bool]], created: list[str]
) -> None:
    owner = stateful_set()
    result = decide(owner, [pod_of(owner, ordinal, ready=ready) for ordinal, ready in pods])
    assert names(result.create) == created
    assert result.delete == []


def test_in_parallel_nobody_waits_and_every_pod_gets_its_claim() -> None:
    result = decide(stateful_set(**PARALLEL), [])
    assert names(result.create) == ["db-0", "db-1", "db-2"]
    assert names(result.claims) == ["data-db-0", "data-db-1", "data-db-2"]
    pod = result.create[1]
    assert pod["spec"]["hostname"] == "db-1"
    assert pod["spec"]["subdomain"] == "db-headless"
    assert pod["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-1"}}]
    assert pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "1"
    assert pod["metadata"]["ownerReferences"][0]["controller"] is True


def test_a_claim_that_is_there_is_used_again() -> None:
    result = decide(stateful_set(1), [], [claim_of(0)])
    assert names(result.create) == ["db-0"]
    assert result.claims == []


def test_no_pod_is_made_for_a_claim_that_goes() -> None:
    claim = claim_of(0)
    claim["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    result = decide(stateful_set(1), [], [claim])
    assert result.create == result.claims == []


def test_a_pending_pod_gets_the_claim_that_went_after_it_was_made() -> None:
    owner = stateful_set(2, **PARALLEL)
    pods = [pod_of(owner, 0, ready=False, phase="Pending"), pod_of(owner, 1)]
    assert names(decide(owner, pods).claims) == ["data-db-0"]


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_pod_that_has_ended_is_replaced(phase: str) -> None:
    owner = stateful_set(1)
    assert names(decide(owner, [pod_of(owner, 0, phase=phase)]).delete) == ["db-0"]
    gone = decide(owner, [pod_of(owner, 0, phase=phase, terminating=True)])
    assert gone.delete == gone.create == []


def test_scaling_down_removes_the_highest_first_and_waits() -> None:
    owner = stateful_set(1)
    pods = [pod_of(owner, ordinal) for ordinal in range(4)]
    assert names(decide(owner, pods).delete) == ["db-3"]
    pods[3] = pod_of(owner, 3, terminating=True)
    assert decide(owner, pods).delete == []
    pods[0], pods[3] = pod_of(owner, 0, ready=False), pod_of(owner, 3)
    assert decide(owner, pods).delete == []


def test_scaling_down_in_parallel_removes_all_at_once() -> None:
    owner = stateful_set(1, **PARALLEL)
    assert names(decide(owner, [pod_of(owner, ordinal) for ordinal in range(4)]).delete) == [
        "db-3",
        "db-2",
        "db-1",
    ]


def test_ordinals_may_start_elsewhere() -> None:
    owner = stateful_set(2, ordinals={"start": 5}, **PARALLEL)
    result = decide(owner, [pod_of(owner, 0), pod_of(owner, 5)])
    assert names(result.create) == ["db-6"]
    assert names(result.delete) == ["db-0"]


def test_a_rolling_update_goes_from_the_top_one_by_one() -> None:
    old, new = stateful_set(image="one"), stateful_set(image="two")
    pods = [pod_of(old, ordinal) for ordinal in range(3)]
    known: dict[str, Any] = {"old": revision_of(old)}
    assert names(decide(new, pods, **known).delete) == ["db-2"]
    pods[2] = pod_of(new, 2, ready=False)
    assert decide(new, pods, **known).delete == []
    pods[2] = pod_of(new, 2)
    assert names(decide(new, pods, **known).delete) == ["db-1"]


def test_an_outdated_pod_that_is_broken_anyway_is_replaced_and_not_waited_for() -> None:
    old, new = stateful_set(image="one", **PARALLEL), stateful_set(image="two", **PARALLEL)
    pods = [pod_of(old, 0), pod_of(old, 1), pod_of(old, 2, ready=False)]
    assert names(decide(new, pods, old=revision_of(old)).delete) == ["db-2"]


def test_the_partition_keeps_pods_at_the_old_revision_even_when_they_come_back() -> None:
    strategy: dict[str, Any] = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    old = stateful_set(image="one", **PARALLEL)
    new = stateful_set(image="two", updateStrategy=strategy, **PARALLEL)
    new["status"] = {"currentRevision": revision_of(old).name}
    pods = [pod_of(old, 0), pod_of(old, 1), pod_of(old, 2)]
    assert names(decide(new, pods, old=revision_of(old)).delete) == ["db-2"]
    pods[2] = pod_of(new, 2)
    assert decide(new, pods, old=revision_of(old)).delete == []
    [again] = decide(new, [pods[0], pods[2]], old=revision_of(old)).create
    assert revision_label(again) == revision_of(old).name
    assert again["spec"]["containers"][0]["image"] == "one"


def test_on_delete_replaces_nothing_but_makes_new_pods_of_the_new_revision() -> None:
    on_delete: dict[str, Any] = {"updateStrategy": {"type": "OnDelete"}, **PARALLEL}
    old, new = stateful_set(image="one", **on_delete), stateful_set(image="two", **on_delete)
    new["status"] = {"currentRevision": revision_of(old).name}
    pods = [pod_of(old, 0), pod_of(old, 2)]
    result = decide(new, pods, old=revision_of(old))
    assert result.delete == []
    assert [revision_label(pod) for pod in result.create] == [revision_of(new).name]
    assert result.status["updatedReplicas"] == 0
    assert result.status["currentReplicas"] == 2


def test_the_status_counts_and_speaks_of_its_generation() -> None:
    owner = stateful_set(3)
    pods = [pod_of(owner, 0), pod_of(owner, 1, ready=False), pod_of(owner, 2, terminating=True)]
    status = decide(owner, pods).status
    assert status["observedGeneration"] == 4
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (3, 2, 2)
    assert status["currentRevision"] == status["updateRevision"] == revision_of(owner).name


def test_a_finished_rolling_update_moves_the_current_revision() -> None:
    old, new = stateful_set(2, image="one"), stateful_set(2, image="two")
    new["status"] = {"currentRevision": revision_of(old).name}
    half = decide(new, [pod_of(old, 0), pod_of(new, 1)], old=revision_of(old)).status
    assert half["currentRevision"] == revision_of(old).name
    whole = decide(new, [pod_of(new, 0), pod_of(new, 1)], old=revision_of(old)).status
    assert whole["currentRevision"] == revision_of(new).name
    assert whole["currentReplicas"] == 2


def test_min_ready_seconds_delay_availability_and_ask_for_another_look() -> None:
    owner = stateful_set(1, minReadySeconds=30)
    result = decide(owner, [pod_of(owner, 0, since="2027-01-15T07:59:50Z")])
    assert result.status["availableReplicas"] == 0
    assert result.look_again_in == pytest.approx(20.0)
    later = decide(owner, [pod_of(owner, 0, since="2027-01-15T07:59:00Z")])
    assert later.status["availableReplicas"] == 1
    assert later.look_again_in is None


def test_nothing_happens_to_a_set_that_is_being_deleted() -> None:
    owner = stateful_set(3)
    owner["metadata"]["deletionTimestamp"] = "2027-01-01T00:00:00Z"
    result = decide(owner, [pod_of(owner, 5)])
    assert result.create == result.delete == []


def test_pods_of_others_do_not_count() -> None:
    owner = stateful_set(1)
    foreign = pod_of(owner, 0)
    foreign["metadata"]["ownerReferences"][0]["uid"] = "another"
    result = decide(owner, [foreign])
    assert result.status["replicas"] == 0
    assert names(result.create) == ["db-0"]


def test_claims_follow_the_retention_policy() -> None:
    def policy(deleted: str, scaled: str) -> dict[str, Any]:
        return {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}}

    owned = stateful_set(1, **policy("Delete", "Retain"))
    [claim] = decide(owned, [pod_of(owned, 0)], [claim_of(0)]).claim_owners
    assert [one["uid"] for one in claim["metadata"]["ownerReferences"]] == ["set-uid"]
    kept = stateful_set(1)
    [claim] = decide(kept, [pod_of(kept, 0)], [claim]).claim_owners
    assert claim["metadata"]["ownerReferences"] == []
    scaled = stateful_set(1, **policy("Retain", "Delete"))
    pods = [pod_of(scaled, 0), pod_of(scaled, 1)]
    result = decide(scaled, pods, [claim_of(0), claim_of(1)])
    [claim] = result.claim_owners
    assert claim["metadata"]["ownerReferences"][0] | {"controller": True} == {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "db-1",
        "uid": "pod-1",
        "controller": True,
    }
    assert names(result.delete) == ["db-1"]


def test_a_template_always_has_the_same_revision_and_going_back_renumbers_it() -> None:
    one, two = stateful_set(image="one"), stateful_set(image="two")
    assert revision_of(one) == revision_of(stateful_set(image="one")) != revision_of(two)
    first = stored_revision(one, [], owner_of(one))
    assert first is not None and first["revision"] == 1
    second = stored_revision(two, [first], owner_of(two))
    assert second is not None and second["revision"] == 2
    assert stored_revision(two, [first, second], owner_of(two)) is None
    back = stored_revision(one, [first, second], owner_of(one))
    assert back is not None and back["revision"] == 3
    assert set(known_revisions(two, [first])) == {revision_of(one).name, revision_of(two).name}


def test_surplus_revisions_are_the_oldest_unused_ones() -> None:
    owner = stateful_set(revisionHistoryLimit=1)
    stored: list[Object] = []
    for image in ("a", "b", "c", "d"):
        made = stored_revision(stateful_set(image=image), stored, owner_of(owner))
        assert made is not None
        stored.append(made)
    used = {stored[0]["metadata"]["name"]}
    assert surplus_revisions(owner, stored, used) == stored[1:3]


SPECS = st.fixed_dictionaries(
    {
        "replicas": st.integers(0, 5),
        "image": st.sampled_from(["one", "two"]),
        "podManagementPolicy": st.sampled_from(["OrderedReady", "Parallel"]),
    }
)


@settings(max_examples=150)
@given(st.lists(SPECS, min_size=1, max_size=4), st.data())
def test_whatever_was_asked_for_before_the_last_wish_is_reached_and_then_nothing_moves(
    wishes: list[dict[str, Any]], data: st.DataObject
) -> None:
    """A world in which pods become ready and go away when told, and crash now and then."""
    world: dict[str, Object] = {}
    claims: dict[str, Object] = {}
    known: dict[str, Revision] = {}
    status: dict[str, Any] = {}
    for wish in wishes:
        replicas = wish.pop("replicas")
        owner = stateful_set(replicas, **wish)
        update = revision_of(owner)
        known[update.name] = update
        for step in itertools.count():
            assert step < 60, "it does not settle"
            owner["status"] = status
            result = plan(owner, list(world.values()), list(claims.values()), known, update, NOW)
            status = result.status
            if wish["podManagementPolicy"] == "OrderedReady":
                assert len(result.create) + len(result.delete) <= 1
            for claim in result.claims:
                claims.setdefault(claim["metadata"]["name"], claim)
            for pod in result.create:
                name = pod["metadata"]["name"]
                assert name not in world
                ordinal = int(name.rpartition("-")[2])
                made = known[revision_label(pod)]
                world[name] = pod_of(owner, ordinal, revision=made, ready=data.draw(st.booleans()))
            for pod in result.delete:
                del world[pod["metadata"]["name"]]
            quiet = not result.create and not result.delete
            late = [pod for pod in world.values() if pod["status"]["conditions"][0]["status"] == "False"]
            for pod in late:
                pod["status"]["conditions"][0]["status"] = "True"
            if quiet and not late:
                break
        assert sorted(world) == [f"db-{ordinal}" for ordinal in range(replicas)]
        assert {revision_label(pod) for pod in world.values()} <= {update.name}
        assert {f"data-{name}" for name in world} <= set(claims)
        assert status["readyReplicas"] == status["updatedReplicas"] == replicas


def test_pods_and_revision_of_a_set_that_was_deleted_around_them_are_adopted() -> None:
    owner = stateful_set(2)
    pods = [pod_of(owner, ordinal) for ordinal in (0, 1)]
    strangers = [
        {**pods[0], "metadata": {**pods[0]["metadata"], "name": "other-0", "ownerReferences": []}},
        {**pods[0], "metadata": {**pods[0]["metadata"], "name": "db-7", "labels": {}, "ownerReferences": []}},
    ]
    del pods[0]["metadata"]["ownerReferences"]
    result = decide(owner, [*pods, *strangers])
    assert names(result.adopt) == ["db-0"]
    assert result.create == result.delete == []
    assert result.status["readyReplicas"] == 2

    left = stored_revision(owner, [], owner_of(owner))
    assert left is not None
    del left["metadata"]["ownerReferences"]
    left["metadata"]["resourceVersion"] = "7"
    adopted = stored_revision(owner, [left], owner_of(owner))
    assert adopted is not None
    assert adopted["metadata"] == {**left["metadata"], "ownerReferences": [owner_of(owner)]}
    assert stored_revision(owner, [adopted], owner_of(owner)) is None


def test_a_set_on_its_way_out_adopts_nothing() -> None:
    owner = stateful_set(1)
    pod = pod_of(owner, 0)
    del pod["metadata"]["ownerReferences"]
    owner["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert decide(owner, [pod]).adopt == []


@pytest.mark.parametrize("spec", [{}, PARALLEL])
def test_an_outdated_pod_that_goes_already_is_not_deleted_again(spec: dict[str, Any]) -> None:
    old, new = stateful_set(image="one", **spec), stateful_set(image="two", **spec)
    pods = [pod_of(old, 0), pod_of(old, 1), pod_of(old, 2, terminating=True)]
    assert decide(new, pods, old=revision_of(old)).delete == []
