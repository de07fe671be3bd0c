"""What Deployments and ReplicaSets need next: tables, and a small world that carries the decisions out."""

from __future__ import annotations

import copy
import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_operator.sandbox.loops import pods as p
from etl_operator.sandbox.loops.deployment import (
    DESIRED,
    HASH_LABEL,
    HISTORY,
    REVISION,
    Plan,
    bounds,
    new_replica_set,
    plan_rollout,
)
from etl_operator.sandbox.loops.disruption import scales_of
from etl_operator.sandbox.loops.replicaset import failed_condition, plan_pods
from etl_operator.sandbox.loops.rollout import Rollout, rollout_status
from etl_operator.sandbox.loops.unserved import not_run
from etl_operator.sandbox.loops.workloads import wanted
from informers.clock import timestamp
from informers.objects import Object

NOW = 1_800_000_000.0
LABELS = {"app": "web"}


def deployment(
    replicas: int = 3, *, image: str = "one", strategy: Object | None = None, **spec: Any
) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "ns", "uid": "web-uid", "generation": 1},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "strategy": strategy or rolling(),
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            **spec,
        },
    }


def rolling(surge: int | str = "25%", unavailable: int | str = "25%") -> Object:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


class World:
    """An API server, a node and both controllers, in one step each; its time is virtual."""

    def __init__(self, owner: Object) -> None:
        self.owner = owner
        self.sets: dict[str, Object] = {}
        self.pods: dict[str, Object] = {}
        self.now = NOW
        self.last: Rollout | None = None
        self._numbers = itertools.count()

    def change(self, owner: Object) -> None:
        """A new spec, as an update keeps the rest."""
        fresh = copy.deepcopy(owner)
        meta = self.owner["metadata"]
        fresh["metadata"] = {**meta, "generation": meta["generation"] + 1}
        fresh["status"] = self.owner.get("status") or {}
        self.owner = fresh

    def available(self) -> int:
        return sum(p.is_ready(pod) for pod in self.pods.values() if not p.is_terminating(pod))

    def current(self) -> Object | None:
        return plan_rollout(self.owner, self.sets.values(), self.pods.values()).newest

    def deploy(self) -> Plan:
        """A step of the Deployment."""
        result = plan_rollout(self.owner, self.sets.values(), self.pods.values())
        newest = result.newest
        if result.create is not None:
            newest = copy.deepcopy(result.create)
            self.add_set(newest)
        for one, patch in result.annotate:
            meta = self.sets[one["metadata"]["name"]]["metadata"]
            meta["annotations"] = {
                **(meta.get("annotations") or {}),
                **patch.get("metadata", {}).get("annotations", {}),
            }
        for one, size in result.scale:
            found = self.sets[one["metadata"]["name"]]
            found["spec"]["replicas"] = size
            found["metadata"]["generation"] += 1
        for one in result.delete:
            del self.sets[one["metadata"]["name"]]
        if result.revision:
            self.owner["metadata"].setdefault("annotations", {})[REVISION] = result.revision
        newest = self.sets[newest["metadata"]["name"]] if newest else None
        own = [one for one in self.sets.values() if p.controller_uid(one) == "web-uid"]
        self.last = rollout_status(self.owner, result, own, newest, self.now, timestamp(self.now))
        self.owner["status"] = self.last.status
        return result

    def add_set(self, made: Object) -> None:
        meta = made["metadata"]
        meta |= {"uid": f"{meta['name']}-uid", "generation": 1, "creationTimestamp": timestamp(self.now)}
        assert meta["name"] not in self.sets
        self.sets[meta["name"]] = made

    def replicate(self) -> bool:
        """A step of every ReplicaSet; whether one had anything to do."""
        busy = False
        for one in self.sets.values():
            result = plan_pods(one, self.pods.values(), self.now)
            busy |= bool(result.create or result.delete)
            for body in result.create:
                name = f"{one['metadata']['name']}-{next(self._numbers)}"
                pod = copy.deepcopy(body)
                pod["metadata"] |= {"name": name, "uid": name, "creationTimestamp": timestamp(self.now)}
                self.pods[name] = pod
            for pod in result.delete:
                # Gone as soon as it is told: the worst for availability.
                del self.pods[pod["metadata"]["name"]]
            after = plan_pods(one, self.pods.values(), self.now)
            one["status"] = after.status
        return busy

    def play(self, works: bool = True) -> None:
        """Every pod that is there becomes ready, or not."""
        for pod in self.pods.values():
            self.set_ready(pod, works)

    def set_ready(self, pod: Object, ready: bool) -> None:
        condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": timestamp(self.now)}
        pod["status"] = {"phase": "Running", "conditions": [condition]}

    def settle(self, works: bool = True) -> None:
        quiet = 0
        for _ in range(60):
            result = self.deploy()
            busy = self.replicate()
            self.play(works)
            self.replicate()
            quiet = (
                0 if result.create or result.scale or result.annotate or result.delete or busy else quiet + 1
            )
            if quiet == 2:
                return
        raise AssertionError("it does not settle")

    def condition(self, kind: str) -> tuple[str, str]:
        found = p.condition(self.owner, kind)
        return str(found.get("status")), str(found.get("reason"))

    def images(self) -> list[str]:
        return sorted(pod["spec"]["containers"][0]["image"] for pod in self.pods.values())


def settled(owner: Object) -> World:
    world = World(owner)
    world.settle()
    return world


def test_a_new_deployment_gets_one_replica_set_and_its_pods() -> None:
    world = settled(deployment())
    [one] = world.sets.values()
    code = one["metadata"]["labels"][HASH_LABEL]
    assert one["metadata"]["name"] == f"web-{code}"
    assert one["spec"]["selector"]["matchLabels"] == {**LABELS, HASH_LABEL: code}
    assert one["metadata"]["annotations"][REVISION] == "1" == world.owner["metadata"]["annotations"][REVISION]
    assert len(world.pods) == 3
    status = world.owner["status"]
    assert (status["replicas"], status["updatedReplicas"], status["availableReplicas"]) == (3, 3, 3)
    assert status["unavailableReplicas"] == 0
    assert world.condition("Available") == ("True", "MinimumReplicasAvailable")
    assert world.condition("Progressing") == ("True", "NewReplicaSetAvailable")


@pytest.mark.parametrize(
    ("strategy", "replicas", "expected"),
    [
        (rolling(), 3, (1, 0)),
        (rolling(), 10, (3, 2)),
        (rolling(0, 0), 3, (0, 1)),
        (rolling("0%", "10%"), 3, (0, 1)),
        (rolling(2, 9), 3, (2, 3)),
        ({"type": "Recreate"}, 3, (0, 0)),
    ],
)
def test_the_bounds_of_a_rollout(strategy: Object, replicas: int, expected: tuple[int, int]) -> None:
    assert bounds(deployment(replicas, strategy=strategy)) == expected


def test_a_new_template_rolls_and_the_old_replica_set_stays_as_history() -> None:
    world = settled(deployment())
    world.change(deployment(image="two"))
    world.settle()
    assert world.images() == ["two"] * 3
    sizes = {one["metadata"]["annotations"][REVISION]: wanted(one) for one in world.sets.values()}
    assert sizes == {"1": 0, "2": 3}
    # Back to the first template, as kubectl rollout undo does it.
    world.change(deployment(image="one"))
    world.settle()
    assert world.images() == ["one"] * 3
    sizes = {one["metadata"]["annotations"][REVISION]: wanted(one) for one in world.sets.values()}
    assert sizes == {"2": 0, "3": 3}
    newest = world.current()
    assert newest is not None and newest["metadata"]["annotations"][HISTORY] == "1"


def test_a_rollout_that_never_works_stops_at_the_bound_and_exceeds_its_deadline() -> None:
    world = settled(deployment(4, progressDeadlineSeconds=60))
    world.change(deployment(4, image="two", progressDeadlineSeconds=60))
    good = set(world.pods)
    for _ in range(20):
        world.deploy()
        world.replicate()
        for name, pod in world.pods.items():
            world.set_ready(pod, name in good)
        world.replicate()
        world.deploy()
    assert world.available() == 3
    assert world.images() == ["one"] * 3 + ["two"] * 2
    assert world.condition("Progressing") == ("True", "ReplicaSetUpdated")
    assert world.last is not None and world.last.look_again_in == 60
    world.now += 60
    world.deploy()
    assert world.condition("Progressing") == ("False", "ProgressDeadlineExceeded")
    assert world.last.look_again_in is None
    # What finally works is progress.
    world.settle()
    assert world.condition("Progressing") == ("True", "NewReplicaSetAvailable")


def test_recreate_starts_no_pod_before_the_last_old_one_is_gone() -> None:
    world = settled(deployment(strategy={"type": "Recreate"}))
    world.change(deployment(image="two", strategy={"type": "Recreate"}))
    world.deploy()
    leaving = copy.deepcopy(next(iter(world.pods.values())))
    world.replicate()
    assert world.pods == {}
    leaving["metadata"]["deletionTimestamp"] = timestamp(world.now)
    world.pods["leaving"] = leaving
    assert world.deploy().create is None
    del world.pods["leaving"]
    world.settle()
    assert world.images() == ["two"] * 3


def test_a_pause_stops_the_rollout_but_not_the_scaling() -> None:
    world = settled(deployment())
    world.change(deployment(5, image="two", paused=True))
    world.settle()
    assert world.images() == ["one"] * 5
    assert world.condition("Progressing") == ("Unknown", "DeploymentPaused")
    world.change(deployment(5, image="two"))
    world.deploy()
    assert world.condition("Progressing")[0] in ("Unknown", "True")
    world.settle()
    assert world.images() == ["two"] * 5


def test_a_change_of_size_in_the_middle_of_a_rollout_is_shared() -> None:
    world = settled(deployment(10, strategy=rolling(5, 0)))
    world.change(deployment(10, image="two", strategy=rolling(5, 0)))
    world.deploy()
    assert sorted(wanted(one) for one in world.sets.values()) == [5, 10]
    world.replicate()
    world.change(deployment(20, image="two", strategy=rolling(5, 0)))
    world.deploy()
    assert sorted(wanted(one) for one in world.sets.values()) == [8, 17]
    world.settle()
    assert world.images() == ["two"] * 20


def test_the_history_is_limited() -> None:
    world = settled(deployment(1, image="0", revisionHistoryLimit=2))
    for number in range(1, 6):
        world.change(deployment(1, image=str(number), revisionHistoryLimit=2))
        world.settle()
    found = sorted(int(one["metadata"]["annotations"][REVISION]) for one in world.sets.values())
    assert found == [4, 5, 6]


def test_orphans_are_adopted_and_what_the_selector_leaves_is_released() -> None:
    owner = deployment()
    stray = new_replica_set(deployment(image="zero"))
    stray["metadata"] |= {"uid": "stray", "ownerReferences": []}
    foreign = new_replica_set(deployment(image="minus"))
    foreign["metadata"]["ownerReferences"][0]["uid"] = "another"
    left = new_replica_set(deployment(image="left"))
    left["metadata"]["labels"] = {}
    result = plan_rollout(owner, [stray, foreign, left], [])
    assert result.adopt == [stray] == result.own
    assert result.release == [left]

    pod = {"metadata": {"name": "p", "uid": "p", "labels": stray["spec"]["template"]["metadata"]["labels"]}}
    other = {
        "metadata": {
            "name": "q",
            "uid": "q",
            "labels": {},
            "ownerReferences": [{"uid": "stray", "controller": True}],
        }
    }
    plan = plan_pods(stray, [{**pod, "spec": {}}, {**other, "spec": {}}], NOW)
    assert [one["metadata"]["name"] for one in plan.adopt] == ["p"]
    assert [one["metadata"]["name"] for one in plan.release] == ["q"]
    assert len(plan.delete) == 1 and plan.status["replicas"] == 1


def test_nothing_is_done_for_what_is_being_deleted() -> None:
    owner = deployment()
    owner["metadata"]["deletionTimestamp"] = timestamp(NOW)
    result = plan_rollout(owner, [], [])
    assert result.create is None and not result.scale
    one = new_replica_set(deployment())
    one["spec"]["replicas"] = 3
    one["metadata"] |= {"uid": "one", "deletionTimestamp": timestamp(NOW)}
    assert plan_pods(one, [], NOW).create == []


def test_the_least_important_pods_go_first() -> None:
    world = settled(deployment(4))
    for pod, node, phase in zip(
        world.pods.values(), ("n", "n", "n", ""), (True, False, True, True), strict=True
    ):
        pod["spec"]["nodeName"] = node
        world.set_ready(pod, phase)
    cheap = list(world.pods.values())[2]
    cheap["metadata"]["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": "-5"}
    [one] = world.sets.values()
    order = []
    for size in (3, 2, 1, 0):
        one["spec"]["replicas"] = size
        [gone] = plan_pods(one, world.pods.values(), NOW).delete
        order.append(list(world.pods).index(gone["metadata"]["name"]))
        gone["status"] = {"phase": "Failed"}
    assert order == [3, 1, 2, 0]


def test_min_ready_seconds_delay_availability_and_ask_for_another_look() -> None:
    world = World(deployment(1, minReadySeconds=30))
    world.deploy()
    world.replicate()
    world.play()
    [one] = world.sets.values()
    result = plan_pods(one, world.pods.values(), NOW + 10)
    assert (result.status["readyReplicas"], result.status["availableReplicas"]) == (1, 0)
    assert result.look_again_in == pytest.approx(20)
    assert plan_pods(one, world.pods.values(), NOW + 30).status["availableReplicas"] == 1


def test_a_failure_to_create_pods_reaches_the_deployment() -> None:
    world = World(deployment())
    world.deploy()
    [one] = world.sets.values()
    conditions = failed_condition({}, one, "FailedCreate: pods are forbidden: quota", timestamp(NOW))
    one["status"] = {"conditions": conditions}
    world.deploy()
    assert world.condition("ReplicaFailure") == ("True", "FailedCreate")
    assert p.condition(world.owner, "ReplicaFailure")["message"] == "pods are forbidden: quota"
    again = failed_condition(one["status"], one, "FailedCreate: the same", "later")
    assert again[0]["lastTransitionTime"] == timestamp(NOW)
    assert failed_condition(one["status"], one, None, "later") == []
    one["status"] = {}
    world.deploy()
    assert p.condition(world.owner, "ReplicaFailure") == {}


def test_a_budget_counts_all_replica_sets_of_a_deployment_once() -> None:
    world = settled(deployment())
    world.change(deployment(image="two"))
    world.deploy()
    scales = scales_of([], world.sets.values(), [world.owner])
    assert len(scales) == 2 and set(scales.values()) == {("web-uid", 3)}


def test_an_object_that_nothing_acts_on_gets_one_event_however_often_it_is_seen() -> None:
    job = {"apiVersion": "batch/v1", "metadata": {"name": "j", "namespace": "ns", "uid": "u"}}
    first, second = not_run(job, "Job", "a"), not_run(job, "Job", "b")
    assert first["metadata"]["name"] == second["metadata"]["name"]
    assert "no controller for Jobs" in first["note"]


SPECS = st.fixed_dictionaries(
    {
        "replicas": st.integers(0, 6),
        "image": st.sampled_from(["one", "two", "three"]),
        "surge": st.sampled_from([0, 1, 3, "25%", "100%"]),
        "unavailable": st.sampled_from([0, 1, 2, "25%", "50%"]),
        "steps": st.integers(0, 8),
    }
)


@settings(max_examples=150, deadline=None)
@given(st.lists(SPECS, min_size=1, max_size=5), st.integers(0, 2**32))
def test_no_rollout_takes_more_than_it_may_and_every_one_ends(changes: list[Object], seed: int) -> None:
    """Changes that come before the one before is through, pods that become ready in any order and crash."""
    chance = random.Random(seed)
    world: World | None = None
    for change in changes:
        strategy = rolling(change["surge"], change["unavailable"])
        owner = deployment(change["replicas"], image=change["image"], strategy=strategy)
        if world is None:
            world = World(owner)
        else:
            world.change(owner)
        for _ in range(change["steps"]):
            _checked_step(world)
            for pod in list(world.pods.values()):
                if chance.random() < 0.5:
                    world.set_ready(pod, chance.random() < 0.8)
    assert world is not None
    world.settle()
    assert world.images() == [changes[-1]["image"]] * changes[-1]["replicas"]
    assert world.condition("Available")[0] == "True"
    assert world.condition("Progressing") == ("True", "NewReplicaSetAvailable")
    assert len([one for one in world.sets.values() if wanted(one)]) <= 1


def _checked_step(world: World) -> None:
    """No step crosses a bound that pods themselves have not crossed before."""
    # What the status of a ReplicaSet says is true of the moment at which it was written.
    world.replicate()
    before = world.available()
    size = wanted(world.owner)
    total = sum(wanted(one) for one in world.sets.values())
    surge, unavailable = bounds(world.owner)
    # A new size is shared in proportion, whatever is available: as the real controller does it.
    resized = any(
        wanted(one) and one["metadata"]["annotations"][DESIRED] != str(size) for one in world.sets.values()
    )
    world.deploy()
    assert sum(wanted(one) for one in world.sets.values()) <= max(total, size + surge)
    world.replicate()
    assert resized or world.available() >= min(before, size - unavailable)
