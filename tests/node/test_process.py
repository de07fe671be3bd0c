from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from etl_operator.router.pb import common_pb2, registry_pb2, registry_pb2_grpc, router_pb2, router_pb2_grpc
from tests.hanging import HANGS
from tests.node.cluster import METRICS, RouterCluster, RouterProcess, pipeline, running, writing
from tests.processes import GRPC, until

ADMIN_ANSWERS = [
    ("UpdatePipeline", router_pb2.UpdatePipelineRequest(pipeline_id="ns/p", config=pipeline("ns/p"))),
    ("EnablePipeline", router_pb2.EnablePipelineRequest(pipeline_id="ns/p")),
    ("DisablePipeline", router_pb2.DisablePipelineRequest(pipeline_id="ns/p", drain=True)),
    ("DeletePipeline", router_pb2.DeletePipelineRequest(pipeline_id="ns/p")),
]


async def create(node: RouterProcess, name: str) -> None:
    request = router_pb2.CreatePipelineRequest(config=pipeline(name, enabled=True))
    answer = await node.admin.CreatePipeline(request, timeout=HANGS)
    assert (answer.success, answer.pipeline_id, answer.error) == (True, name, "")


async def names(node: RouterProcess) -> set[str]:
    answer = await node.admin.ListPipelines(
        router_pb2.ListPipelinesRequest(include_disabled=True), timeout=10
    )
    return {config.id for config in answer.pipelines}


async def get(node: RouterProcess, name: str) -> router_pb2.GetPipelineResponse:
    request = router_pb2.GetPipelineRequest(pipeline_id=name)
    answer: router_pb2.GetPipelineResponse = await node.admin.GetPipeline(request, timeout=HANGS)
    return answer


async def test_a_lone_node_serves_the_pipelines_whole_life(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as cluster:
        node = await cluster.leader()
        assert not (await get(node, "ns/p")).found

        await create(node, "ns/p")
        created = await get(node, "ns/p")
        assert created.found
        assert (created.status.enabled, created.status.version, created.config.enabled) == (False, 1, False)
        assert created.config.stages == pipeline("ns/p").stages
        assert list(created.status.stage_statuses) == ["ns/p-source"]
        assert created.status.created_at.seconds > 0

        for _, request in ADMIN_ANSWERS[:2]:
            await getattr(node.admin, type(request).__name__.removesuffix("Request"))(request)
        updated = await node.admin.UpdatePipeline(ADMIN_ANSWERS[0][1])
        assert (updated.success, updated.version) == (True, 3)
        assert (await get(node, "ns/p")).status.enabled

        listing = await node.admin.ListPipelines(router_pb2.ListPipelinesRequest())
        assert [(config.id, config.enabled) for config in listing.pipelines] == [("ns/p", True)]
        await node.admin.DisablePipeline(ADMIN_ANSWERS[2][1])
        assert not (await node.admin.ListPipelines(router_pb2.ListPipelinesRequest())).pipelines

        await create(node, "ns/p")  # Overwrites.
        assert (await get(node, "ns/p")).status.version == 1
        assert (await node.admin.DeletePipeline(ADMIN_ANSWERS[3][1])).success
        assert not (await get(node, "ns/p")).found
        for method, request in ADMIN_ANSWERS:  # All of them succeed on what is not there.
            assert (await getattr(node.admin, method)(request)).success

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await node.admin.CreatePipeline(router_pb2.CreatePipelineRequest())
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        figures = await node.admin.GetMetrics(router_pb2.GetMetricsRequest(metric_names=["pipelines"]))
        assert dict(figures.metrics) == {"pipelines": 0.0}


async def test_what_cannot_run_is_refused_with_its_field_and_not_stored(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as cluster:
        node = await cluster.leader()
        await create(node, "ns/p")
        bad = pipeline("ns/p")
        bad.edges.add(from_stage="ns/p-source", to_stage="nowhere")
        for call, request in (
            (node.admin.CreatePipeline, router_pb2.CreatePipelineRequest(config=bad)),
            (node.admin.UpdatePipeline, router_pb2.UpdatePipelineRequest(pipeline_id="ns/p", config=bad)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(request)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert caught.value.details() == "config.edges[0].to_stage: stage 'nowhere' not found"
        held = await get(node, "ns/p")
        assert (list(held.config.edges), held.status.version) == ([], 1)


async def test_pages_probes_and_a_clean_end(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as cluster:
        node = await cluster.leader()
        assert await node.get("/health") == (
            200,
            '{"status":"ok","node_id":1,"is_leader":true,"leader_id":1}',
        )
        assert (await node.get("/graphql"))[0] == 404
        await node.status()
        code, text = await node.get("/metrics", METRICS)
        assert code == 200
        values = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert values["etl_router_raft_is_leader",] == 1
        assert values["etl_router_grpc_calls_total", "RouterAdmin/GetClusterStatus"] >= 1
        assert values["process_resident_memory_bytes",] > 0
        health = health_pb2_grpc.HealthStub(node.channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
        assert await node.terminate() == 0
        assert "Traceback" not in node.logs()


async def test_three_nodes_agree_and_followers_refuse_writes(tmp_path: Path) -> None:
    async with running(tmp_path, 3) as cluster:
        leader = await cluster.leader()
        follower = next(node for node in cluster.nodes.values() if node is not leader)
        await create(leader, "ns/p")

        async def healthy() -> bool:
            answer = await follower.status()
            return answer is not None and answer.health == router_pb2.CLUSTER_HEALTH_HEALTHY

        await until(healthy, cluster.logs)
        status = await leader.status()
        assert status is not None
        assert [(n.node_id, n.address, n.healthy) for n in status.nodes] == [
            (i, f"{cluster.network}.{i}:50052", True) for i in (1, 2, 3)
        ]
        roles = [n.role for n in status.nodes]
        assert roles.count(router_pb2.NODE_ROLE_LEADER) == 1
        assert status.nodes[leader.node_id - 1].role == router_pb2.NODE_ROLE_LEADER
        assert status.term >= 1
        assert status.commit_index == status.applied_index >= 2
        assert all(n.match_index and n.last_contact.seconds for n in status.nodes)

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await create(follower, "ns/q")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert caught.value.details() == "not the leader, retry on another node"

        async def arrived() -> bool:
            return await names(follower) == {"ns/p"}

        await until(arrived, cluster.logs)


async def test_no_acknowledged_write_is_lost_when_the_leader_is_killed(tmp_path: Path) -> None:
    async with running(tmp_path, 3) as cluster:
        leader = await cluster.leader()
        before = await leader.status()
        async with writing(cluster) as acknowledged:
            await until(lambda: len(acknowledged) > 50, cluster.logs)
            leader.kill()
            successor = await cluster.leader([n for n in cluster.nodes if n != leader.node_id])
            at_change = len(acknowledged)
            await until(lambda: len(acknowledged) > at_change + 50, cluster.logs)
            leader.start(cluster.nodes)
            await cluster.leader()
        after = await successor.status()
        assert before is not None
        assert after is not None
        assert after.term > before.term
        await everywhere(cluster, acknowledged)


async def everywhere(cluster: RouterCluster, expected: set[str]) -> None:
    """Wait until every node has all of these."""
    for node in cluster.nodes.values():

        async def complete(node: RouterProcess = node) -> bool:
            return expected <= await names(node)

        await until(complete, cluster.logs)


async def test_everything_survives_when_all_nodes_are_killed(tmp_path: Path) -> None:
    # Snapshots every few entries, so that the restart needs both snapshot and journal.
    env = {"ETL_ROUTER__CLUSTER__SNAPSHOT_INTERVAL": "10"}
    async with running(tmp_path, 3, env=env) as cluster:
        leader = await cluster.leader()
        expected = {f"ns/{number}" for number in range(37)}
        for name in sorted(expected):
            await create(leader, name)
        await leader.admin.EnablePipeline(router_pb2.EnablePipelineRequest(pipeline_id="ns/7"))
        for node in cluster.nodes.values():
            node.kill()
        cluster.start([1, 2, 3])
        leader = await cluster.leader()
        assert await names(leader) == expected
        assert (await get(leader, "ns/7")).status.enabled
        assert "snapshot written" in cluster.logs()


async def test_a_cluster_grows_and_shrinks_one_member_at_a_time_without_losing_anything(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, 1) as cluster:
        await cluster.leader()
        async with writing(cluster) as acknowledged:
            for size in (2, 3, 4):
                cluster.node(size).start(range(1, size + 1))
                await restart_one_after_the_other(cluster, old=size - 1, new=size)
                at_size = len(acknowledged)
                await until(lambda so_far=at_size: len(acknowledged) > so_far + 5, cluster.logs)  # type: ignore[misc]
            await everywhere(cluster, set(acknowledged))
            status = await cluster.node(4).status()
            assert status is not None
            assert [node.node_id for node in status.nodes] == [1, 2, 3, 4]

            leaving = cluster.nodes.pop(4)
            leaving.kill()
            await restart_one_after_the_other(cluster, old=3, new=3)
            at_size = len(acknowledged)
            await until(lambda: len(acknowledged) > at_size + 5, cluster.logs)
        await leaving.close()  # A writer may have had a call on its channel.
        await everywhere(cluster, acknowledged)


async def restart_one_after_the_other(cluster: RouterCluster, *, old: int, new: int) -> None:
    """What the operator does after a change: members 1 to ``old`` learn that there are ``new``."""
    for node_id in range(1, old + 1):
        node = cluster.node(node_id)
        assert await node.terminate() == 0
        node.start(range(1, new + 1))
        await until(lambda node=node: _answers(node), cluster.logs)  # type: ignore[misc]
    await cluster.leader()


async def _answers(node: RouterProcess) -> bool:
    """Over HTTP, and over gRPC, which begins later."""
    if (await node.get("/health"))[0] != 200:
        return False
    async with asyncio.timeout(HANGS):
        await node.channel.channel_ready()
    return True


async def test_health_follows_the_members(tmp_path: Path) -> None:
    async with running(tmp_path, 3) as cluster:
        leader = await cluster.leader()
        others = [node for node in cluster.nodes.values() if node is not leader]

        def health_is(wanted: router_pb2.ClusterHealth, health_code: int) -> object:
            async def check() -> bool:
                status = await leader.status()
                ready, _ = await leader.get("/ready")
                return status is not None and status.health == wanted and ready == health_code

            return check

        await until(health_is(router_pb2.CLUSTER_HEALTH_HEALTHY, 200), cluster.logs)  # type: ignore[arg-type]
        others[0].kill()
        await until(health_is(router_pb2.CLUSTER_HEALTH_DEGRADED, 200), cluster.logs)  # type: ignore[arg-type]
        others[1].kill()
        await until(health_is(router_pb2.CLUSTER_HEALTH_UNHEALTHY, 503), cluster.logs)  # type: ignore[arg-type]
        assert (await leader.get("/health"))[0] == 200
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await create(leader, "ns/p")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_sigterm_hands_leadership_over_and_ends_in_peace(tmp_path: Path) -> None:
    async with running(tmp_path, 3) as cluster:
        leader = await cluster.leader()
        assert await leader.terminate() == 0
        others = [node for node in cluster.nodes if node != leader.node_id]
        successor = await cluster.leader(others)
        await create(successor, "ns/p")
        assert "no other node took over" not in leader.logs()
        assert "Traceback" not in cluster.logs()


async def test_sigusr1_moves_leadership_and_nothing_else(tmp_path: Path) -> None:
    async with running(tmp_path, 3) as cluster:
        leader = await cluster.leader()
        assert leader.process is not None
        leader.process.send_signal(signal.SIGUSR1)

        async def moved() -> bool:
            return await cluster.leader() is not leader

        await until(moved, cluster.logs)
        assert leader.process.poll() is None


async def test_the_registry_on_the_wire(tmp_path: Path) -> None:
    async with running(tmp_path, 1, flags=["--lease-seconds=2.5"]) as cluster:
        node = await cluster.leader()
        identity = common_pb2.ServiceIdentity(
            service_id="ns/a", service_type=common_pb2.SERVICE_TYPE_SINK, name="a"
        )
        endpoint = common_pb2.Endpoint(host="a-svc", port=50051, use_tls=True)
        answer = await node.registry.Register(
            registry_pb2.RegisterRequest(
                identity=identity, endpoint=endpoint, metadata=registry_pb2.ServiceMetadata(labels={"k": "v"})
            )
        )
        assert (answer.success, answer.registration_id, answer.initial_credits) == (True, "ns/a", 10_000)
        assert answer.lease_ttl == Duration(seconds=2, nanos=500_000_000)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await node.registry.Register(registry_pb2.RegisterRequest(identity=identity))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details() == "endpoint: required field is missing"

        beats = node.registry.Heartbeat()
        for service, known in (("ns/a", True), ("ns/b", False), ("ns/a", True)):
            await beats.write(registry_pb2.HeartbeatRequest(service_id=service))
            beat = await beats.read()
            assert (beat.acknowledged, beat.HasField("next_heartbeat_deadline")) == (known, known)
        await beats.done_writing()

        listed = (await node.registry.ListServices(registry_pb2.ListServicesRequest())).services
        assert [(s.identity.service_id, s.endpoint.port, s.endpoint.use_tls) for s in listed] == [
            ("ns/a", 50051, False)
        ]
        assert dict(listed[0].metadata.labels) == {"k": "v"}
        request = registry_pb2.GetServiceEndpointsRequest(service_name="a")
        found = (await node.registry.GetServiceEndpoints(request)).endpoints
        assert [(e.service_id, e.endpoint.host, e.weight) for e in found] == [("ns/a", "a-svc", 100)]
        await node.registry.Deregister(registry_pb2.DeregisterRequest(service_id="ns/a"))
        assert not (await node.registry.ListServices(registry_pb2.ListServicesRequest())).services
        assert (await node.registry.JoinGroup(registry_pb2.JoinGroupRequest())).generation == 1


async def test_an_open_heartbeat_stream_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as cluster:
        node = await cluster.leader()
        beats = node.registry.Heartbeat()
        await beats.write(registry_pb2.HeartbeatRequest(service_id="ns/a"))
        assert not (await beats.read()).acknowledged
        assert await node.terminate() == 0


async def test_faithful_to_published_routers_on_request(tmp_path: Path) -> None:
    flags = ["--upstream-faithful", "--package-prefix=conveyor"]
    async with running(tmp_path, 1, flags=flags) as cluster:
        node = cluster.node(1)

        async def up() -> bool:
            return (await node.get("/ready"))[0] == 200

        await until(up, cluster.logs)
        for call in (
            node.admin.GetClusterStatus(router_pb2.GetClusterStatusRequest()),
            node.registry.ListServices(registry_pb2.ListServicesRequest()),
            health_pb2_grpc.HealthStub(node.channel).Check(health_pb2.HealthCheckRequest()),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        method = node.channel.unary_unary(
            "/conveyor.registry.ServiceRegistry/ListServices",
            request_serializer=registry_pb2.ListServicesRequest.SerializeToString,
            response_deserializer=registry_pb2.ListServicesResponse.FromString,
        )
        assert not (await method(registry_pb2.ListServicesRequest())).services


@pytest.mark.parametrize("style", ["internal", "response"])
async def test_other_ways_a_follower_refuses(tmp_path: Path, style: str) -> None:
    # Node 2 of two, alone: it never leads.
    cluster = RouterCluster(tmp_path, env={"ETL_ROUTER__NODE__FOLLOWER_ANSWER": style})
    node = cluster.node(2)
    try:
        node.start([1, 2])
        await until(lambda: _answers(node), cluster.logs)
        request = router_pb2.CreatePipelineRequest(config=pipeline("ns/p"))
        if style == "response":
            answer = await node.admin.CreatePipeline(request)
            assert (answer.success, answer.pipeline_id, answer.error) == (False, "", "Not the leader")
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await node.admin.CreatePipeline(request)
            assert caught.value.code() is grpc.StatusCode.INTERNAL
            assert caught.value.details() == "Not the leader"
    finally:
        await node.close()


async def test_strict_ids_and_late_answers(tmp_path: Path) -> None:
    flags = ["--strict-ids", "--answer-delay-ms=50", "--drop-heartbeats"]
    async with running(tmp_path, 1, flags=flags) as cluster:
        node = await cluster.leader()
        for method, request in ADMIN_ANSWERS:
            answer = await getattr(node.admin, method)(request)
            assert (answer.success, answer.error) == (False, "pipeline not found: ns/p")
        await create(node, "ns/p")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await node.admin.GetClusterStatus(router_pb2.GetClusterStatusRequest(), timeout=0.02)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        beats = node.registry.Heartbeat(timeout=0.3)
        await beats.write(registry_pb2.HeartbeatRequest(service_id="ns/a"))
        with pytest.raises(grpc.aio.AioRpcError):
            await beats.read()


@pytest.mark.parametrize("port", ["gRPC", "Raft", "HTTP", "metrics"])
async def test_an_occupied_port_is_named(tmp_path: Path, port: str) -> None:
    cluster = RouterCluster(tmp_path)
    node = cluster.node(1)
    number = {"gRPC": GRPC, "Raft": 50052, "HTTP": 8080, "metrics": METRICS}[port]
    with socket.create_server((node.ip, number)):
        node.start([1])
        assert await node.exit_code() == 1
    text = node.logs()
    assert f"cannot listen on {node.ip}:{number} for {port}" in text
    assert "Traceback" not in text


async def test_a_second_process_on_the_same_data_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as cluster:
        await cluster.leader()
        other = RouterCluster(tmp_path)
        node = other.node(1)
        node.start([1])
        assert await node.exit_code() == 1
        assert "in use by another process" in node.logs()


async def test_a_full_disk_fails_writes_loses_nothing_and_heals(tmp_path: Path) -> None:
    # Blocks of half a kilobyte, or of a whole one in some shells.
    small_files = ("sh", "-c", 'ulimit -S -f 128 && exec "$@"', "sh")
    cluster = RouterCluster(tmp_path, launcher=small_files)
    node = cluster.node(1)
    node.log = Path("/dev/null")
    try:
        node.start([1])
        await cluster.leader()
        acknowledged: list[str] = []
        refused: grpc.StatusCode | None = None
        while refused is None:
            name = f"ns/{len(acknowledged)}"
            config = pipeline(name, description="x" * 4000)
            try:
                await node.admin.CreatePipeline(router_pb2.CreatePipelineRequest(config=config))
                acknowledged.append(name)
            except grpc.aio.AioRpcError as error:
                refused = error.code()
                assert "cannot write" in (error.details() or "")
        assert refused is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(acknowledged) > 5
        assert await names(node) == set(acknowledged)  # Still serves reads.
        node.kill()
        cluster.launcher = ()
        node.start([1])
        assert await names(await cluster.leader()) == set(acknowledged)
        await create(node, "ns/there-is-room-again")
    finally:
        await node.close()


async def test_a_damaged_journal_stops_the_start_with_an_explanation(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as cluster:
        node = await cluster.leader()
        for number in range(5):
            await create(node, f"ns/{number}")
        node.kill()
        file = tmp_path / "data" / "raft-1" / "journal"
        data = bytearray(file.read_bytes())
        data[60] ^= 1
        file.write_bytes(data)
        node.start([1])
        assert await node.exit_code() == 1
        assert "Error:" in node.logs()
        assert "is damaged at byte" in node.logs()


def test_generated_stubs_name_what_the_node_serves() -> None:
    """The node builds its handlers from descriptors; the generated servicers must list the same methods."""
    for servicer, module, name in (
        (router_pb2_grpc.RouterAdminServicer, router_pb2, "RouterAdmin"),
        (registry_pb2_grpc.ServiceRegistryServicer, registry_pb2, "ServiceRegistry"),
    ):
        methods = {method.name for method in module.DESCRIPTOR.services_by_name[name].methods}
        assert methods == {attribute for attribute in vars(servicer) if not attribute.startswith("_")}
