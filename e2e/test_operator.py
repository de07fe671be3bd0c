"""The operator's work on a running cluster, seen through the API server and the routers themselves."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from typing import Any

import pytest

from e2e.running import Sandbox, eventually
from e2e.scene import Scene
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE, TRANSFORM
from etl_operator.router.client import RouterClients
from informers.client import Client
from informers.errors import Invalid, NotFound
from informers.objects import Object, ObjectKey, Resource

pytestmark = pytest.mark.asyncio(loop_scope="function")

MY_CLUSTER = ObjectKey("default", "my-cluster")
PIPELINE_KEY = ObjectKey("default", "user-analytics")
POD = Resource("", "v1", "pods", "Pod", True)
CHILDREN = (
    Resource("apps", "v1", "statefulsets", "StatefulSet", True),
    Resource("", "v1", "services", "Service", True),
    Resource("", "v1", "configmaps", "ConfigMap", True),
    Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True),
    POD,
)
MANAGER = "e2e"


def ready(obj: Object) -> Object:
    """The Ready condition, or an empty one."""
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition["type"] == "Ready":
            found: Object = condition
            return found
    return {}


def is_ready(obj: Object) -> bool:
    """Ready, and about the present generation."""
    condition = ready(obj)
    return condition.get("status") == "True" and (
        condition.get("observedGeneration") == obj["metadata"]["generation"]
    )


def etl(resource: Resource, name: str, spec: Object, namespace: str = "default") -> Object:
    """An object of one of the five kinds."""
    return {
        "apiVersion": "etl.router/v1",
        "kind": resource.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


async def becomes_ready(client: Client, resource: Resource, key: ObjectKey) -> Object:
    """Wait for Ready at the present generation."""

    async def check() -> Object | None:
        obj = await client.get(resource, key)
        return obj if is_ready(obj) else None

    return await eventually(check, what=f"{resource.kind} {key} is Ready")


async def of_cluster(client: Client, resource: Resource, cluster: str) -> list[Object]:
    """Everything of a kind that belongs to a cluster."""
    labelled = f"etl.router/cluster={cluster}"
    return (await client.list(resource, namespace="default", label_selector=labelled)).items


async def router_addresses(client: Client, cluster: str = "my-cluster") -> list[str]:
    """The gRPC addresses of every router pod."""
    pods = await of_cluster(client, POD, cluster)
    return [f"{pod['status']['podIP']}:50051" for pod in pods]


async def pipelines_on(addresses: list[str]) -> list[set[str]]:
    """The pipeline names each router knows."""
    clients = RouterClients()
    try:
        answers = [await clients.node(one).list_pipelines(include_disabled=True) for one in addresses]
        return [{pipeline.name for pipeline in answer} for answer in answers]
    finally:
        await clients.close()


async def test_killing_the_leader_brings_a_new_one_into_the_status(sandbox: Sandbox, client: Client) -> None:
    before = (await becomes_ready(client, CLUSTER, MY_CLUSTER))["status"]
    leader = await Scene(sandbox, client, MY_CLUSTER.namespace).process(before["leaderPod"])
    os.kill(leader, signal.SIGKILL)

    async def moved_on() -> Object | None:
        status = (await client.get(CLUSTER, MY_CLUSTER))["status"]
        new_term = (status.get("term") or 0) > before["term"]
        return status if new_term and status.get("leaderId") not in (None, before["leaderId"]) else None

    await eventually(moved_on, what="another leader in a later term")
    await becomes_ready(client, CLUSTER, MY_CLUSTER)
    # What was acknowledged before is still there, on every node.
    await becomes_ready(client, PIPELINE, PIPELINE_KEY)

    async def known_everywhere() -> bool:
        known = await pipelines_on(await router_addresses(client))
        return len(known) == 3 and all(known)

    await eventually(known_everywhere, what="the pipeline on all three routers")


async def test_a_deleted_pipeline_leaves_every_router(sandbox: Sandbox, client: Client) -> None:
    sample = await becomes_ready(client, PIPELINE, PIPELINE_KEY)
    addresses = await router_addresses(client)
    assert len(addresses) == 3
    (name,) = set.union(*await pipelines_on(addresses))
    await client.delete(PIPELINE, PIPELINE_KEY)

    async def gone() -> bool:
        try:
            await client.get(PIPELINE, PIPELINE_KEY)
        except NotFound:
            return True
        return False

    async def left() -> bool:
        # The leader has let it go with a majority; the others hear of it with the next heartbeat.
        return all(name not in known for known in await pipelines_on(addresses))

    await eventually(gone, what="the pipeline's finalizer is removed")
    await eventually(left, what="every router has let the pipeline go")
    await client.apply(PIPELINE, etl(PIPELINE, PIPELINE_KEY.name, sample["spec"]), field_manager=MANAGER)
    await becomes_ready(client, PIPELINE, PIPELINE_KEY)


async def test_a_missing_step_is_named_and_its_arrival_is_enough(sandbox: Sandbox, client: Client) -> None:
    key = ObjectKey("default", "needs-a-step")
    spec = {"source": "kafka-users", "steps": ["not-there-yet"], "sink": "clickhouse-analytics"}
    await client.apply(PIPELINE, etl(PIPELINE, key.name, spec), field_manager=MANAGER)

    async def names_it() -> bool:
        condition = ready(await client.get(PIPELINE, key))
        return condition.get("status") == "False" and "not-there-yet" in condition["message"]

    await eventually(names_it, what="the condition names the missing step")
    assert ready(await client.get(PIPELINE, key))["reason"] == "ReferenceNotFound"
    step = etl(TRANSFORM, "not-there-yet", {"grpc": {"endpoint": "late-svc:50051"}})
    await client.apply(TRANSFORM, step, field_manager=MANAGER)
    await becomes_ready(client, PIPELINE, key)
    await client.delete(PIPELINE, key)
    await client.delete(TRANSFORM, ObjectKey("default", "not-there-yet"))


@pytest.mark.parametrize(
    ("resource", "spec", "field"),
    [
        (CLUSTER, {"replicas": 0}, "spec.replicas"),
        (CLUSTER, {"raft": {"electionTimeoutMs": 100, "heartbeatIntervalMs": 100}}, "spec.raft"),
        (PIPELINE, {"steps": [], "sink": "a"}, "spec.source"),
        (PIPELINE, {"source": "a", "sink": "b", "steps": ["x", "x"]}, "spec.steps"),
        (PIPELINE, {"source": "a", "sink": "b", "dlq": {"maxRetries": -1}}, "spec.dlq.maxRetries"),
        (SOURCE, {"grpc": {"endpoint": "no-port"}}, "spec.grpc.endpoint"),
        (TRANSFORM, {"grpc": {}}, "spec.grpc.endpoint"),
        (SINK, {"grpc": {"endpoint": "a:1"}, "weight": 0}, "spec.weight"),
    ],
)
async def test_an_invalid_manifest_is_refused_with_the_field_path(
    sandbox: Sandbox, client: Client, resource: Resource, spec: Object, field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await client.apply(resource, etl(resource, "invalid", spec), field_manager=MANAGER)
    assert f'{resource.kind}.etl.router "invalid" is invalid: ' in str(refused.value)
    assert field in str(refused.value)


async def test_an_image_nobody_has_is_said_in_the_status(sandbox: Sandbox, client: Client) -> None:
    key = ObjectKey("default", "no-image")
    spec = {"replicas": 1, "image": "nobody/has-this:1"}
    await client.apply(CLUSTER, etl(CLUSTER, key.name, spec), field_manager=MANAGER)
    await client.apply(
        SOURCE,
        etl(SOURCE, "on-no-image", {"grpc": {"endpoint": "a:1"}, "clusterRef": {"name": key.name}}),
        field_manager=MANAGER,
    )

    async def waits() -> bool:
        pods = (
            await client.list(POD, namespace="default", label_selector="etl.router/cluster=no-image")
        ).items
        states = [one["state"] for pod in pods for one in pod.get("status", {}).get("containerStatuses", ())]
        return any("nobody/has-this:1" in str(state.get("waiting")) for state in states)

    await eventually(waits, what="the pod waits for its image")

    async def explained() -> bool:
        cluster = ready(await client.get(CLUSTER, key))
        source = ready(await client.get(SOURCE, ObjectKey("default", "on-no-image")))
        return cluster.get("status") == source.get("status") == "False" and bool(source["message"])

    await eventually(explained, what="cluster and source say why they are not Ready")
    assert ready(await client.get(SOURCE, ObjectKey("default", "on-no-image")))["reason"] in (
        "DependencyNotReady",
        "ClusterUnreachable",
    )
    await client.delete(SOURCE, ObjectKey("default", "on-no-image"))
    await client.delete(CLUSTER, key)
    await _no_child_left(client, "no-image")


async def test_a_converged_system_writes_nothing(sandbox: Sandbox, client: Client) -> None:
    for resource, name in (
        (CLUSTER, "my-cluster"),
        (PIPELINE, "user-analytics"),
        (SOURCE, "kafka-users"),
        (SINK, "clickhouse-analytics"),
    ):
        await becomes_ready(client, resource, ObjectKey("default", name))
    # What happened before this test reaches the status with the next looks at the cluster.
    await _four_more_reconciles(sandbox)
    before = await _versions(client)
    await _four_more_reconciles(sandbox)
    assert await _versions(client) == before


async def test_a_deleted_cluster_leaves_no_child_and_no_process(sandbox: Sandbox, client: Client) -> None:
    key = ObjectKey("default", "short-lived")
    await client.apply(CLUSTER, etl(CLUSTER, key.name, {"replicas": 1}), field_manager=MANAGER)
    await becomes_ready(client, CLUSTER, key)
    assert any("short-lived-0" in line for line in sandbox.processes())
    await client.delete(CLUSTER, key)
    await _no_child_left(client, key.name)

    async def no_process() -> bool:
        return not any("short-lived-0" in line for line in sandbox.processes())

    await eventually(no_process, what="its router process is gone")


async def _no_child_left(client: Client, cluster: str) -> None:
    async def none_left() -> bool:
        lists = [
            (
                await client.list(one, namespace="default", label_selector=f"etl.router/cluster={cluster}")
            ).items
            for one in CHILDREN
        ]
        return not any(lists)

    await eventually(none_left, what=f"no child of {cluster} is left")


async def _versions(client: Client) -> dict[tuple[str, str], str]:
    versions = {}
    for resource in (CLUSTER, PIPELINE, SOURCE, TRANSFORM, SINK, *CHILDREN):
        for obj in (await client.list(resource, namespace="default")).items:
            versions[resource.kind, obj["metadata"]["name"]] = obj["metadata"]["resourceVersion"]
    return versions


async def _reconciles(sandbox: Sandbox, controller: str) -> float:
    pattern = rf'controller_runtime_reconcile_total{{controller="{controller}",result="[a-z_]+"}} ([0-9.e+]+)'
    found = re.findall(pattern, await _metrics(sandbox))
    assert found, f"no reconcile of {controller} is counted"
    return sum(float(value) for value in found)


async def _four_more_reconciles(sandbox: Sandbox) -> None:
    polls = await _reconciles(sandbox, "cluster")

    async def worked() -> bool:
        return await _reconciles(sandbox, "cluster") >= polls + 4

    await eventually(worked, what="four more reconciles of the cluster")


async def _metrics(sandbox: Sandbox) -> str:
    address = re.search(r"http://(127\.0\.0\.1):(\d+)/metrics", sandbox.output)
    assert address is not None
    reader, writer = await asyncio.open_connection(address[1], int(address[2]))
    writer.write(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
    answer: Any = await reader.read()
    writer.close()
    await writer.wait_closed()
    return str(answer.decode())
