"""StatefulSets: the loop of the sandbox and a real controller manager, watched by the same tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from e2e.conformance.place import CLAIM, POD, REVISION, SET, Place, becomes
from informers.objects import Object


def stateful_set(replicas: int, **spec: Any) -> Object:
    container = {"name": "c", "image": "none", "ports": [{"containerPort": 80}]}
    return {
        "replicas": replicas,
        "serviceName": "web",
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
        **spec,
    }


async def status_says(place: Place, **wanted: int) -> Object:
    async def check() -> Object | None:
        found = await place.get(SET, "web")
        assert found is not None
        status = found["status"]
        settled = status.get("observedGeneration") == found["metadata"]["generation"]
        return (
            found if settled and all(status.get(key, 0) == value for key, value in wanted.items()) else None
        )

    found = await becomes(check, f"the set's status says {wanted}")
    assert found is not None
    return found


async def test_an_ordered_set_starts_one_pod_after_the_other(place: Place) -> None:
    await place.create(SET, "web", spec=stateful_set(3))
    await place.pods_are("web-0")
    await place.run("web-0", ready=False)
    await status_says(place, replicas=1, readyReplicas=0)
    assert await place.names(POD) == ["web-0"]
    await place.run("web-0")
    await place.pods_are("web-0", "web-1")
    await place.run("web-1")
    await place.pods_are("web-0", "web-1", "web-2")
    await place.run("web-2")
    await status_says(place, replicas=3, readyReplicas=3, availableReplicas=3, updatedReplicas=3)


async def test_what_a_pod_of_a_set_looks_like(place: Place) -> None:
    made = await place.create(SET, "web", spec=stateful_set(1))
    (pod,) = await place.pods_are("web-0")
    metadata, spec = pod["metadata"], pod["spec"]
    found = await status_says(place, replicas=1)
    revision = found["status"]["currentRevision"]
    assert found["status"]["updateRevision"] == revision
    assert metadata["labels"] == {
        "app": "web",
        "apps.kubernetes.io/pod-index": "0",
        "controller-revision-hash": revision,
        "statefulset.kubernetes.io/pod-name": "web-0",
    }
    assert metadata["generateName"] == "web-"
    (reference,) = metadata["ownerReferences"]
    assert reference == {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "name": "web",
        "uid": made["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    assert (spec["hostname"], spec["subdomain"]) == ("web-0", "web")
    assert await place.names(REVISION) == [revision]


async def test_a_parallel_set_starts_all_pods_at_once(place: Place) -> None:
    await place.create(SET, "web", spec=stateful_set(3, podManagementPolicy="Parallel"))
    await place.pods_are("web-0", "web-1", "web-2")
    await status_says(place, replicas=3, readyReplicas=0)


async def test_a_set_shrinks_from_its_end(place: Place) -> None:
    await place.create(SET, "web", spec=stateful_set(3, podManagementPolicy="Parallel"))
    await place.pods_are("web-0", "web-1", "web-2")
    for name in ("web-0", "web-1", "web-2"):
        await place.run(name)
    await status_says(place, readyReplicas=3)
    await place.client.patch(SET, place.key("web"), {"spec": {"replicas": 1}}, subresource="scale")
    await place.pods_are("web-0")
    await status_says(place, replicas=1, readyReplicas=1)


async def test_a_lost_pod_comes_back_under_its_name(place: Place) -> None:
    await place.create(SET, "web", spec=stateful_set(2, podManagementPolicy="Parallel"))
    before = await place.pods_are("web-0", "web-1")
    await place.client.delete(POD, place.key("web-0"))

    async def another() -> bool:
        found = await place.get(POD, "web-0")
        return found is not None and found["metadata"]["uid"] != before[0]["metadata"]["uid"]

    await becomes(another, "another pod of that name")


async def test_a_rolling_update_begins_at_the_end_and_stops_at_the_partition(place: Place) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    spec = stateful_set(3, podManagementPolicy="Parallel", updateStrategy=rolling)
    await place.create(SET, "web", spec=spec)
    await place.pods_are("web-0", "web-1", "web-2")
    for name in ("web-0", "web-1", "web-2"):
        await place.run(name)
    old = (await status_says(place, readyReplicas=3))["status"]["currentRevision"]
    template = {"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}}
    await place.client.patch(SET, place.key("web"), template)

    def renewed(name: str) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            found = await place.get(POD, name)
            return found is not None and found["metadata"]["labels"]["controller-revision-hash"] != old

        return check

    await becomes(renewed("web-2"), "the last pod is renewed")
    assert not await renewed("web-1")()
    await place.run("web-2")
    await becomes(renewed("web-1"), "the one before it is renewed")
    await place.run("web-1")
    found = await status_says(place, readyReplicas=3, updatedReplicas=2)
    assert found["status"]["currentRevision"] == old != found["status"]["updateRevision"]
    assert not await renewed("web-0")()
    assert len(await place.names(REVISION)) == 2


async def test_a_set_on_delete_leaves_its_pods_alone(place: Place) -> None:
    spec = stateful_set(1, updateStrategy={"type": "OnDelete"})
    await place.create(SET, "web", spec=spec)
    await place.pods_are("web-0")
    await place.run("web-0")
    found = await status_says(place, readyReplicas=1)
    template = {"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}}
    await place.client.patch(SET, place.key("web"), template)
    new = await status_says(place, readyReplicas=1, updatedReplicas=0)
    assert new["status"]["updateRevision"] != found["status"]["updateRevision"]
    await place.client.delete(POD, place.key("web-0"))
    await status_says(place, updatedReplicas=1)


async def test_claims_are_made_and_stay(place: Place) -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    await place.create(SET, "web", spec=stateful_set(1, volumeClaimTemplates=[claim]))
    (pod,) = await place.pods_are("web-0")
    assert await place.names(CLAIM) == ["data-web-0"]
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "data-web-0"
    (found,) = await place.all(CLAIM)
    assert found["metadata"]["labels"] == {"app": "web"}
    assert found["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    await place.client.patch(SET, place.key("web"), {"spec": {"replicas": 0}})
    await place.pods_are()
    assert await place.names(CLAIM) == ["data-web-0"]


async def test_a_deleted_set_takes_its_pods_along(place: Place) -> None:
    await place.create(SET, "web", spec=stateful_set(2, podManagementPolicy="Parallel"))
    await place.pods_are("web-0", "web-1")
    await place.client.delete(SET, place.key("web"), propagation="Foreground")
    await place.gone(SET, "web")
    assert await place.names(POD) == []
