"""The loops together against a real API server; this test plays the node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from etl_operator.sandbox.loops import kinds, run_loops
from informers.client import Client
from informers.errors import NotFound, TooManyRequests
from informers.objects import Object, ObjectKey, Resource
from tests.sandbox.http.serving import client_of, eventually, serving
from tests.sandbox.loops.objects import names

SET = ObjectKey("default", "db")
LABELS = {"app": "db"}


def stateful_set(**spec: Any) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {
            "replicas": 2,
            "serviceName": "db",
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {"containers": [{"name": "main", "image": "one"}]},
            },
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": "data"},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": "1Gi"}},
                    },
                }
            ],
            **spec,
        },
    }


SERVICE: Object = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "db", "namespace": "default"},
    "spec": {"clusterIP": "None", "selector": LABELS, "ports": [{"port": 50051}]},
}
BUDGET: Object = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "metadata": {"name": "db", "namespace": "default"},
    "spec": {"maxUnavailable": 1, "selector": {"matchLabels": LABELS}},
}


class World:
    """The cluster, and a node that can make pods run."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.stopped: set[str] = set()

    async def items(self, resource: Resource) -> list[Object]:
        return (await self.client.list(resource, namespace="default")).items

    async def slices(self) -> list[Object]:
        """The EndpointSlices that the loops make; that of the API server is its own."""
        found = await self.items(kinds.ENDPOINT_SLICE)
        return [one for one in found if one["metadata"]["name"] != "kubernetes"]

    async def play_node(self) -> None:
        """Bind, run and remove pods until cancelled; those in ``stopped`` are not ready."""
        while True:
            for pod in await self.items(kinds.POD):
                await self._step(pod)
            await asyncio.sleep(0.02)

    async def _step(self, pod: Object) -> None:
        key = ObjectKey.of(pod)
        ready = "False" if key.name in self.stopped else "True"
        conditions = (pod.get("status") or {}).get("conditions") or ()
        try:
            if pod["metadata"].get("deletionTimestamp"):
                await self.client.delete(kinds.POD, key, grace_period=0, uid=pod["metadata"]["uid"])
            elif not pod["spec"].get("nodeName"):
                target = {"kind": "Node", "name": "n"}
                body = {
                    "apiVersion": "v1",
                    "kind": "Binding",
                    "metadata": {"name": key.name},
                    "target": target,
                }
                await self.client.raw("POST", kinds.POD.path(key.namespace, key.name, "binding"), body=body)
            elif not any(one["type"] == "Ready" and one["status"] == ready for one in conditions):
                condition = {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}
                ordinal = key.name.rpartition("-")[2]
                address = f"127.1.0.{10 + int(ordinal) if ordinal.isdecimal() else 5}"
                status = {"phase": "Running", "podIP": address, "conditions": [condition]}
                await self.client.patch(kinds.POD, key, {"status": status}, subresource="status")
        except NotFound:
            return

    async def until(self, resource: Resource, key: ObjectKey, **status: Any) -> Object:
        """Wait for fields of a status."""

        async def look() -> Object | None:
            found = await self.client.get(resource, key)
            now = found.get("status") or {}
            return found if all(now.get(name) == value for name, value in status.items()) else None

        return await eventually(look, what=f"{resource.kind} {key}: {status}")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving() as server, client_of(server, tmp_path) as client:
        made = World(client)
        tasks = [asyncio.create_task(run_loops(client)), asyncio.create_task(made.play_node())]
        yield made
        assert not [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_refused_pod_is_said_and_made_once_it_may_be(world: World) -> None:
    events = Resource("events.k8s.io", "v1", "events", "Event")
    default, level = ObjectKey("", "default"), "pod-security.kubernetes.io/enforce"

    async def hold_to(standard: str) -> None:
        patch = {"metadata": {"labels": {level: standard}}}
        await world.client.patch(kinds.NAMESPACE, default, patch)

    async def said() -> str | None:
        found = [one for one in await world.items(events) if one["reason"] == "FailedCreate"]
        return found[0]["note"] if found else None

    await hold_to("restricted")
    await world.client.create(kinds.SERVICE, SERVICE)
    await world.client.create(kinds.STATEFUL_SET, stateful_set())
    note = await eventually(said, what="the event about the refused pod")
    assert note.startswith("create Pod db-0 in StatefulSet db failed error: ")
    assert 'violates PodSecurity "restricted:latest"' in note
    await hold_to("privileged")
    await world.until(kinds.STATEFUL_SET, SET, readyReplicas=2)


async def test_a_set_comes_up_with_claims_endpoints_and_budget(world: World) -> None:
    for resource, body in ((kinds.SERVICE, SERVICE), (kinds.DISRUPTION_BUDGET, BUDGET)):
        await world.client.create(resource, body)
    await world.client.create(kinds.STATEFUL_SET, stateful_set())
    await world.until(kinds.STATEFUL_SET, SET, readyReplicas=2, availableReplicas=2, observedGeneration=1)
    claims = await world.items(kinds.PVC)
    assert names(claims) == ["data-db-0", "data-db-1"]
    await world.until(kinds.PVC, ObjectKey("default", "data-db-0"), phase="Bound")
    await world.until(kinds.DISRUPTION_BUDGET, SET, disruptionsAllowed=1, currentHealthy=2)

    async def endpoints() -> bool:
        [one] = await world.slices()
        return [entry["hostname"] for entry in one["endpoints"] or ()] == ["db-0", "db-1"] and all(
            entry["conditions"]["ready"] for entry in one["endpoints"]
        )

    await eventually(endpoints, what="both pods are ready endpoints")
    await world.client.evict(ObjectKey("default", "db-0"))
    with pytest.raises(TooManyRequests):
        await world.client.evict(ObjectKey("default", "db-1"))
    await world.until(kinds.STATEFUL_SET, SET, readyReplicas=2)


async def test_an_update_rolls_and_a_scale_follows(world: World) -> None:
    await world.client.create(kinds.STATEFUL_SET, stateful_set())
    await world.until(kinds.STATEFUL_SET, SET, readyReplicas=2)
    image = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "two"}]
    await world.client.patch(kinds.STATEFUL_SET, SET, image)
    done = await world.until(
        kinds.STATEFUL_SET, SET, readyReplicas=2, updatedReplicas=2, currentReplicas=2, observedGeneration=2
    )
    assert done["status"]["currentRevision"] == done["status"]["updateRevision"]
    pods = await world.items(kinds.POD)
    assert [pod["spec"]["containers"][0]["image"] for pod in pods] == ["two", "two"]
    assert sorted(one["revision"] for one in await world.items(kinds.CONTROLLER_REVISION)) == [1, 2]
    await world.client.patch(kinds.STATEFUL_SET, SET, {"spec": {"replicas": 1}}, subresource="scale")
    await world.until(kinds.STATEFUL_SET, SET, replicas=1, readyReplicas=1)
    assert names(await world.items(kinds.PVC)) == ["data-db-0", "data-db-1"]


async def test_a_pod_that_is_not_ready_leaves_the_endpoints_and_holds_the_budget(world: World) -> None:
    await world.client.create(kinds.SERVICE, SERVICE)
    await world.client.create(kinds.DISRUPTION_BUDGET, BUDGET)
    await world.client.create(kinds.STATEFUL_SET, stateful_set())
    await world.until(kinds.DISRUPTION_BUDGET, SET, disruptionsAllowed=1)
    world.stopped.add("db-1")
    await world.until(kinds.DISRUPTION_BUDGET, SET, disruptionsAllowed=0)

    async def left() -> bool:
        [one] = await world.slices()
        return [entry["conditions"]["ready"] for entry in one["endpoints"]] == [True, False]

    await eventually(left, what="the pod is no ready endpoint any more")


async def test_what_belongs_to_a_deleted_set_goes_and_its_claims_stay(world: World) -> None:
    await world.client.create(kinds.STATEFUL_SET, stateful_set())
    await world.until(kinds.STATEFUL_SET, SET, readyReplicas=2)
    await world.client.delete(kinds.STATEFUL_SET, SET)

    async def gone() -> bool:
        left = [await world.items(one) for one in (kinds.POD, kinds.CONTROLLER_REVISION)]
        return left == [[], []]

    await eventually(gone, what="pods and revisions are collected")
    assert names(await world.items(kinds.PVC)) == ["data-db-0", "data-db-1"]


async def test_in_a_settled_cluster_nothing_is_written(world: World) -> None:
    for resource, body in ((kinds.SERVICE, SERVICE), (kinds.DISRUPTION_BUDGET, BUDGET)):
        await world.client.create(resource, body)
    await world.client.create(kinds.STATEFUL_SET, stateful_set())
    await world.until(kinds.STATEFUL_SET, SET, readyReplicas=2, currentReplicas=2)
    await world.until(kinds.DISRUPTION_BUDGET, SET, disruptionsAllowed=1)

    async def version() -> str:
        return (await world.client.list(kinds.POD, namespace="default")).resource_version

    before, looks = await version(), 0

    async def quiet() -> bool:
        nonlocal before, looks
        last, before = before, await version()
        looks = looks + 1 if last == before else 0
        return looks >= 25

    await eventually(quiet, what="it settles")
    # Every loop looks at everything once more, and finds nothing to do.
    for resource, key in ((kinds.STATEFUL_SET, SET), (kinds.SERVICE, SET), (kinds.DISRUPTION_BUDGET, SET)):
        await world.client.patch(resource, key, {"metadata": {"annotations": {"look": "again"}}})
    expected = int(before) + 3
    # Time for a write that must not come.
    await asyncio.sleep(0.5)
    assert int(await version()) == expected


DEPLOYMENT: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": LABELS},
        "template": {
            "metadata": {"labels": LABELS},
            "spec": {"containers": [{"name": "main", "image": "one"}]},
        },
    },
}
WEB = ObjectKey("default", "web")


async def test_a_deployment_rolls_scales_and_goes_with_all_it_has_made(world: World) -> None:
    await world.client.create(kinds.DISRUPTION_BUDGET, BUDGET)
    await world.client.create(kinds.DEPLOYMENT, DEPLOYMENT)
    await world.until(kinds.DEPLOYMENT, WEB, updatedReplicas=2, availableReplicas=2)
    await world.until(kinds.DISRUPTION_BUDGET, SET, expectedPods=2, disruptionsAllowed=1)
    image = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "two"}]
    await world.client.patch(kinds.DEPLOYMENT, WEB, image)

    async def rolled() -> bool:
        found = await world.client.get(kinds.DEPLOYMENT, WEB)
        meta, status = found["metadata"], found["status"]
        return (
            meta["annotations"]["deployment.kubernetes.io/revision"] == "2"
            and status["observedGeneration"] == meta["generation"]
            and all(status.get(name) == 2 for name in ("replicas", "updatedReplicas", "availableReplicas"))
        )

    await eventually(rolled, what="the rollout is complete")
    sets = await world.items(kinds.REPLICA_SET)
    assert sorted((one["spec"]["replicas"], one["status"]["replicas"]) for one in sets) == [(0, 0), (2, 2)]
    await world.client.patch(kinds.DEPLOYMENT, WEB, {"spec": {"replicas": 3}}, subresource="scale")
    await world.until(kinds.DEPLOYMENT, WEB, replicas=3, availableReplicas=3)
    await world.client.delete(kinds.DEPLOYMENT, WEB)

    async def gone() -> bool:
        return [await world.items(one) for one in (kinds.POD, kinds.REPLICA_SET)] == [[], []]

    await eventually(gone, what="ReplicaSets and pods are collected")


async def test_a_lost_pod_is_replaced_and_one_that_loses_its_label_is_let_go(world: World) -> None:
    await world.client.create(kinds.DEPLOYMENT, DEPLOYMENT)
    await world.until(kinds.DEPLOYMENT, WEB, availableReplicas=2)
    first, second = [ObjectKey.of(pod) for pod in await world.items(kinds.POD)]
    await world.client.patch(kinds.POD, first, {"metadata": {"labels": {"app": "other"}}})
    await world.client.delete(kinds.POD, second)

    async def replaced() -> bool:
        pods = await world.items(kinds.POD)
        loose = [pod for pod in pods if not pod["metadata"].get("ownerReferences")]
        return len(pods) == 3 and [ObjectKey.of(pod) for pod in loose] == [first]

    await eventually(replaced, what="two pods and the one that was let go")
    await world.until(kinds.DEPLOYMENT, WEB, replicas=2, availableReplicas=2)


async def test_a_refused_pod_of_a_deployment_is_said_in_its_status(world: World) -> None:
    level = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    await world.client.patch(kinds.NAMESPACE, ObjectKey("", "default"), level)
    await world.client.create(kinds.DEPLOYMENT, DEPLOYMENT)

    async def said() -> str | None:
        status = (await world.client.get(kinds.DEPLOYMENT, WEB)).get("status") or {}
        found = [one for one in status.get("conditions") or () if one["type"] == "ReplicaFailure"]
        return found[0]["message"] if found else None

    assert 'violates PodSecurity "restricted:latest"' in await eventually(said, what="the refusal")
    level["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "privileged"
    await world.client.patch(kinds.NAMESPACE, ObjectKey("", "default"), level)
    await world.until(kinds.DEPLOYMENT, WEB, availableReplicas=2)


async def test_an_object_that_no_loop_runs_has_one_event_that_says_so(world: World) -> None:
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once", "namespace": "default"},
        "spec": {
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "one"}]}}
        },
    }
    job = Resource("batch", "v1", "jobs", "Job")
    await world.client.create(job, body)

    async def said() -> list[str]:
        found = [one for one in await world.items(kinds.EVENT) if one["regarding"]["kind"] == "Job"]
        return [one["note"] for one in found]

    [note] = await eventually(said, what="the event")
    assert "no controller for Jobs" in note
    # A second set of loops, as after a restart, sees the same object.
    again = asyncio.create_task(run_loops(world.client, only=("Unserved",)))
    await world.client.create(job, {**body, "metadata": {"name": "twice", "namespace": "default"}})

    async def both() -> bool:
        return len(await said()) >= 2

    await eventually(both, what="the event about the second one")
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)
    assert len(await said()) == 2
