"""Pipelines and services, seen through the API server and in the routers themselves."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from e2e.running import Sandbox, eventually
from e2e.scene import POD, Scene, condition, metrics, router, scene_in
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE, TRANSFORM
from etl_operator.router.errors import RouterError
from etl_operator.router.pb import router_pb2 as pb
from informers.client import Client

pytestmark = pytest.mark.asyncio(loop_scope="function")

FLOW = {"source": "in", "sink": "out"}


async def stage(scene: Scene, *clusters: str) -> None:
    """Lone routers, a source and a sink, and all of them Ready."""
    for cluster in clusters:
        await scene.cluster(cluster)
    for resource, name in ((SOURCE, "in"), (SINK, "out")):
        await scene.service(resource, name, clusterRef={"name": clusters[0]})
    await asyncio.gather(
        *(scene.ready(CLUSTER, cluster) for cluster in clusters),
        scene.ready(SOURCE, "in"),
        scene.ready(SINK, "out"),
    )


async def in_router(scene: Scene, cluster: str, name: str) -> pb.GetPipelineResponse | None:
    """A pipeline as a cluster's leader has it."""
    async with router(await scene.leader(cluster)) as node:
        return await node.get_pipeline(f"{scene.namespace}/{name}")


async def endpoints(scene: Scene, cluster: str, service: str) -> list[str]:
    """Where a router sends the records of a service. It lists an endpoint once per registration."""
    async with router(await scene.leader(cluster)) as node:
        found = await node.get_service_endpoints(service)
        return sorted({f"{one.endpoint.host}:{one.endpoint.port}" for one in found})


async def test_a_change_of_the_spec_is_one_version(scene: Scene) -> None:
    await stage(scene, "one")
    await scene.service(TRANSFORM, "upper")
    await scene.apply(PIPELINE, "flow", FLOW)
    first = await scene.ready(PIPELINE, "flow")
    assert (first["status"]["version"], first["status"]["phase"]) == (1, "Running")
    await scene.patch(PIPELINE, "flow", {"spec": {"steps": ["upper"]}})
    second = await scene.ready(PIPELINE, "flow")
    assert second["status"]["version"] == 2
    assert [one["name"] for one in second["status"]["stages"]] == ["in", "upper", "out"]
    assert second["status"]["stages"][0]["endpoints"] == ["svc:1"]
    await scene.patch(PIPELINE, "flow", {"spec": {"enabled": False}})
    await scene.says(PIPELINE, "flow", "Disabled", kind="Running", status="False")
    off = await scene.ready(PIPELINE, "flow")
    assert (off["status"]["enabled"], off["status"]["phase"]) == (False, "Disabled")
    await scene.patch(PIPELINE, "flow", {"spec": {"enabled": True}})
    await scene.says(PIPELINE, "flow", "Enabled", kind="Running", status="True")
    # A new spec that cannot be submitted leaves the last good one running.
    await scene.patch(PIPELINE, "flow", {"spec": {"steps": ["upper", "nowhere"]}})
    await scene.says(PIPELINE, "flow", "ReferenceNotFound", "EtlTransform nowhere", status="False")
    held = await in_router(scene, "one", "flow")
    assert held is not None
    assert (held.status.enabled, len(held.config.stages)) == (True, 3)
    assert condition(await scene.get(PIPELINE, "flow"), "Running")["status"] == "True"
    await scene.patch(PIPELINE, "flow", {"spec": {"steps": ["upper"]}})
    await scene.ready(PIPELINE, "flow")
    await scene.still()


async def test_dead_letters_travel_with_the_pipeline(scene: Scene) -> None:
    await stage(scene, "dlq")
    dlq = {"enabled": True, "maxRetries": 7, "sink": "dead"}
    await scene.apply(PIPELINE, "flow", {**FLOW, "dlq": dlq})
    await scene.says(PIPELINE, "flow", "ReferenceNotFound", "EtlSink dead")
    await scene.told("flow", "ReferenceNotFound", "EtlSink dead")
    await scene.service(SINK, "dead")
    await scene.ready(PIPELINE, "flow")
    held = await in_router(scene, "dlq", "flow")
    assert held is not None
    assert held.config.metadata["etl.router/dlq.max-retries"] == "7"
    assert held.config.metadata["etl.router/dlq.sink"] == "dead"
    assert [one.name for one in held.config.stages] == ["in", "out", "dead"]
    assert [(one.from_stage, one.to_stage) for one in held.config.edges] == [("flow-source", "flow-sink")]
    await scene.patch(PIPELINE, "flow", {"spec": {"dlq": {"enabled": False}}})
    await scene.until(PIPELINE, "flow", lambda o: o["status"]["version"] == 2, "the queue is off")
    off = await in_router(scene, "dlq", "flow")
    assert off is not None
    assert not [key for key in off.config.metadata if "dlq" in key]


async def test_what_others_do_at_the_router_is_put_right_and_told(scene: Scene) -> None:
    await stage(scene, "drift")
    for name in ("lost", "changed", "switched"):
        await scene.apply(PIPELINE, name, FLOW)
    await asyncio.gather(*(scene.ready(PIPELINE, name) for name in ("lost", "changed", "switched")))
    async with router(await scene.leader("drift")) as node:
        await node.delete_pipeline(f"{scene.namespace}/lost", force=True)
        ours = await node.get_pipeline(f"{scene.namespace}/changed")
        assert ours is not None
        config = pb.PipelineConfig.FromString(ours.config.SerializeToString())
        del config.stages[1:], config.edges[:]
        config.metadata["etl.router/spec-hash"] = "other"
        await node.update_pipeline(config.id, config)
        await node.disable_pipeline(f"{scene.namespace}/switched")
    # One is found by the check that comes by itself, the others by whatever else makes the operator look.
    for name in ("changed", "switched"):
        await scene.annotate(PIPELINE, name, poke="1")
    for name, what in (("changed", "changed: stages, edges"), ("switched", "disabled"), ("lost", "lost")):
        await scene.told(name, "DriftCorrected", f"the pipeline was {what}")
        held = await in_router(scene, "drift", name)
        assert held is not None
        assert (held.status.enabled, len(held.config.stages)) == (True, 2)
        await scene.ready(PIPELINE, name)


async def test_a_pipeline_of_somebody_else_is_refused_then_adopted(scene: Scene) -> None:
    await stage(scene, "full")
    async with router(await scene.leader("full")) as node:
        source = pb.Stage(
            id="source",
            stage_type=pb.STAGE_TYPE_SOURCE,
            service_selector=pb.ServiceSelector(service_name="theirs"),
        )
        theirs = pb.PipelineConfig(id=f"{scene.namespace}/flow", name="theirs", stages=[source])
        await node.create_pipeline(theirs)
    await scene.apply(PIPELINE, "flow", FLOW)
    await scene.says(PIPELINE, "flow", "NameConflict", "etl.router/adopt", status="False")
    held = await in_router(scene, "full", "flow")
    assert held is not None
    assert held.config.name == "theirs"
    await scene.annotate(PIPELINE, "flow", adopt="true")
    await scene.ready(PIPELINE, "flow")
    await scene.told("flow", "Adopted")
    held = await in_router(scene, "full", "flow")
    assert held is not None
    assert held.config.name == "flow"
    await scene.apply(PIPELINE, "stays", {**FLOW, "deletionPolicy": "Orphan"})
    await scene.ready(PIPELINE, "stays")
    for name in ("flow", "stays"):
        await scene.delete(PIPELINE, name)
        await scene.gone(PIPELINE, name)
    assert await in_router(scene, "full", "flow") is None
    assert await in_router(scene, "full", "stays") is not None


async def test_what_has_no_object_goes_and_what_is_of_others_stays(scene: Scene, sandbox: Sandbox) -> None:
    """As after a finalizer that was taken off by hand: the operator asks the router, not its memory."""
    await stage(scene, "left")
    await scene.apply(PIPELINE, "flow", FLOW)
    await scene.ready(PIPELINE, "flow")
    ours = await in_router(scene, "left", "flow")
    assert ours is not None
    async with router(await scene.leader("left")) as node:
        for name, mine in (("ghost", True), ("theirs", False)):
            config = pb.PipelineConfig.FromString(ours.config.SerializeToString())
            config.id, config.name = f"{scene.namespace}/{name}", name
            if not mine:
                config.metadata.clear()
            await node.create_pipeline(config)
            await node.enable_pipeline(config.id)
    # A member that becomes ready is asked at once; otherwise it takes up to five minutes.
    await scene.delete(POD, "left-0")
    await scene.told("left", "PipelineRemoved", f"{scene.namespace}/ghost", "there is no EtlPipeline")
    assert await in_router(scene, "left", "ghost") is None
    theirs = await in_router(scene, "left", "theirs")
    assert theirs is not None
    assert theirs.status.enabled
    counted = f'etl_router_cluster_unmanaged_pipelines{{name="left",namespace="{scene.namespace}"}} 1.0'

    async def shown() -> bool:
        return counted in await metrics(sandbox)

    await eventually(shown, what=counted)
    await scene.ready(PIPELINE, "flow")


async def test_the_cluster_is_chosen_and_changed(scene: Scene, sandbox: Sandbox, client: Client) -> None:
    await stage(scene, "east", "west")
    await scene.service(TRANSFORM, "lost", "svc:2")
    await scene.says(TRANSFORM, "lost", "AmbiguousCluster", "east, west", "spec.clusterRef.name")
    await scene.patch(TRANSFORM, "lost", {"spec": {"clusterRef": {"name": "west"}}})
    await scene.ready(TRANSFORM, "lost")
    # A pipeline that moves is in one cluster at a time, and that is no drift.
    await scene.apply(PIPELINE, "flow", {**FLOW, "clusterRef": {"name": "east"}})
    await scene.ready(PIPELINE, "flow")
    west = {"spec": {"clusterRef": {"name": "west"}}}
    await scene.patch(PIPELINE, "flow", west)
    await scene.says(PIPELINE, "flow", "DependencyNotReady", "EtlSource in belongs to cluster", "east")
    assert condition(await scene.get(PIPELINE, "flow"), "Running")["status"] == "True"
    await asyncio.gather(scene.patch(SOURCE, "in", west), scene.patch(SINK, "out", west))
    moved = await scene.ready(PIPELINE, "flow")
    assert moved["status"]["cluster"] == f"{scene.namespace}/west"
    assert await in_router(scene, "west", "flow") is not None
    assert await in_router(scene, "east", "flow") is None
    assert "DriftCorrected" not in {one["reason"] for one in await scene.events("flow")}
    await asyncio.gather(scene.ready(SOURCE, "in"), scene.ready(SINK, "out"))
    assert await endpoints(scene, "west", "in") == ["svc:1"]
    assert await endpoints(scene, "east", "in") == []
    async with scene_in(sandbox, client, f"{scene.namespace}-guest") as guest:
        there = {"clusterRef": {"name": "east", "namespace": scene.namespace}}
        await guest.service(SOURCE, "visitor", "far:1", **there)
        await guest.says(SOURCE, "visitor", "CrossNamespaceNotAllowed", "allowedNamespaces")
        await scene.patch(CLUSTER, "east", {"spec": {"allowedNamespaces": [guest.namespace]}})
        await guest.ready(SOURCE, "visitor")
        # Members look names up in their own namespace.
        assert await endpoints(scene, "east", "visitor") == [f"far.{guest.namespace}.svc.cluster.local:1"]


async def test_one_name_is_one_service(scene: Scene) -> None:
    await stage(scene, "flat")
    await asyncio.sleep(1.1)  # Ages have whole seconds.
    await scene.service(TRANSFORM, "in", "other:1")
    await scene.says(TRANSFORM, "in", "NameConflict", "older EtlSource named in", status="False")
    assert await endpoints(scene, "flat", "in") == ["svc:1"]
    await scene.delete(SOURCE, "in")
    await scene.ready(TRANSFORM, "in")
    assert await endpoints(scene, "flat", "in") == ["other:1"]


async def test_a_service_in_use_waits_for_its_pipelines(scene: Scene) -> None:
    await stage(scene, "busy")
    await scene.apply(PIPELINE, "flow", FLOW)
    await scene.ready(PIPELINE, "flow")
    await scene.delete(SOURCE, "in")
    await scene.delete(SINK, "out")
    await scene.says(SOURCE, "in", "InUse", "EtlPipeline flow", kind="DeletionBlocked", status="True")
    await scene.told("in", "DeletionBlocked", "flow")
    assert await endpoints(scene, "busy", "in") == ["svc:1"], "the pipeline goes on"
    await scene.annotate(SINK, "out", force_delete="true")
    await scene.gone(SINK, "out")
    await scene.told("out", "FinalizerForced")
    await scene.says(PIPELINE, "flow", "ReferenceNotFound", "EtlSink out")
    await scene.delete(PIPELINE, "flow")
    await scene.gone(PIPELINE, "flow")
    await scene.gone(SOURCE, "in")
    assert await endpoints(scene, "busy", "in") == []


async def test_a_new_endpoint_and_a_new_router_process(scene: Scene) -> None:
    await stage(scene, "move")
    await scene.patch(SOURCE, "in", {"spec": {"grpc": {"endpoint": "elsewhere:2"}}})

    async def moved() -> bool:
        with suppress(RouterError):
            return await endpoints(scene, "move", "in") == ["elsewhere:2"]
        return False

    await eventually(moved, what="the router knows the new endpoint, and it alone")
    await scene.ready(SOURCE, "in")
    uid = (await scene.get(POD, "move-0"))["metadata"]["uid"]
    await scene.delete(POD, "move-0")
    await scene.until(POD, "move-0", lambda pod: pod["metadata"]["uid"] != uid, "another pod")
    await eventually(moved, what="the new process knows the service as well")
    await scene.ready(SOURCE, "in")


async def test_health_counts_only_where_it_was_asked_for(scene: Scene) -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    servicer = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    await server.start()
    try:
        await scene.cluster("well")
        every_second = {"enabled": True, "intervalSeconds": 1}
        await scene.service(SOURCE, "asked", f"127.0.0.1:{port}", healthCheck=every_second)
        await scene.service(SOURCE, "unasked", f"127.0.0.1:{port}")
        await asyncio.gather(scene.ready(SOURCE, "asked"), scene.ready(SOURCE, "unasked"))
        await servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        await scene.says(SOURCE, "asked", "ProbeFailed", "NOT_SERVING", status="False")
        assert condition(await scene.get(SOURCE, "asked"), "Registered")["status"] == "True"
        assert condition(await scene.get(SOURCE, "unasked"))["status"] == "True"
        await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
        healthy = await scene.ready(SOURCE, "asked")
        assert healthy["status"]["health"] == "Healthy"
    finally:
        await server.stop(None)
    await scene.says(SOURCE, "asked", "ProbeFailed", "cannot connect", status="False")
