"""Whole pipelines of real processes: services of the kit around router nodes, as in the samples."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from base64 import b64decode
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration

from etl_operator.router.pb import checkpoint_pb2, checkpoint_pb2_grpc, common_pb2, registry_pb2, router_pb2
from etl_operator.sandbox.manifests import load_manifests
from etl_operator.services import Pushing
from etl_operator.services.source_generate import GenerateSource
from tests.hanging import HANGS
from tests.install.manifests import CONFIG, container_of, only
from tests.node.cluster import RouterCluster, RouterProcess, running
from tests.node.data.made import line
from tests.processes import GRPC, until
from tests.services.processes import ServiceProcess

SAMPLES = load_manifests(CONFIG / "samples" / "services")
COUNT = 10_000
PIPELINE = line(
    "ns/user-analytics",
    source="kafka-users",
    transforms=["filter-active", "enrich-geo"],
    sink="clickhouse-analytics",
)
KINDS = {
    "kafka-users": common_pb2.SERVICE_TYPE_SOURCE,
    "filter-active": common_pb2.SERVICE_TYPE_TRANSFORM,
    "enrich-geo": common_pb2.SERVICE_TYPE_TRANSFORM,
    "clickhouse-analytics": common_pb2.SERVICE_TYPE_SINK,
    "app-log": common_pb2.SERVICE_TYPE_SOURCE,
}
SAMPLED = ("kafka-users", "filter-active", "enrich-geo", "clickhouse-analytics")
FLAGS = ("--lease-seconds=100000",)
"""Here nobody renews a registration."""


def arguments(name: str, leave_out: Iterable[str] = ()) -> list[str]:
    """Of a sample's container, without the address to bind."""
    given = container_of(only(SAMPLES, "Deployment", name))["args"]
    return [one for one in given if not one.startswith(("--bind", *leave_out))]


def expected(count: int = COUNT) -> dict[int, dict[str, Any]]:
    """Payloads that pass the filter, by sequence number; the continent is not in them."""
    source = GenerateSource(Pushing(["127.0.0.1:1"], "x"))
    payloads = {number: json.loads(source.record(number).payload) for number in range(1, count + 1)}
    return {number: payload for number, payload in payloads.items() if payload["active"]}


async def know(node: RouterProcess, services: dict[str, ServiceProcess]) -> None:
    """Register services with a node."""
    for name, process in services.items():
        request = registry_pb2.RegisterRequest(
            identity=common_pb2.ServiceIdentity(service_id=f"ns/{name}", service_type=KINDS[name], name=name),
            endpoint=common_pb2.Endpoint(host=process.ip, port=GRPC),
            heartbeat_interval=Duration(seconds=10),
        )
        assert (await node.registry.Register(request, timeout=HANGS)).success


async def create(node: RouterProcess, pipeline: router_pb2.PipelineConfig = PIPELINE) -> None:
    """Create and enable a pipeline."""
    request = router_pb2.CreatePipelineRequest(config=pipeline)
    assert (await node.admin.CreatePipeline(request, timeout=HANGS)).success
    enable = router_pb2.EnablePipelineRequest(pipeline_id=pipeline.id)
    assert (await node.admin.EnablePipeline(enable, timeout=HANGS)).success


def of(stack: AsyncExitStack, directory: Path, given: list[str]) -> ServiceProcess:
    """A service that was started, and is killed with the test."""
    process = ServiceProcess(directory, given)
    stack.push_async_callback(process.close)
    process.start()
    return process


async def test_the_samples_move_every_record_once_and_in_order(tmp_path: Path) -> None:
    output = tmp_path / "records.jsonl"
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(running(tmp_path, 1, flags=FLAGS))
        node = await cluster.leader()
        given = {name: arguments(name) for name in SAMPLED}
        given["clickhouse-analytics"] = ["sink", "file", str(output)]
        given["kafka-users"] = [
            f"--router={node.ip}:{GRPC}" if one.startswith("--router") else one
            for one in given["kafka-users"]
        ]
        services = {name: of(stack, tmp_path, one) for name, one in given.items()}
        for process in services.values():
            await process.ready()
        # The source is there before the pipeline, and waits.
        await know(node, services)
        await create(node)
        source = services["kafka-users"]
        await until(lambda: "the router has acknowledged all records" in source.logs(), cluster.logs)
        values = {name: process.values() for name, process in services.items()}
        for process in services.values():
            assert await process.terminate() == 0, process.logs()
    written = [json.loads(row) for row in lines(output)]
    wanted = expected()
    assert [row["sequence_number"] for row in written] == list(wanted)
    continents = Counter(row["payload"].pop("continent") for row in written)
    assert continents.keys() == {"Europe", "Asia", "Africa", "South America", "North America"}
    assert [row["payload"] for row in written] == list(wanted.values())
    total = "etl_service_records_total"
    assert values["kafka-users"][total, "accepted"] == COUNT
    assert values["filter-active"][total, "filtered"] == COUNT - len(wanted)
    assert values["enrich-geo"][total, "success"] == len(wanted)
    assert values["clickhouse-analytics"][total, "written"] == len(wanted)


async def test_a_file_that_was_replaced_while_its_source_was_down(tmp_path: Path) -> None:
    """The node keeps what the file is known by: one with a line end in the same place is new all the same."""
    log, output = tmp_path / "app.log", tmp_path / "records.jsonl"
    fill(log, "12345\n67890\n")
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(running(tmp_path, 1, flags=FLAGS))
        node = await cluster.leader()
        sink = of(stack, tmp_path, ["sink", "file", str(output)])
        await sink.ready()
        given = ["source", "file", str(log), "--source-id=app-log", f"--router={node.ip}:{GRPC}"]
        source = of(stack, tmp_path, given)
        await know(node, {"app-log": source, "clickhouse-analytics": sink})
        await create(node, line("ns/logs", source="app-log", sink="clickhouse-analytics"))
        assert await source.exit_code() == 0, source.logs()

        async def committed() -> bool:
            request = checkpoint_pb2.GetOffsetRequest(source_id="app-log")
            answer = await checkpoints(node).GetSourceOffset(request, timeout=HANGS)
            return dict(answer.offsets) == {0: 12}

        await until(committed, cluster.logs)
        source.start()
        assert await source.exit_code() == 0, source.logs()
        move(log, tmp_path / "app.log.1")
        fill(log, "abcde\nfghij\nklmno\n")
        source.start()
        assert await source.exit_code() == 0, source.logs()
    assert "the file is not the one that was read before" in source.logs()
    written = [json.loads(row) for row in lines(output)]
    assert [row["payload"] for row in written[:2]] == [12345, 67890]
    texts = [b64decode(row["payload_base64"]) for row in written[2:]]
    assert texts == [b"abcde", b"fghij", b"klmno"]


def fill(path: Path, text: str) -> None:
    path.write_text(text)


def move(path: Path, other: Path) -> None:
    path.rename(other)


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def rows(path: Path) -> list[int]:
    """Sequence numbers in the table, so far."""
    with closing(sqlite3.connect(path, timeout=HANGS)) as connection:
        return [row[0] for row in connection.execute("SELECT sequence_number FROM records ORDER BY 1")]


async def test_kill_9_of_every_process_in_turn_loses_no_record(tmp_path: Path) -> None:
    """Three nodes; the table has each record once in the end, whatever was sent again."""
    database = tmp_path / "records.db"
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(running(tmp_path, 3, flags=FLAGS))
        leader = await cluster.leader()
        routers = [f"--router={node.ip}:{GRPC}" for node in cluster.nodes.values()]
        given = {name: arguments(name) for name in ("filter-active", "enrich-geo")}
        given["clickhouse-analytics"] = ["sink", "sql", f"--url=sqlite:///{database}"]
        leave_out = ("--router", "--rate", "--stay", "--count")
        given["kafka-users"] = [*arguments("kafka-users", leave_out), *routers, "--batch-size=100"]
        services = {name: of(stack, tmp_path, one) for name, one in given.items() if name != "kafka-users"}
        for process in services.values():
            await process.ready()
        endless = [*given["kafka-users"], "--rate=1500"]
        source = services["kafka-users"] = of(stack, tmp_path, endless)
        for node in cluster.nodes.values():
            await know(node, services)
        await create(leader)

        async def more() -> None:
            """Wait until records arrive again, after whatever happened before."""
            before = len(rows(database))
            await until(lambda: len(rows(database)) > before + 300, lambda: cluster.logs() + source.logs())

        for name in ("clickhouse-analytics", "filter-active", "enrich-geo"):
            await more()
            services[name].kill()
            services[name].start()
        for node_id in list(cluster.nodes):
            await more()
            await restart(cluster, node_id, services)
        await more()

        async def committed() -> bool:
            request = checkpoint_pb2.GetOffsetRequest(source_id="kafka-users")
            answer = await checkpoints(leader).GetSourceOffset(request, timeout=HANGS)
            return bool(answer.offsets)

        await until(committed, cluster.logs)
        source.kill()
        # What was under way may still arrive: less than a window.
        count = rows(database)[-1] + 2_000
        last = of(stack, tmp_path, [*given["kafka-users"], f"--count={count}"])
        assert await last.exit_code() == 0, last.logs()
    assert "the router has acknowledged all records" in last.logs()
    assert '"message": "reading", "after": {"0": ' in last.logs(), "from the checkpoint"
    assert rows(database) == list(expected(count))
    for process in services.values():
        assert "Traceback" not in process.logs()


def checkpoints(node: RouterProcess) -> Any:
    """CheckpointService."""
    return checkpoint_pb2_grpc.CheckpointServiceStub(node.channel)  # type: ignore[no-untyped-call]


async def restart(cluster: RouterCluster, node_id: int, services: dict[str, ServiceProcess]) -> None:
    """kill -9 for a node, and start it again as the operator would: with its registrations."""
    node = cluster.node(node_id)
    node.kill()
    node.start(cluster.nodes)

    async def ready() -> bool:
        return (await node.get("/ready"))[0] == 200

    await until(ready, node.logs)
    await asyncio.gather(know(node, services))
