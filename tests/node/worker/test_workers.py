"""Worker processes of a node: what ends, what goes on, and what is the same as without them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2
from prometheus_client.parser import text_string_to_metric_families

from etl_operator.router.pb import (
    checkpoint_pb2,
    common_pb2,
    registry_pb2,
    router_pb2,
)
from tests.hanging import HANGS
from tests.node.cluster import METRICS, RouterProcess, pipeline, running
from tests.node.data.made import batch, line
from tests.node.data.processes import accepted, disable, know, run
from tests.node.data.services import FakeSink, Source
from tests.processes import GRPC, until

ACCEPTED, DUPLICATE = 1, 2
OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]


async def samples(node: RouterProcess, name: str) -> dict[tuple[str, ...], float]:
    """The series of a name, by the values of their labels."""
    _, text = await node.get("/metrics", METRICS)
    return {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


async def ready(node: RouterProcess) -> bool:
    return (await node.get("/ready"))[0] == 200


def lives(pid: int) -> bool:
    """A process runs; what has ended and was not waited for does not."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def pushed(node: RouterProcess, sequences: Any) -> list[int]:
    """Push one batch on new streams until it has an answer."""
    answers: list[list[int]] = []

    async def taken() -> bool:
        source = Source(node.channel)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await source.push(batch(sequences))
            while (answer := await source.read()) is not None:
                if answer.HasField("ack"):
                    answers.append([each.status for each in answer.ack.record_acks])
                    break
        source.call.cancel()
        return bool(answers)

    await until(taken, node.logs)
    return answers[0]


async def test_a_worker_that_is_killed_is_replaced_and_no_record_is_lost(
    tmp_path: Path, sink: FakeSink
) -> None:
    async with running(tmp_path, 3) as cluster:
        node = await cluster.leader()
        await know(node, sink)
        await run(node, line())
        await accepted(node, [1])
        before = await node.status()
        assert before is not None

        async def load() -> None:
            for number in range(1, 61):
                await pushed(node, range(10 * number, 10 * number + 10))

        loading = asyncio.create_task(load())
        killed = set()
        for reached in (100, 250, 400):
            await until(lambda reached=reached: len(sink.counted()) > reached, node.logs)  # type: ignore[misc]
            [pid] = node.workers()
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
            await until(lambda: bool(set(node.workers()) - killed), node.logs)
        await loading
        assert set(sink.sequences) == {1, *range(10, 610)}
        # At most the one batch that was not answered comes again.
        assert len(sink.sequences) <= 601 + 10 * len(killed)
        await until(lambda: ready(node), node.logs)
        after = await node.status()
        assert after is not None
        assert (after.term, after.leader_id) == (before.term, before.leader_id)
        assert await samples(node, "etl_router_worker_restarts_total") == {("0",): len(killed)}
        assert node.logs().count("was killed by SIGKILL") == len(killed)


async def test_no_worker_outlives_its_control_process(tmp_path: Path) -> None:
    async with running(tmp_path, 1, flags=["--data-workers=2"]) as cluster:
        node = await cluster.leader()
        await until(lambda: len(node.workers()) == 2, node.logs)
        workers = node.workers()
        # One that is busy, or stopped, and reads nothing.
        os.kill(workers[0], signal.SIGSTOP)
        node.kill()
        await until(lambda: not any(lives(pid) for pid in workers), node.logs)
        node.start([1])
        await cluster.leader()


async def test_sigterm_waits_for_records_of_workers(tmp_path: Path, sink: FakeSink) -> None:
    async with running(tmp_path, 1) as cluster:
        node = await cluster.leader()
        await know(node, sink)
        await run(node, line())
        source = await accepted(node, [1])
        sink.held = asyncio.Event()
        await source.push(batch([2, 3]))
        await until(lambda: sink.calls == 2, node.logs)
        workers = node.workers()
        assert node.process is not None
        node.process.send_signal(signal.SIGTERM)

        async def leaving() -> bool:
            status, body = await node.get("/ready")
            return status == 503 and "shutting down" in body

        await until(leaving, node.logs)
        assert (await node.get("/health"))[0] == 200
        sink.held.set()
        assert {each.status for each in (await source.ack()).record_acks} == {ACCEPTED}
        assert (await source.end())[0] is grpc.StatusCode.UNAVAILABLE
        assert await node.exit_code() == 0
        assert not any(lives(pid) for pid in workers)
        assert sink.sequences == [1, 2, 3]
        # What was done last is committed: the node knows after its return.
        sink.held = None
        node.start([1])
        await cluster.leader()
        request = checkpoint_pb2.GetGroupOffsetsRequest(group_id="ns/p")
        found = await call(node, "checkpoint.CheckpointService/GetGroupOffsets", request)
        answer = checkpoint_pb2.GetGroupOffsetsResponse.FromString(found[2][0])
        assert [dict(each.offsets) for each in answer.source_offsets.values()] == [{0: 3}]


async def test_a_node_without_a_worker_is_a_member_and_not_ready(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as cluster:
        node = await cluster.leader()
        with socket.socket() as squatter:
            squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

            def squats() -> bool:
                """Kill the worker, and take its port before the next one does."""
                for pid in node.workers():
                    os.kill(pid, signal.SIGKILL)
                try:
                    squatter.bind((node.ip, GRPC))
                    squatter.listen()
                except OSError:
                    return False
                return True

            await until(squats, node.logs)

            async def refused() -> bool:
                status, body = await node.get("/ready")
                return status == 503 and "no data worker serves" in body

            await until(refused, node.logs)
            await until(lambda: "cannot listen on" in node.logs(), node.logs)
            assert (await node.get("/health"))[0] == 200
            assert await samples(node, "etl_router_raft_is_leader") == {(): 1.0}
            assert await samples(node, "etl_router_worker_serving") == {("0",): 0.0}
        await until(lambda: ready(node), node.logs)
        assert await node.terminate() == 0


async def test_a_port_that_another_program_has_is_refused_at_the_start(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as cluster:
        node = await cluster.leader()
        # Both would listen with SO_REUSEPORT.
        command = [part.replace("--node-id=1", "--node-id=2") for part in node.command()]
        free = f"{cluster.network}.9"
        command = [
            part if part.startswith("--listen-addr") else part.replace(f"{node.ip}:", f"{free}:")
            for part in command
        ]
        second = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await second.communicate()
        assert second.returncode == 1
        assert f"cannot listen on {node.ip}:{GRPC} for gRPC" in output.decode()


async def call(
    node: RouterProcess, method: str, request: Any = b"", within: float = HANGS, prefix: str = "etl."
) -> tuple[grpc.StatusCode, str, list[bytes]]:
    """Status, details and messages of a call, on bytes."""
    raw = request if isinstance(request, bytes) else request.SerializeToString()
    made: Any = node.channel.unary_stream(f"/{prefix}{method}")(raw, timeout=within)  # type: ignore[call-arg]
    answers: list[bytes] = []
    with contextlib.suppress(grpc.aio.AioRpcError):
        async for answer in made:
            answers.append(answer)  # noqa: PERF401 - what came before an error counts
    return await made.code(), await made.details(), answers


CALLS: list[tuple[str, Any]] = [
    ("router.RouterAdmin/ListPipelines", router_pb2.ListPipelinesRequest()),
    ("router.RouterAdmin/CreatePipeline", router_pb2.CreatePipelineRequest()),
    (
        "router.RouterAdmin/CreatePipeline",
        router_pb2.CreatePipelineRequest(
            config=pipeline("ns/p", edges=[router_pb2.Edge(from_stage="nobody", to_stage="nothing")])
        ),
    ),
    ("router.RouterAdmin/CreatePipeline", router_pb2.CreatePipelineRequest(config=pipeline("ns/p"))),
    ("router.RouterAdmin/UpdatePipeline", router_pb2.UpdatePipelineRequest(config=pipeline("ns/p"))),
    ("router.RouterAdmin/GetPipeline", router_pb2.GetPipelineRequest(pipeline_id="none")),
    ("router.RouterAdmin/GetMetrics", router_pb2.GetMetricsRequest(metric_names=["pipelines"])),
    ("router.RouterAdmin/GetMetrics", b"\xff\xff\xff"),
    ("router.RouterAdmin/Nothing", b""),
    ("Nobody/Nothing", b""),
    ("registry.ServiceRegistry/Register", registry_pb2.RegisterRequest()),
    ("registry.ServiceRegistry/ListServices", registry_pb2.ListServicesRequest()),
    ("checkpoint.CheckpointService/CommitOffset", checkpoint_pb2.CommitOffsetRequest()),
    ("checkpoint.CheckpointService/GetSourceOffset", checkpoint_pb2.GetOffsetRequest(source_id="s")),
    ("router.RouterAdmin/ListPipelines", b"\x7a" + b"\xff\xff\xff\x27" + b"x" * (80 * 2**20)),
]


async def test_control_calls_through_a_worker_are_as_without_one(tmp_path: Path) -> None:
    answers = []
    for workers in (0, 1):
        directory = tmp_path / str(workers)
        directory.mkdir()
        async with running(directory, 1, flags=[f"--data-workers={workers}"]) as cluster:
            node = await cluster.leader()
            assert bool(node.workers()) is bool(workers)
            found = [await call(node, method, request) for method, request in CALLS]
            health = "grpc.health.v1.Health/"
            for service in ("", "unknown"):
                request = health_pb2.HealthCheckRequest(service=service)
                found.append(await call(node, health + "Check", request, prefix=""))
            # These never end by themselves.
            waits = [
                await call(node, "registry.ServiceRegistry/WatchServices", within=0.5),
                await call(node, health + "Watch", within=2, prefix=""),
            ]
            assert [code for code, _, _ in waits] == [grpc.StatusCode.DEADLINE_EXCEEDED] * 2
            answers.append(found)
    assert answers[1] == answers[0]
    codes = {code for code, _, _ in answers[0]}
    assert {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    } <= codes


async def test_heartbeats_are_answered_one_by_one_through_a_worker(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as cluster:
        node = await cluster.leader()
        request = registry_pb2.RegisterRequest(
            identity=common_pb2.ServiceIdentity(service_id="ns/s", service_type=3, name="s"),  # type: ignore[arg-type]
            endpoint=common_pb2.Endpoint(host="127.0.0.1", port=1),
            heartbeat_interval=Duration(seconds=10),
        )
        assert (await node.registry.Register(request, timeout=HANGS)).success
        streams = [node.registry.Heartbeat() for _ in range(3)]
        for stream in streams * 2:
            for service_id, known in (("ns/s", True), ("ns/none", False)):
                await stream.write(registry_pb2.HeartbeatRequest(service_id=service_id))
                assert (await stream.read()).acknowledged is known
        for stream in streams:
            await stream.done_writing()
            assert await stream.read() is grpc.aio.EOF  # type: ignore[attr-defined]
            assert await stream.code() is grpc.StatusCode.OK


async def test_two_workers_report_as_one_node(tmp_path: Path) -> None:
    sink = FakeSink()
    await sink.start()
    channels = []
    try:
        async with running(tmp_path, 1, flags=["--data-workers=2"]) as cluster:
            node = await cluster.leader()

            async def both_serve() -> bool:
                return await samples(node, "etl_router_worker_serving") == {("0",): 1.0, ("1",): 1.0}

            await until(both_serve, node.logs)
            await know(node, sink)
            await run(node, line())
            await accepted(node, [1])
            sink.held = asyncio.Event()
            # The kernel spreads connections: with so many, each worker gets some.
            sources = []
            for number in range(24):
                channel = grpc.aio.insecure_channel(f"{node.ip}:{GRPC}", options=OPTIONS)
                channels.append(channel)
                sources.append(Source(channel))
                await sources[-1].push(batch([10 + number], partition=number))

            async def all_taken() -> bool:
                pending = await samples(node, "etl_router_pipeline_pending_records")
                return pending == {("ns/p",): 24.0}

            await until(all_taken, node.logs)
            # Nothing new is taken, and the answer counts what either of them holds.
            assert await disable(node, "ns/p", drain=True) == 24
            sink.held.set()
            for source in sources:
                assert [each.status for each in (await source.ack()).record_acks] == [ACCEPTED]

            async def drained() -> bool:
                return await disable(node, "ns/p", drain=True) == 0

            await until(drained, node.logs)
            assert sorted(sink.sequences) == [1, *range(10, 34)]
            request = router_pb2.GetPipelineRequest(pipeline_id="ns/p")

            async def counted() -> bool:
                found = await node.admin.GetPipeline(request, timeout=HANGS)
                return bool(found.status.stage_statuses["out"].records_processed == 25)

            await until(counted, node.logs)
            offsets = checkpoint_pb2.GetGroupOffsetsRequest(group_id="ns/p")

            async def committed() -> bool:
                found = await call(node, "checkpoint.CheckpointService/GetGroupOffsets", offsets)
                answer = checkpoint_pb2.GetGroupOffsetsResponse.FromString(found[2][0])
                partitions = [dict(each.offsets) for each in answer.source_offsets.values()]
                return partitions == [{number: 10 + number for number in range(24)}]

            await until(committed, node.logs)
            # Counters of a worker that ends are kept.
            for pid in node.workers():
                os.kill(pid, signal.SIGKILL)

            async def both_again() -> bool:
                restarts = await samples(node, "etl_router_worker_restarts_total")
                return restarts == {("0",): 1.0, ("1",): 1.0} and await both_serve()

            await until(both_again, node.logs)
            records = await samples(node, "etl_router_stage_records_total")
            assert records["ns/p", "out"] == 25.0
            cpu = await samples(node, "etl_router_worker_cpu_seconds_total")
            memory = await samples(node, "etl_router_worker_resident_memory_bytes")
            assert cpu.keys() == memory.keys() == {("0",), ("1",)}
            assert min(cpu.values()) > 0
            assert min(memory.values()) > 2**20
    finally:
        for channel in channels:
            await channel.close(None)
        await sink.stop()


async def test_a_worker_that_does_not_answer_is_not_taken_for_drained(tmp_path: Path) -> None:
    async with running(tmp_path, 3) as cluster:
        leader = await cluster.leader()
        other = next(node for node in cluster.nodes.values() if node is not leader)
        await run(leader, line())
        [pid] = other.workers()
        os.kill(pid, signal.SIGSTOP)
        try:
            # It may still take records: nobody knows.
            assert await disable(leader, "ns/p", drain=True) >= 1
        finally:
            os.kill(pid, signal.SIGCONT)

        async def drained() -> bool:
            return await disable(leader, "ns/p", drain=True) == 0

        await until(drained, cluster.logs)
