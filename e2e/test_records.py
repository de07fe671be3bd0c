"""Records through a whole system: what the status of a pipeline says while they move, fail and leave."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from e2e.running import eventually
from e2e.scene import Scene, condition, router
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE
from etl_operator.router.pb import source_pb2
from etl_operator.services.records import line_of
from informers.objects import Object
from tests.node.data.made import batch
from tests.node.data.services import FakeSink, Source

pytestmark = pytest.mark.asyncio(loop_scope="function")

ACCEPTED = source_pb2.ACK_STATUS_ACCEPTED


@asynccontextmanager
async def flow(scene: Scene) -> AsyncIterator[tuple[FakeSink, FakeSink]]:
    """A pipeline between real services, Ready: its sink, and the sink of its dead letters."""
    out, dead = FakeSink("out"), FakeSink("dead")
    for sink in (out, dead):
        await sink.start()
    try:
        await scene.cluster("flows")
        await scene.service(SOURCE, "in")
        for sink in (out, dead):
            await scene.service(SINK, sink.name, f"127.0.0.1:{sink.port}")
        dlq = {"enabled": True, "sink": "dead"}
        await scene.apply(PIPELINE, "flow", {"source": "in", "sink": "out", "dlq": dlq})
        await scene.ready(CLUSTER, "flows")
        await scene.ready(PIPELINE, "flow")
        for resource, name in ((SOURCE, "in"), (SINK, "out"), (SINK, "dead")):
            await scene.ready(resource, name)
        yield out, dead
    finally:
        for sink in (out, dead):
            if sink.held is not None:
                sink.held.set()
            await sink.stop()


@asynccontextmanager
async def source(scene: Scene) -> AsyncIterator[Source]:
    """A stream to the router."""
    where = await scene.leader("flows")
    async with grpc.aio.insecure_channel(where, options=[("grpc.enable_http_proxy", 0)]) as channel:
        yield Source(channel)


async def counted(scene: Scene, stage: str, records: int) -> None:
    """Wait until the router's own counters have so many records of a stage, and have the operator look."""
    async with router(await scene.leader("flows")) as node:

        async def there() -> bool:
            found = await node.get_pipeline(f"{scene.namespace}/flow")
            return found is not None and found.status.stage_statuses[stage].records_processed >= records

        await eventually(there, what=f"{records} records of {stage}")
    await scene.annotate(PIPELINE, "flow", poke=f"{stage}-{records}")


async def called(sink: FakeSink, before: int) -> None:
    """Wait until a sink has been called again."""

    async def there() -> bool:
        return sink.calls > before

    await eventually(there, what="the sink has the records")


async def replayed(scene: Scene, letters: Path) -> str:
    """What ``etl-operator dlq replay`` says."""
    where = await scene.leader("flows")
    command = ["dlq", "replay", f"{scene.namespace}/flow", "--file", str(letters), "--router", where]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "etl_operator.cli", *command, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said
    return said.decode()


def figures(obj: Object) -> tuple[Any, ...]:
    """Records, errors, dead letters and pending records of a pipeline."""
    names = ("recordsProcessed", "errors", "deadLetters", "pendingRecords")
    return tuple(obj["status"].get(name) for name in names)


async def test_the_status_has_what_moved_what_failed_and_what_is_left(scene: Scene, tmp_path: Path) -> None:
    async with flow(scene) as (out, dead):
        out.bad = {7: False}
        async with source(scene) as records:
            assert await records.send(batch(range(1, 101), source="in")) == [ACCEPTED] * 100
        await counted(scene, "flow-dlq", 1)
        seen = await scene.until(
            PIPELINE, "flow", lambda obj: figures(obj) == (100, 1, 1, 0), "all is counted"
        )
        stages = {stage["id"]: stage for stage in seen["status"]["stages"]}
        assert stages["flow-sink"]["recordsProcessed"] == 99
        assert stages["flow-sink"]["avgLatencyMs"] >= 1
        assert [letter.id.sequence_number for letter in dead.records] == [7]
        await scene.told("flow", "DLQGrowing", "EtlSink dead")
        assert condition(seen, "DLQHealthy")["reason"] == "DLQGrowing"
        assert condition(seen)["status"] == "True"
        # Replayed: the sink takes it now.
        out.bad = {}
        letters = tmp_path / "dead.jsonl"
        letters.write_bytes(b"".join(map(line_of, dead.records)))
        assert await replayed(scene, letters) == "the router accepted 1 of 1 records\n"
        assert 7 in out.sequences
        # Disabled: Ready when the last record has left.
        out.held, calls = asyncio.Event(), out.calls
        async with source(scene) as records:
            await records.push(batch(range(101, 106), source="in"))
            await called(out, calls)
            await scene.patch(PIPELINE, "flow", {"spec": {"enabled": False}})
            await scene.says(PIPELINE, "flow", "Draining", "5 records", status="False")
            drains = await scene.get(PIPELINE, "flow")
            assert (drains["status"]["phase"], figures(drains)[3]) == ("Draining", 5)
            out.held.set()
            assert [each.status for each in (await records.ack()).record_acks] == [ACCEPTED] * 5
        drained = await scene.ready(PIPELINE, "flow")
        assert (drained["status"]["phase"], figures(drained)[3]) == ("Disabled", 0)
        await scene.told("flow", "Drained")
        # Deleted: gone when the last record has left.
        await scene.patch(PIPELINE, "flow", {"spec": {"enabled": True, "drainTimeoutSeconds": 3600}})
        await scene.ready(PIPELINE, "flow")
        out.held, calls = asyncio.Event(), out.calls
        async with source(scene) as records:
            await records.push(batch(range(106, 109), source="in"))
            await called(out, calls)
            await scene.delete(PIPELINE, "flow")
            going = await scene.until(
                PIPELINE, "flow", lambda obj: obj["status"]["phase"] == "Deleting", "the deletion waits"
            )
            assert figures(going)[3] == 3
            assert "drains 3 records" in condition(going)["message"]
            out.held.set()
            assert [each.status for each in (await records.ack()).record_acks] == [ACCEPTED] * 3
        await scene.gone(PIPELINE, "flow")
        assert sorted(out.sequences) == list(range(1, 109))
