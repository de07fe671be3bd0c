"""Volumes that grow at once, at the next start of a pod, later, or never; and what waits for them."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.cluster.volumes import plan_volumes
from controllers.objects.kinds import POD, PVC, STATEFUL_SET, STORAGE_CLASS
from etl_operator.api import CLUSTER
from informers.errors import Forbidden, NotFound
from informers.objects import Object, ObjectKey, Resource
from tests.controllers.cluster.running import NAME, Running

AT_START = [{"type": "FileSystemResizePending", "status": "True"}]


async def growable(*, growable: bool = True, **spec: Any) -> Running:
    """A cluster whose storage class lets volumes grow."""
    running = await Running(**spec).started()
    running.store.put(STORAGE_CLASS, "standard", namespace="")
    running.store.objects[STORAGE_CLASS, ObjectKey("", "standard")]["allowVolumeExpansion"] = growable
    return running


async def growing(**spec: Any) -> Running:
    """A cluster whose claims have just been patched, so that somebody has to grow them."""
    running = await growable(**spec)
    running.store.edit(CLUSTER, NAME, {"spec": {"storage": {"size": "20Gi"}}})
    await running.once()
    assert patches(running) == 3
    return running


def patches(running: Running) -> int:
    return running.store.writes.count(("patch", "PersistentVolumeClaim", "etl/data-prod-0")) + sum(
        ("patch", "PersistentVolumeClaim", f"etl/data-prod-{n}") in running.store.writes for n in (1, 2)
    )


def report(running: Running, status: Object, *ordinals: int) -> None:
    for ordinal in ordinals:
        running.store.edit(PVC, f"data-prod-{ordinal}", {"status": status})


async def later(running: Running, seconds: float) -> None:
    running.store.now += seconds
    await running.once()


def uids(running: Running) -> list[str]:
    return [running.store.of(POD, f"prod-{n}")["metadata"]["uid"] for n in range(3)]


def claim(requested: str, status: Object) -> Object:
    return {
        "metadata": {"name": "data-c-0"},
        "spec": {"resources": {"requests": {"storage": requested}}},
        "status": status,
    }


@pytest.mark.parametrize(
    ("requested", "status", "what"),
    [
        ("1Gi", {"phase": "Bound", "capacity": {"storage": "1Gi"}}, "grow"),
        ("1Gi", {"phase": "Pending"}, "unbound"),
        ("2Gi", {"phase": "Bound", "capacity": {"storage": "1Gi"}}, "pending"),
        ("2Gi", {"phase": "Bound", "capacity": {"storage": "1Gi"}, "conditions": AT_START}, "at_start"),
        (
            "2Gi",
            {
                "phase": "Bound",
                "capacity": {"storage": "1Gi"},
                "conditions": AT_START,
                "allocatedResourceStatuses": {"storage": "NodeResizeInfeasible"},
            },
            "infeasible",
        ),
        ("3Gi", {"phase": "Bound", "capacity": {"storage": "3Gi"}}, "shrink"),
        ("2Gi", {"phase": "Bound", "capacity": {"storage": "2048Mi"}, "conditions": AT_START}, None),
        ("2Gi", {"phase": "Pending"}, None),
    ],
)
def test_what_a_claim_needs(requested: str, status: Object, what: str | None) -> None:
    plan = plan_volumes([claim(requested, status)], "2Gi")
    kinds = ("grow", "unbound", "pending", "at_start", "infeasible", "shrink")
    assert {kind for kind in kinds if getattr(plan, kind)} == ({what} if what else set())


async def test_a_claim_that_is_not_bound_yet_is_waited_for_and_no_failure() -> None:
    # A member that joins after a growth gets a claim of the template's first size; the server lets none grow
    # before it is bound.
    running = await Running().started()
    report(running, {"phase": "Pending", "capacity": None}, 2)
    running.store.put(STORAGE_CLASS, "standard", namespace="")
    running.store.objects[STORAGE_CLASS, ObjectKey("", "standard")]["allowVolumeExpansion"] = True
    running.store.edit(CLUSTER, NAME, {"spec": {"storage": {"size": "20Gi"}}})
    await running.once()
    await running.once()
    assert patches(running) == 2
    assert running.condition("VolumesResized")["reason"] == "Resizing"
    assert "data-prod-2 when bound" in running.condition("VolumesResized")["message"]
    assert "VolumeExpansionFailed" not in running.world.events.reasons()


async def test_a_roll_waits_for_volumes_that_grow_and_says_so() -> None:
    running = await growing()
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "etl-router:2"}})
    before = uids(running)
    for _ in range(3):
        await later(running, 1)
        running.world.run_stateful_set(NAME)
    assert uids(running) == before
    for kind in ("ConfigApplied", "Ready"):
        assert (
            "data-prod-0, data-prod-1, data-prod-2 must be resized first"
            in running.condition(kind)["message"]
        )
    await later(running, running.world.context.settings.blocked_after)
    assert [n for _, why, n in running.world.events.seen if why == "RolloutBlocked" and "data-prod-0" in n]
    report(running, {"capacity": {"storage": "20Gi"}}, 0, 1, 2)
    assert await running.settle() == ["prod-2", "prod-1", "prod-0"]


async def test_volumes_that_never_grow_do_not_hold_up_a_roll_for_ever() -> None:
    running = await growing()
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "etl-router:2"}})
    await later(running, 1)
    running.world.run_stateful_set(NAME)
    await later(running, 1)
    await later(running, running.world.context.settings.resize_limit)
    running.world.run_stateful_set(NAME)
    await running.settle(12)
    assert all(running.is_new(f"prod-{n}") for n in range(3))


async def test_a_roll_goes_on_where_volumes_grow_at_the_start_of_their_pods() -> None:
    running = await growing()
    report(running, {"conditions": AT_START}, 0, 1, 2)
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "etl-router:2"}})
    assert await running.settle(6) == ["prod-2", "prod-1", "prod-0"]


async def test_pods_are_restarted_for_their_volumes_once_and_one_at_a_time() -> None:
    running = await growing()
    report(running, {"conditions": AT_START}, 0, 1, 2)
    before = uids(running)
    await later(running, 1)
    # Most drivers grow a file system in use; the node is given time for it.
    assert uids(running) == before
    message = running.condition("VolumesResized")["message"]
    assert "is resized when the pod starts; prod-0, prod-1, prod-2 are restarted one at a time" in message
    gone: list[str] = []
    running.store.now += running.world.context.settings.resize_online
    for _ in range(12):
        held = {name for name in ("prod-0", "prod-1", "prod-2") if running.store.has(POD, name)}
        await running.once()
        gone += [name for name in sorted(held) if not running.store.has(POD, name)]
        running.world.run_stateful_set(NAME)
    assert gone == ["prod-2", "prod-1", "prod-0"], "each once, the leader last, although none has grown"
    message = running.condition("VolumesResized")["message"]
    assert message.endswith(
        "prod-0, prod-1, prod-2 were restarted, but not resized: check the storage driver"
    )
    notes = [note for _, reason, note in running.world.events.seen if reason == "PodRestarted"]
    assert len(notes) == 3
    assert all("its volume is resized at a restart" in note for note in notes)
    report(running, {"capacity": {"storage": "20Gi"}, "conditions": []}, 0, 1, 2)
    await running.once()
    assert running.condition("Ready")["status"] == "True"


async def test_under_on_delete_the_user_is_told_which_pods_to_delete_for_their_volumes() -> None:
    running = await growing(updateStrategy="OnDelete")
    report(running, {"conditions": AT_START}, 1)
    before = uids(running)
    await later(running, 1)
    await later(running, running.world.context.settings.resize_online)
    assert uids(running) == before
    assert "updateStrategy is OnDelete: delete prod-1" in running.condition("VolumesResized")["message"]


async def test_a_growth_that_is_refused_is_not_asked_for_with_every_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = await Running().started()
    running.store.put(STORAGE_CLASS, "standard", namespace="")
    running.store.objects[STORAGE_CLASS, ObjectKey("", "standard")]["allowVolumeExpansion"] = True
    asked: list[float] = []

    async def refuse(*_: Any, **__: Any) -> None:
        asked.append(running.store.now)
        raise Forbidden(403, "Forbidden", "exceeded quota: storage")

    monkeypatch.setattr(running.store, "patch", refuse)
    running.store.edit(CLUSTER, NAME, {"spec": {"storage": {"size": "20Gi"}}})
    for _ in range(20):
        await later(running, 5)
    assert len(asked) == 2
    assert running.condition("VolumesResized")["reason"] == "VolumeExpansionUnsupported"
    assert running.world.events.reasons().count("VolumeExpansionFailed") == 1


async def test_a_full_disk_is_cured_although_its_roll_is_stuck() -> None:
    running = await Running().started()
    running.store.put(STORAGE_CLASS, "standard", namespace="")
    running.store.objects[STORAGE_CLASS, ObjectKey("", "standard")]["allowVolumeExpansion"] = True
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "etl-router:2"}})
    await running.settle(2)
    running.world.set_ready("prod-2", False, running=False)
    running.store.edit(CLUSTER, NAME, {"spec": {"storage": {"size": "20Gi"}}})
    await later(running, 1)
    assert patches(running) == 0
    assert "waiting: pod prod-2 is not ready" in running.condition("VolumesResized")["message"]
    await later(running, running.world.context.settings.blocked_after)
    assert patches(running) == 3


async def test_two_templates_under_on_delete_do_not_keep_volumes_from_growing() -> None:
    running = await growable(updateStrategy="OnDelete")
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "etl-router:2"}})
    await running.once()
    running.world.run_stateful_set(NAME)
    running.store.remove(POD, "prod-2")
    running.world.run_stateful_set(NAME)
    assert running.is_new("prod-2") is not running.is_new("prod-1")
    running.store.edit(CLUSTER, NAME, {"spec": {"storage": {"size": "20Gi"}}})
    await later(running, 1)
    assert patches(running) == 3


async def test_volumes_that_cannot_grow_do_not_keep_members_from_joining() -> None:
    running = await growable(growable=False)
    running.store.edit(CLUSTER, NAME, {"spec": {"storage": {"size": "20Gi"}, "replicas": 4}})
    await later(running, 1)
    assert running.condition("VolumesResized")["reason"] == "VolumeExpansionUnsupported"
    await later(running, 1)
    assert running.store.of(STATEFUL_SET, NAME)["spec"]["replicas"] == 4


async def test_who_may_not_read_storage_classes_tries_to_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    running = await growable()
    get = running.store.get

    async def refuse(resource: Resource, *args: Any, **named: Any) -> Object:
        if resource == STORAGE_CLASS:
            raise Forbidden(403, "Forbidden", "storageclasses is forbidden")
        return await get(resource, *args, **named)

    monkeypatch.setattr(running.store, "get", refuse)
    running.store.edit(CLUSTER, NAME, {"spec": {"storage": {"size": "20Gi"}}})
    await running.once()
    assert patches(running) == 3


async def test_a_claim_that_vanishes_in_that_moment_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    running = await growable()

    async def gone(*_: Any, **__: Any) -> Object:
        raise NotFound(404)

    monkeypatch.setattr(running.store, "patch", gone)
    running.store.edit(CLUSTER, NAME, {"spec": {"storage": {"size": "20Gi"}}})
    await running.once()
    assert running.condition("VolumesResized")["reason"] == "Resizing"
    assert "VolumeExpansionFailed" not in running.world.events.reasons()


async def test_a_claim_that_is_being_deleted_is_not_grown() -> None:
    running = await growable()
    running.store.edit(PVC, "data-prod-1", {"metadata": {"finalizers": ["kubernetes.io/pvc-protection"]}})
    running.store.remove(PVC, "data-prod-1")
    running.store.edit(CLUSTER, NAME, {"spec": {"storage": {"size": "20Gi"}}})
    await running.once()
    assert patches(running) == 2
    assert ("patch", "PersistentVolumeClaim", "etl/data-prod-1") not in running.store.writes


async def test_a_claim_is_patched_once_although_the_cache_is_behind() -> None:
    running = await growable()
    running.store.informers[PVC].fall_behind()
    running.store.edit(CLUSTER, NAME, {"spec": {"storage": {"size": "20Gi"}}})
    for _ in range(5):
        await later(running, 1)
    assert [verb for verb, _, _ in running.store.writes].count("patch") == 3
