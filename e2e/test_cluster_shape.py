"""What a cluster's spec says about pods, volumes, ports and budgets, and how changes of it arrive."""

from __future__ import annotations

import asyncio

import pytest

from e2e.running import eventually
from e2e.scene import BUDGET, MANAGER, POD, PVC, SERVICE, SERVICE_ACCOUNT, Scene, condition, router
from etl_operator.api import CLUSTER, SOURCE
from etl_operator.router.client import RouterNode
from informers.errors import Invalid
from informers.objects import ObjectKey, Resource

pytestmark = pytest.mark.asyncio(loop_scope="function")

STORAGE_CLASS = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)


async def test_the_spec_reaches_the_pods(scene: Scene) -> None:
    await scene.cluster("shape", 3)
    await scene.service(SOURCE, "in")
    await asyncio.gather(scene.ready(CLUSTER, "shape"), scene.ready(SOURCE, "in"))
    assert (await scene.get(BUDGET, "shape"))["spec"]["maxUnavailable"] == 1
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}
    own = {"name": "own", "namespace": scene.namespace}
    await scene.client.apply(SERVICE_ACCOUNT, {**account, "metadata": own}, field_manager=MANAGER)
    toleration = {"key": "spot", "operator": "Exists", "effect": "NoSchedule"}
    affinity = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "rack", "labelSelector": {"matchLabels": {"team": "a"}}}
            ]
        }
    }
    wanted = {
        "service": {"grpcPort": 50061, "httpPort": 8090, "type": "NodePort", "annotations": {"a/b": "c"}},
        "env": [{"name": "ETL_ROUTER__NODE__LEASE_SECONDS", "value": "20"}],
        "args": ["--strict-ids"],
        "podLabels": {"team": "a", "etl.router/cluster": "stolen"},
        "podAnnotations": {"note": "x"},
        "tolerations": [toleration],
        "affinity": affinity,
        "resources": {"requests": {"cpu": "10m"}},
        "serviceAccountName": "own",
        "podDisruptionBudget": {"enabled": False},
    }
    # A port is changed under running members: old ones answer at the old port until their turn comes.
    await scene.patch(CLUSTER, "shape", {"spec": wanted})
    status = (await scene.ready(CLUSTER, "shape"))["status"]
    assert status["endpoint"].endswith(":50061")
    assert all(node["address"].endswith(":50061") for node in status["nodes"])
    for pod in await scene.pods("shape"):
        spec, (container,) = pod["spec"], pod["spec"]["containers"]
        assert pod["metadata"]["labels"].items() >= {"team": "a", "etl.router/cluster": "shape"}.items()
        assert pod["metadata"]["annotations"]["note"] == "x"
        assert toleration in spec["tolerations"]
        assert spec["affinity"] == affinity
        assert spec["serviceAccountName"] == "own"
        assert wanted["env"][0] in container["env"]  # type: ignore[index]
        assert container["args"] == ["--strict-ids"]
        assert container["resources"]["requests"]["cpu"] == "10m"
    service = await scene.get(SERVICE, "shape")
    assert service["spec"]["type"] == "NodePort"
    assert service["metadata"]["annotations"]["a/b"] == "c"
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]}["grpc"] == 50061
    await scene.gone(BUDGET, "shape")
    await scene.gone(SERVICE_ACCOUNT, "shape")
    await scene.ready(SOURCE, "in")
    for address in await scene.addresses("shape", 50061):
        async with router(address) as node:

            async def registered(node: RouterNode = node) -> bool:
                # A member that has just restarted is registered with a moment after it is ready.
                return len(await node.list_services()) == 1

            await eventually(registered, what=f"the service is registered at {address}")
    with pytest.raises(Invalid, match="raftPort cannot be changed"):
        await scene.patch(CLUSTER, "shape", {"spec": {"service": {"raftPort": 50062}}})


async def test_a_bad_image_costs_one_member_and_can_be_taken_back(scene: Scene) -> None:
    await scene.cluster("image", 3)
    await scene.ready(CLUSTER, "image")
    before = {pod["metadata"]["uid"] for pod in await scene.pods("image")}
    await scene.patch(CLUSTER, "image", {"spec": {"image": "nobody/has-this:1"}})
    trouble = await scene.says(
        CLUSTER, "image", "RollingRestart", "nobody/has-this:1", kind="ConfigApplied", status="False"
    )
    assert "waiting" in trouble["message"]
    await scene.looked_at(2)
    seen = await scene.get(CLUSTER, "image")
    assert condition(seen, "Available")["status"] == "True"
    assert "nobody/has-this:1" in condition(seen)["message"]
    assert len(before & {pod["metadata"]["uid"] for pod in await scene.pods("image")}) == 2
    await scene.patch(CLUSTER, "image", {"spec": {"image": "etl-router:latest"}})
    await scene.ready(CLUSTER, "image")


async def test_volumes_grow_and_never_shrink(scene: Scene) -> None:
    fixed = f"fixed-{scene.namespace}"[:60]
    await scene.client.apply(
        STORAGE_CLASS,
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": fixed},
            "provisioner": "sandbox.etl.router/directory",
        },
        field_manager=MANAGER,
    )
    await scene.cluster("grows", storage={"size": "1Gi"})
    await scene.cluster("stays", storage={"size": "1Gi", "storageClassName": fixed})
    await asyncio.gather(scene.ready(CLUSTER, "grows"), scene.ready(CLUSTER, "stays"))
    (before,) = await scene.pods("grows")
    for name in ("grows", "stays"):
        await scene.patch(CLUSTER, name, {"spec": {"storage": {"size": "2Gi"}}})
    await scene.until(
        PVC,
        "data-grows-0",
        lambda claim: claim["status"]["capacity"]["storage"] == "2Gi",
        "the volume has grown",
    )
    await scene.ready(CLUSTER, "grows")
    assert condition(await scene.get(CLUSTER, "grows"), "VolumesResized")["status"] == "True"
    assert (await scene.pods("grows"))[0]["metadata"]["uid"] == before["metadata"]["uid"], "no restart"
    with pytest.raises(Invalid, match="volumes do not shrink"):
        await scene.patch(CLUSTER, "grows", {"spec": {"storage": {"size": "1Gi"}}})
    # What plain rules cannot compare, the operator explains.
    await scene.patch(CLUSTER, "grows", {"spec": {"storage": {"size": "1500Mi"}}})
    await scene.says(CLUSTER, "grows", "VolumeShrinkUnsupported", "1500Mi", status="False")
    await scene.patch(CLUSTER, "grows", {"spec": {"storage": {"size": "2048Mi"}}})
    await scene.ready(CLUSTER, "grows")

    await scene.says(CLUSTER, "stays", "VolumeExpansionUnsupported", fixed, "data-stays-0", status="False")
    assert condition(await scene.get(CLUSTER, "stays"), "Available")["status"] == "True"
    await scene.told("stays", "VolumeExpansionFailed", fixed)
    await scene.client.patch(
        STORAGE_CLASS, ObjectKey("", fixed), {"allowVolumeExpansion": True}, field_manager=MANAGER
    )
    await scene.ready(CLUSTER, "stays")
    await scene.client.delete(STORAGE_CLASS, ObjectKey("", fixed))


async def test_a_cluster_of_five_and_a_pod_deleted_by_hand(scene: Scene) -> None:
    await scene.cluster("five", 5)
    status = (await scene.ready(CLUSTER, "five"))["status"]
    assert sorted(node["role"] for node in status["nodes"]) == ["Follower"] * 4 + ["Leader"]
    assert (await scene.get(BUDGET, "five"))["spec"]["maxUnavailable"] == 2
    pod = next(node["podName"] for node in status["nodes"] if node["role"] == "Follower")
    uid = (await scene.get(POD, pod))["metadata"]["uid"]
    await scene.delete(POD, pod)

    async def back() -> bool:
        found = await scene.find(POD, pod)
        return found is not None and found["metadata"]["uid"] != uid

    await eventually(back, what=f"another {pod}")
    after = await scene.ready(CLUSTER, "five")
    assert after["status"]["leaderPod"] == status["leaderPod"], "nobody else was disturbed"
