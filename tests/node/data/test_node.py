"""The data plane in real node processes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import grpc
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf.duration_pb2 import Duration

from etl_operator.router.pb import registry_pb2, router_pb2
from tests.hanging import HANGS
from tests.node.cluster import CONFIG, METRICS, RouterCluster, RouterProcess, running
from tests.node.data.made import batch, line
from tests.node.data.processes import accepted, disable, flowing, know, run
from tests.node.data.services import FakeSink, FakeTransform, Source, listening
from tests.processes import until

ACCEPTED = 1


async def test_records_go_through_any_node(tmp_path: Path, sink: FakeSink) -> None:
    async with listening(FakeTransform("t")) as transform, running(tmp_path, 3) as cluster:
        leader = await cluster.leader()
        await run(leader, line(transforms=["t"]))
        for number, node in enumerate(cluster.nodes.values()):
            await know(node, sink, transform)
            await accepted(node, range(100 * number + 1, 100 * number + 101))
        assert sorted(sink.sequences) == list(range(1, 301))
        assert sink.records[0].payload.isupper()
        _, text = await leader.get("/metrics", METRICS)
        assert 'method="SourceRouter/PushRecords"' in text


async def test_messages_have_the_configured_size(tmp_path: Path, sink: FakeSink) -> None:
    config = {**CONFIG, "grpc": {**CONFIG["grpc"], "max_message_size": 6 * 2**20}}  # type: ignore[dict-item]
    cluster = RouterCluster(tmp_path)
    cluster.config_file.write_text(yaml.safe_dump(config))
    try:
        cluster.start([1])
        node = await cluster.leader()
        await know(node, sink)
        await run(node, line())
        source = await accepted(node, [1])
        large = batch([2, 3])
        large.records[0].payload = b"x" * (5 * 2**20)
        assert await source.send(large) == [ACCEPTED, ACCEPTED]
        assert len(sink.records[1].payload) == 5 * 2**20
        large.records[0].id.sequence_number = 4
        large.records[0].payload = b"x" * (7 * 2**20)
        await source.push(large)
        assert (await source.end())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    finally:
        for node in cluster.nodes.values():
            await node.close()


async def test_a_node_that_leaves_answers_what_is_under_way_and_ends_its_streams(
    tmp_path: Path, sink: FakeSink
) -> None:
    async with flowing(tmp_path, sink) as (node, source):
        sink.held = asyncio.Event()
        await source.push(batch([2, 3], "last"))
        await until(lambda: sink.calls == 2, node.logs)
        ending = asyncio.create_task(node.terminate())

        async def unready() -> bool:
            return (await node.get("/ready"))[0] == 503

        await until(unready, node.logs)
        answer = await source.read()
        assert answer is not None
        assert (answer.backpressure.pause, answer.backpressure.level) == (True, 4)
        sink.held.set()
        assert [each.status for each in (await source.ack()).record_acks] == [ACCEPTED, ACCEPTED]
        assert (await source.end())[0] is grpc.StatusCode.UNAVAILABLE
        assert await ending == 0
        assert sink.sequences == [1, 2, 3]
        assert "Traceback" not in node.logs()


async def stages(node: RouterProcess, pipeline_id: str) -> dict[str, tuple[int, int, int]]:
    """Processed, buffered and errors by stage."""
    request = router_pb2.GetPipelineRequest(pipeline_id=pipeline_id)
    found = (await node.admin.GetPipeline(request, timeout=HANGS)).status.stage_statuses
    return {k: (s.records_processed, s.records_buffered, s.errors) for k, s in found.items()}


async def test_a_drain_waits_for_the_records_of_all_nodes(tmp_path: Path, sink: FakeSink) -> None:
    async with running(tmp_path, 3) as cluster:
        leader = await cluster.leader()
        await run(leader, line())
        nodes = list(cluster.nodes.values())
        sources = []
        for number, node in enumerate(nodes):
            await know(node, sink)
            sources.append(await accepted(node, [number + 1]))
        await until(lambda: len(sink.records) == 3)
        sink.held = asyncio.Event()
        for number, source in enumerate(sources):
            await source.push(batch([100 * number + n for n in range(10, 20)]))
        await until(lambda: sink.calls == 6, cluster.logs)

        async def counted() -> bool:
            return await stages(leader, "ns/p") == {"src": (33, 0, 0), "out": (3, 30, 0)}

        await until(counted, cluster.logs)
        assert await disable(leader, "ns/p") == 30
        request = router_pb2.DeletePipelineRequest(pipeline_id="ns/p")
        refused = await leader.admin.DeletePipeline(request, timeout=HANGS)
        assert not refused.success
        assert refused.error.startswith("30 records are pending")
        sink.held.set()
        for source in sources:
            assert {each.status for each in (await source.ack()).record_acks} == {ACCEPTED}

        async def drained() -> bool:
            return await disable(leader, "ns/p") == 0

        await until(drained, cluster.logs)
        for source in sources:
            await source.push(batch([1000]))
            assert (await source.end())[0] is grpc.StatusCode.FAILED_PRECONDITION
        assert len(sink.records) == 33
        assert (await leader.admin.DeletePipeline(request, timeout=HANGS)).success


async def test_a_member_that_does_not_confirm_counts_as_pending(tmp_path: Path) -> None:
    async with running(tmp_path, 3) as cluster:
        leader = await cluster.leader()
        await run(leader, line())
        away = next(node for node in cluster.nodes.values() if node is not leader)
        away.kill()
        assert await disable(leader, "ns/p") == 1
        assert await disable(leader, "ns/p", drain=False) == 0
        away.start(cluster.nodes)

        async def confirmed() -> bool:
            return await disable(leader, "ns/p") == 0

        await until(confirmed, cluster.logs)
        assert (await stages(leader, "ns/p")).keys() == {"src", "out"}


async def test_a_node_that_has_not_caught_up_takes_no_records(tmp_path: Path, sink: FakeSink) -> None:
    async with running(tmp_path, 2) as cluster:
        leader = await cluster.leader()
        await run(leader, line())
        for node in cluster.nodes.values():
            await know(node, sink)
        for node in cluster.nodes.values():
            await accepted(node, [node.node_id])
        for node in cluster.nodes.values():
            node.kill()
        # Alone it cannot know what the other has seen since: the pipeline may be disabled.
        node = cluster.node(1)
        node.start([1, 2])

        async def serves() -> bool:
            return await node.status() is not None

        await until(serves, node.logs)
        await know(node, sink)
        source = Source(node.channel)
        await source.push(batch([5]))
        code, text = await source.end()
        assert (code, "has not loaded the state" in text) == (grpc.StatusCode.UNAVAILABLE, True)
        assert sorted(sink.sequences) == [1, 2]
        cluster.node(2).start([1, 2])
        await accepted(node, [5])


async def test_a_service_that_leaves_gracefully_ends_its_calls_and_gets_no_new_ones(
    tmp_path: Path, sink: FakeSink
) -> None:
    async with flowing(tmp_path, sink) as (node, source):
        sink.held = asyncio.Event()
        await source.push(batch([2, 3]))
        await until(lambda: sink.calls == 2, node.logs)
        at_once = registry_pb2.DeregisterRequest(service_id="ns/out", graceful=True)
        assert (await node.registry.Deregister(at_once, timeout=HANGS)).pending_records == 2
        await source.push(batch([4]))
        waits = registry_pb2.DeregisterRequest(
            service_id="ns/out", graceful=True, drain_timeout=Duration(seconds=200)
        )
        leaving = asyncio.ensure_future(node.registry.Deregister(waits, timeout=HANGS))
        sink.held.set()
        assert (await leaving).pending_records == 0
        assert {each.status for each in (await source.ack()).record_acks} == {ACCEPTED}
        assert sink.sequences == [1, 2, 3]
        await know(node, sink)
        assert {each.status for each in (await source.ack()).record_acks} == {ACCEPTED}


async def test_records_let_go_are_sent_again_and_delivered(tmp_path: Path, sink: FakeSink) -> None:
    async with flowing(tmp_path, sink) as (node, source):
        sink.held = asyncio.Event()
        await source.push(batch([2, 3]))
        await until(lambda: sink.calls == 2, node.logs)
        assert await disable(node, "ns/p", drain=False) == 0
        assert (await source.end())[0] is grpc.StatusCode.UNAVAILABLE
        sink.held.set()
        request = router_pb2.EnablePipelineRequest(pipeline_id="ns/p")
        assert (await node.admin.EnablePipeline(request, timeout=HANGS)).success
        await accepted(node, [2, 3])
        assert set(sink.sequences) == {1, 2, 3}


async def test_series_of_a_pipeline_begin_and_end_with_it(tmp_path: Path, sink: FakeSink) -> None:
    sink.bad = {2: False}
    async with flowing(tmp_path, sink) as (node, source):
        assert await source.send(batch([2])) == [3]
        where = 'pipeline="ns/p",stage="out"'
        wanted = [
            f"etl_router_stage_records_total{{{where}}} 1.0",
            f"etl_router_stage_record_errors_total{{{where}}} 1.0",
            f"etl_router_stage_records_buffered{{{where}}} 0.0",
            f"etl_router_stage_unanswered_calls_total{{{where}}} 0.0",
            f"etl_router_stage_broken{{{where}}} 0.0",
            f"etl_router_stage_call_seconds_count{{{where}}} 2.0",
            'etl_router_pipeline_pending_records{pipeline="ns/p"} 0.0',
            'etl_router_pipeline_dead_letters_total{pipeline="ns/p"} 0.0',
            'etl_router_pipeline_rejected_records_total{pipeline="ns/p"} 1.0',
            'etl_router_pipeline_parked_records{pipeline="ns/p"} 0.0',
            "etl_router_streams 1.0",
            "etl_router_pending_bytes 0.0",
            "etl_router_credits_granted 0.0",
        ]
        _, text = await node.get("/metrics", METRICS)
        assert [name for name in wanted if name not in text] == []
        request = router_pb2.DeletePipelineRequest(pipeline_id="ns/p")
        assert (await node.admin.DeletePipeline(request, timeout=HANGS)).success

        async def gone() -> bool:
            return 'pipeline="ns/p"' not in (await node.get("/metrics", METRICS))[1]

        await until(gone, node.logs)


def resident(node: RouterProcess) -> int:
    """Bytes of resident memory of a node's processes."""
    assert node.process is not None
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in (node.process.pid, *node.workers())]
    rows = [row.split() for text in texts for row in text.splitlines()]
    return 1024 * sum(int(row[1]) for row in rows if row and row[0] == "VmRSS:")


async def test_memory_is_bounded_while_a_sink_is_dead_and_all_is_delivered_after(
    tmp_path: Path, sink: FakeSink
) -> None:
    budget = 32 * 2**20
    port = sink.port
    env = {"ETL_ROUTER__NODE__BUFFER_BYTES": str(budget), "ETL_ROUTER__NODE__LONGEST_RETRY_SECONDS": "0.2"}
    async with flowing(tmp_path, sink, env=env) as (node, source):
        base = resident(node)
        await sink.stop()
        batches = 200  # 56 MB: far more than a source may have under way.

        async def push() -> None:
            for number in range(batches):
                pushed = batch(range(2 + 1000 * number, 1002 + 1000 * number), str(number))
                for each in pushed.records:
                    each.payload = b"x" * 240
                await source.push(pushed)

        pushing = asyncio.create_task(push())

        async def full() -> bool:
            _, text = await node.get("/metrics", METRICS)
            used = next(
                float(row.split()[1])
                for row in text.splitlines()
                if row.startswith("etl_router_pending_bytes ")
            )
            return used > 0.75 * budget / 4

        await until(full, node.logs)
        while not source.signals or not source.signals[-1].pause:
            await source.read()
        # The node reads no more, so gRPC stops the source: nothing more can come however long this lasts.
        await asyncio.wait([pushing], timeout=2)
        assert not pushing.done()
        assert resident(node) <= base + budget + 6 * 2**20
        sink.port = port
        await sink.start()
        acks = [await source.ack() for _ in range(batches)]
        await pushing
        assert [int(ack.batch_id) for ack in acks] == list(range(batches))
        assert len(sink.counted()) == 1 + 1000 * batches


async def test_a_service_is_called_with_tls_if_its_registration_says_so(tmp_path: Path) -> None:
    authority, chain, key = certificate("127.0.0.1")
    roots = tmp_path / "roots.pem"
    roots.write_bytes(authority)
    sink = FakeSink()
    sink.credentials = grpc.ssl_server_credentials([(key, chain)])
    env = {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(roots)}
    async with listening(sink), flowing(tmp_path, sink, env=env) as (node, _):
        await accepted(node, [2])
        assert sink.sequences == [1, 2]


def certificate(host: str) -> tuple[bytes, bytes, bytes]:
    """Authority, certificate and key in PEM: one that has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem, pem, private
