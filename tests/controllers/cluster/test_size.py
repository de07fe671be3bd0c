"""Changes of size: members and volumes."""

from __future__ import annotations

from controllers.objects.kinds import DISRUPTION_BUDGET, POD, PVC, STATEFUL_SET, STORAGE_CLASS
from etl_operator.api import CLUSTER
from informers.objects import ObjectKey
from tests.controllers.cluster.running import NAME, Running
from tests.controllers.store import NAMESPACE


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
