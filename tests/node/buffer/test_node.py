"""The durable buffer of real nodes, as it is seen through their API."""

from __future__ import annotations

from pathlib import Path

from etl_operator.router.client import RouterClients
from etl_operator.router.pb import router_pb2
from tests.hanging import HANGS
from tests.node.buffer.servers import needs_server, serving
from tests.node.cluster import METRICS, RouterProcess, running
from tests.node.data.made import batch, line
from tests.node.data.processes import accepted, disable, know, run
from tests.node.data.services import FakeSink
from tests.processes import GRPC, until

pytestmark = needs_server


async def stages(node: RouterProcess) -> dict[str, router_pb2.StageStatus]:
    request = router_pb2.GetPipelineRequest(pipeline_id="ns/p")
    return dict((await node.admin.GetPipeline(request, timeout=HANGS)).status.stage_statuses)


async def test_what_is_stored_is_counted_once_and_keeps_a_pipeline_until_it_is_delivered(
    tmp_path: Path, sink: FakeSink
) -> None:
    async with serving(tmp_path) as servers, running(tmp_path, 3, env=servers.env()) as routers:
        leader = await routers.leader()
        await run(leader, line())
        for node in routers.nodes.values():
            await know(node, sink)
        await sink.stop()
        source = await accepted(leader, range(1, 31))
        for start in range(31, 301, 30):
            await source.push(batch(range(start, start + 30)))
            assert len((await source.ack()).record_acks) == 30

        async def shown() -> bool:
            return (await stages(leader))["src"].records_buffered == 300

        # By all members together, although each of them sees the same stream.
        await until(shown, routers.logs)
        assert await disable(leader, "ns/p") == 300
        delete = router_pb2.DeletePipelineRequest(pipeline_id="ns/p")
        refused = await leader.admin.DeletePipeline(delete, timeout=HANGS)
        assert "records are pending" in refused.error
        await sink.start()

        async def drained() -> bool:
            return await disable(leader, "ns/p") == 0

        await until(drained, routers.logs)
        assert sink.sequences == list(range(1, 301))

        async def counted() -> bool:
            found = await stages(leader)
            return (found["src"].records_processed, found["out"].records_processed) == (300, 300)

        await until(counted, routers.logs)
        assert (await leader.admin.DeletePipeline(delete, timeout=HANGS)).success


async def test_a_node_says_that_its_buffer_cannot_be_used(tmp_path: Path, sink: FakeSink) -> None:
    clients = RouterClients()
    async with serving(tmp_path) as servers, running(tmp_path, 1, env=servers.env()) as routers:
        try:
            router = await routers.leader()
            await run(router, line())
            await know(router, sink)
            await accepted(router, [1])
            node = clients.node(f"{router.ip}:{GRPC}")

            async def trouble() -> set[bool]:
                await node.get_cluster_status()
                found = {f"NATS at {servers.servers[0].url}" in node.buffer_trouble}
                await node.get_pipeline("ns/p")
                found.add(f"member 1: NATS at {servers.servers[0].url}" in node.buffer_trouble)
                _, page = await router.get("/metrics", METRICS)
                return found | {'etl_router_pipeline_buffer_available{pipeline="ns/p"} 0.0' in page}

            async def all_say(what: bool) -> bool:
                return await trouble() == {what}

            await until(lambda: all_say(False), routers.logs)
            servers.servers[0].kill()
            await until(lambda: all_say(True), routers.logs)
            # Nobody knows what is stored.
            assert await disable(router, "ns/p") >= 1
            servers.servers[0].start()
            await until(lambda: all_say(False), routers.logs)

            async def drained() -> bool:
                return await disable(router, "ns/p") == 0

            await until(drained, routers.logs)
        finally:
            await clients.close()


async def test_a_node_does_not_start_with_a_buffer_that_could_lose_records(tmp_path: Path) -> None:
    env = {"ETL_ROUTER__NATS__URLS": "nats://127.0.0.1:1", "ETL_ROUTER__NATS__REPLICAS": "1"}
    async with running(tmp_path, 1, env=env) as routers:
        node = routers.node(1)
        assert await node.exit_code() == 1
        assert "flushes its files every two minutes" in node.logs()
