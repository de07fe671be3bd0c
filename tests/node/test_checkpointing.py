"""``CheckpointService`` of real nodes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from etl_operator.router.pb import checkpoint_pb2 as pb
from etl_operator.router.pb import checkpoint_pb2_grpc, common_pb2, router_pb2
from tests.hanging import HANGS
from tests.node.cluster import RouterProcess, running
from tests.node.data.made import batch, line
from tests.node.data.processes import accepted, disable, know, run
from tests.node.data.services import FakeSink
from tests.processes import until


def service(node: RouterProcess) -> Any:
    return checkpoint_pb2_grpc.CheckpointServiceStub(node.channel)  # type: ignore[no-untyped-call]


async def offsets(node: RouterProcess, source: str) -> dict[int, int]:
    answer = await service(node).GetSourceOffset(pb.GetOffsetRequest(source_id=source), timeout=HANGS)
    return dict(answer.offsets)


async def test_every_node_takes_and_answers_checkpoints(tmp_path: Path) -> None:
    async with running(tmp_path, 3) as cluster:
        leader = await cluster.leader()
        follower = next(node for node in cluster.nodes.values() if node is not leader)
        ask = service(follower)
        at = Timestamp(seconds=5, nanos=6)
        for offset in (7, 5):
            commit = pb.CommitOffsetRequest(source_id="s", partition=1, offset=offset, timestamp=at)
            assert (await ask.CommitOffset(commit, timeout=HANGS)).success
        group = pb.CommitGroupOffsetRequest(group_id="g", source_id="s", partition=2, offset=9)
        assert (await ask.CommitGroupOffset(group, timeout=HANGS)).success
        mark = common_pb2.Watermark(source_id="s", partition=1, position=4, timestamp=at)
        request = pb.WatermarkRequest(watermark=mark)
        assert (await service(leader).ReportWatermark(request, timeout=HANGS)).accepted
        again = await service(leader).ReportWatermark(request, timeout=HANGS)
        assert (again.accepted, again.current_global_watermark) == (False, mark)
        save = pb.SaveCheckpointRequest(service_id="ns/t", data=b"state")
        save.source_offsets["s"].offsets[1] = 3
        saved = await ask.SaveCheckpoint(save, timeout=HANGS)
        assert saved.success
        assert saved.checkpoint_id

        async def everywhere() -> bool:
            found = [
                await service(node).GetCheckpoint(pb.GetCheckpointRequest(service_id="ns/t"), timeout=HANGS)
                for node in cluster.nodes.values()
            ]
            return all(each.found for each in found)

        await until(everywhere, cluster.logs)
        for node in cluster.nodes.values():
            ask = service(node)
            assert await offsets(node, "s") == {1: 7}
            one = await ask.GetSourceOffset(pb.GetOffsetRequest(source_id="s", partition=1), timeout=HANGS)
            assert (one.offsets[1], one.timestamps[1]) == (7, at)
            assert not (await ask.GetSourceOffset(pb.GetOffsetRequest(source_id="s", partition=2))).offsets
            groups = await ask.GetGroupOffsets(pb.GetGroupOffsetsRequest(group_id="g"), timeout=HANGS)
            assert dict(groups.source_offsets["s"].offsets) == {2: 9}
            other = pb.GetGroupOffsetsRequest(group_id="g", source_id="other")
            assert not (await ask.GetGroupOffsets(other, timeout=HANGS)).source_offsets
            marks = await ask.GetWatermark(pb.GetWatermarkRequest(source_id="s"), timeout=HANGS)
            assert (list(marks.watermarks), marks.global_watermark) == ([mark], mark)
            held = await ask.GetCheckpoint(pb.GetCheckpointRequest(service_id="ns/t"), timeout=HANGS)
            assert (held.data, held.checkpoint_id) == (b"state", saved.checkpoint_id)
            assert held.source_offsets["s"].offsets[1] == 3
        for call, wrong, code in (
            (ask.SaveCheckpoint, pb.SaveCheckpointRequest(), grpc.StatusCode.INVALID_ARGUMENT),
            (ask.CommitOffset, pb.CommitOffsetRequest(), grpc.StatusCode.INVALID_ARGUMENT),
            (ask.ReportWatermark, pb.WatermarkRequest(), grpc.StatusCode.INVALID_ARGUMENT),
            (ask.CommitGroupOffset, pb.CommitGroupOffsetRequest(), grpc.StatusCode.INVALID_ARGUMENT),
            (
                ask.SaveCheckpoint,
                pb.SaveCheckpointRequest(service_id="x", data=b"x" * (2**20 + 1)),
                grpc.StatusCode.INVALID_ARGUMENT,
            ),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(wrong, timeout=HANGS)
            assert caught.value.code() is code
        assert not (await ask.GetCheckpoint(pb.GetCheckpointRequest(service_id="no"))).found


async def test_nodes_commit_how_far_pipelines_have_come(tmp_path: Path, sink: FakeSink) -> None:
    async with running(tmp_path, 3) as cluster:
        leader = await cluster.leader()
        await run(leader, line())
        follower = next(node for node in cluster.nodes.values() if node is not leader)
        await know(follower, sink)
        source = await accepted(follower, [1])
        pushed = batch(range(2, 51))
        pushed.watermark.position = 50
        assert set(await source.send(pushed)) == {1}

        async def committed() -> bool:
            return await offsets(leader, "src") == {0: 50}

        await until(committed, cluster.logs)
        request = pb.GetPipelineCheckpointsRequest(pipeline_id="ns/p")
        found: list[pb.GetPipelineCheckpointsResponse] = []

        async def marked() -> bool:
            found.append(await service(leader).GetPipelineCheckpoints(request, timeout=HANGS))
            return bool(found[-1].watermarks)

        await until(marked, cluster.logs)
        assert dict(found[-1].source_offsets["src"].offsets) == {0: 50}
        assert found[-1].watermarks[0].position == 50
        # All of them survive a restart of all nodes.
        for node in cluster.nodes.values():
            node.kill()
        cluster.start(cluster.nodes)
        leader = await cluster.leader()
        assert await offsets(leader, "src") == {0: 50}


async def test_what_another_member_delivered_holds_no_checkpoint_up(tmp_path: Path, sink: FakeSink) -> None:
    async with running(tmp_path, 3) as cluster:
        leader = await cluster.leader()
        await run(leader, line())
        first, second = [node for node in cluster.nodes.values() if node is not leader]
        for node in (first, second):
            await know(node, sink)
        source = await accepted(first, [1])
        sink.held = asyncio.Event()
        await source.push(batch([2, 3]))
        await until(lambda: sink.calls == 2, cluster.logs)
        # The first member lets go of them, the second one delivers them, and the source comes back.
        await disable(leader, "ns/p", drain=False)
        await source.end()
        sink.held.set()
        enable = router_pb2.EnablePipelineRequest(pipeline_id="ns/p")
        assert (await leader.admin.EnablePipeline(enable, timeout=HANGS)).success
        await accepted(second, [2, 3])
        await accepted(first, [4, 5])

        async def committed() -> bool:
            return await offsets(leader, "src") == {0: 5}

        await until(committed, cluster.logs)
