"""``BackupService`` of real nodes."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Protocol

import grpc
import grpc.aio
import pytest

from etl_operator import __version__
from etl_operator.node.control import archive, state
from etl_operator.router.pb import backup_pb2 as pb
from etl_operator.router.pb import backup_pb2_grpc, checkpoint_pb2, checkpoint_pb2_grpc, router_pb2
from tests.hanging import HANGS
from tests.node.cluster import METRICS, RouterCluster, RouterProcess, pipeline, running, writing
from tests.node.etcd import binary
from tests.processes import until

OVERWRITE = (("etl-overwrite", "true"),)
GZIP = pb.COMPRESSION_GZIP


class Reachable(Protocol):
    """A node to call."""

    @property
    def channel(self) -> grpc.aio.Channel:
        """To its main port."""


def service(node: Reachable) -> Any:
    return backup_pb2_grpc.BackupServiceStub(node.channel)  # type: ignore[no-untyped-call]


def checkpoints(node: Reachable) -> Any:
    return checkpoint_pb2_grpc.CheckpointServiceStub(node.channel)  # type: ignore[no-untyped-call]


async def fill(node: RouterProcess, names: Iterable[str]) -> None:
    """Pipelines, one of them enabled and updated, and checkpoints."""
    for name in names:
        request = router_pb2.CreatePipelineRequest(config=pipeline(name, metadata={"of": name}))
        assert (await node.admin.CreatePipeline(request, timeout=HANGS)).success
    update = router_pb2.UpdatePipelineRequest(pipeline_id=name, config=pipeline(name, metadata={"a": "b"}))
    assert (await node.admin.UpdatePipeline(update, timeout=HANGS)).version == 2
    enable = router_pb2.EnablePipelineRequest(pipeline_id=name)
    assert (await node.admin.EnablePipeline(enable, timeout=HANGS)).success
    save = checkpoint_pb2.SaveCheckpointRequest(service_id="ns/t", checkpoint_id="c", data=bytes(range(256)))
    assert (await checkpoints(node).SaveCheckpoint(save, timeout=HANGS)).success
    commit = checkpoint_pb2.CommitGroupOffsetRequest(group_id=name, source_id="s", partition=2, offset=9)
    assert (await checkpoints(node).CommitGroupOffset(commit, timeout=HANGS)).success


async def made(node: Reachable, backup_id: str = "") -> pb.CreateSnapshotResponse:
    request = pb.CreateSnapshotRequest(snapshot_id=backup_id)
    answer: pb.CreateSnapshotResponse = await service(node).CreateSnapshot(request, timeout=HANGS)
    return answer


async def fetched(node: Reachable, backup_id: str, compression: Any = pb.COMPRESSION_NONE) -> bytes:
    request = pb.StreamSnapshotRequest(snapshot_id=backup_id, compression=compression)
    chunks = [chunk async for chunk in service(node).StreamSnapshot(request, timeout=HANGS)]
    assert [chunk.is_last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    data = b""
    for chunk in chunks:
        assert chunk.offset == len(data)
        data += chunk.data
    return data


async def content(node: Reachable) -> bytes:
    """The state of a cluster as a backup has it."""
    file = io.BytesIO(await fetched(node, (await made(node)).snapshot_id))
    return file.read(archive.read_head(file).size)


async def uploaded(node: RouterProcess, data: bytes, piece: int = 100_000, *, end: bool = True) -> str:
    async def chunks() -> AsyncIterator[pb.DataChunk]:
        for offset in range(0, len(data), piece):
            last = end and offset + piece >= len(data)
            yield pb.DataChunk(data=data[offset : offset + piece], offset=offset, is_last=last)

    answer = await service(node).UploadSnapshot(chunks(), timeout=HANGS)
    assert answer.success
    return str(answer.snapshot_id)


async def restored(
    node: RouterProcess, backup_id: str, *, validate_only: bool = False, overwrite: bool = False
) -> pb.RestoreSnapshotResponse:
    request = pb.RestoreSnapshotRequest(snapshot_id=backup_id, validate_only=validate_only)
    answer: pb.RestoreSnapshotResponse = await service(node).RestoreSnapshot(
        request, timeout=HANGS, metadata=OVERWRITE if overwrite else ()
    )
    return answer


def follower(cluster: RouterCluster, leader: RouterProcess) -> RouterProcess:
    return next(node for node in cluster.nodes.values() if node is not leader)


async def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


@pytest.mark.parametrize("engine", ["embedded", "etcd"])
async def test_a_new_cluster_becomes_equal_byte_for_byte(tmp_path: Path, engine: str) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    # From one engine to the other, too: a backup does not depend on it.
    own = ["--engine=etcd", f"--etcd-binary={binary()}"] if engine == "etcd" else ["--engine=embedded"]
    other = ["--engine=embedded"]
    async with (
        running(tmp_path / "old", 3, flags=other) as old,
        running(tmp_path / "new", 3, flags=own) as new,
    ):
        leader = await old.leader()
        await fill(leader, ["ns/a", "ns/b", "other/c"])
        # Any member serves all calls, and none misses what was acknowledged by another.
        beside = follower(old, leader)
        answer = await made(beside, "mine")
        status = await leader.status()
        assert status is not None
        assert (answer.snapshot_id, answer.term) == ("mine", status.term)
        raw, packed = await fetched(beside, "mine"), await fetched(beside, "mine", GZIP)
        assert gzip.decompress(packed) == raw
        assert answer.size_bytes == len(raw)
        listed = await service(beside).ListSnapshots(pb.ListSnapshotsRequest(), timeout=HANGS)
        (info,) = listed.snapshots
        assert (info.snapshot_id, info.size_bytes) == ("mine", len(raw))
        assert (info.commit_index, info.term) == (answer.commit_index, answer.term)
        assert info.created_at == answer.timestamp > 1_700_000_000

        target = follower(new, await new.leader())
        backup_id = await uploaded(target, packed)
        checked = await restored(target, backup_id, validate_only=True)
        assert checked.success, checked.message
        assert (checked.state.pipeline_count, checked.state.version) == (3, __version__)
        assert checked.state.commit_index == answer.commit_index
        nothing = await service(target).GetStateMetadata(pb.GetStateMetadataRequest(), timeout=HANGS)
        assert (nothing.pipeline_count, nothing.service_count) == (0, 0)
        done = await restored(target, backup_id)
        assert done.success, done.message
        expected = await content(leader)
        for node in new.nodes.values():
            assert await content(node) == expected
        found = await target.admin.GetPipeline(
            router_pb2.GetPipelineRequest(pipeline_id="other/c"), timeout=HANGS
        )
        assert (found.status.version, found.status.enabled, dict(found.config.metadata)) == (
            2,
            True,
            {"a": "b"},
        )
        after = await service(target).GetStateMetadata(pb.GetStateMetadataRequest(), timeout=HANGS)
        assert after.pipeline_count == 3

        # It is as durable as any write.
        for node in new.nodes.values():
            node.kill()
        new.start([1, 2, 3])
        assert await content(await new.leader()) == expected


async def test_a_cluster_that_is_not_empty_is_replaced_only_on_request(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as cluster:
        node = await cluster.leader()
        await fill(node, ["ns/a", "ns/b"])
        backup_id = (await made(node)).snapshot_id
        same = await restored(node, backup_id, validate_only=True)
        assert not same.success
        assert "it has 2 pipelines and checkpoints" in same.message
        before = await content(node)
        await fill(node, ["ns/c", "ns/a"])
        changed = await content(node)
        for validate_only in (True, False):
            refused = await restored(node, backup_id, validate_only=validate_only)
            assert not refused.success
            assert "it has 3 pipelines and checkpoints, of which 1 differ" in refused.message
            assert "(ns/a)" in refused.message
            assert "--overwrite" in refused.message
        checked = await restored(node, backup_id, validate_only=True, overwrite=True)
        assert checked.success
        assert checked.message.startswith("valid: 2 pipelines")
        assert await content(node) == changed
        assert (await restored(node, backup_id, overwrite=True)).success
        assert await content(node) == before


async def test_a_backup_under_load_has_everything_acknowledged_before_it(tmp_path: Path) -> None:
    async with running(tmp_path, 3) as cluster:
        leader = await cluster.leader()
        async with writing(cluster) as acknowledged:
            nodes = iter(cluster.nodes.values())

            async def one_more() -> bool:
                before = set(acknowledged)
                if len(before) < 20:
                    return False
                acknowledged.difference_update(before)
                decoded = state.decode_content(await content(next(nodes)))
                assert before <= {one.pipeline_id for one in decoded.pipelines}
                return True

            for _ in range(3):
                await until(one_more)
        # A log entry is in it as a whole: the state is that of a moment.
        raw = io.BytesIO(await fetched(leader, (await made(leader, "end")).snapshot_id))
        assert archive.read_head(raw).pipelines == len(state.decode_content(raw.read()[:-32]).pipelines)


async def test_a_leader_that_is_lost_leaves_all_or_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, 3) as cluster:
        leader = await cluster.leader()
        await fill(leader, ["ns/a"])
        for number in range(4):
            save = checkpoint_pb2.SaveCheckpointRequest(service_id=f"ns/{number}", data=bytes(2**20))
            assert (await checkpoints(leader).SaveCheckpoint(save, timeout=HANGS)).success
        beside = follower(cluster, leader)
        backup_id = (await made(beside)).snapshot_id
        expected = await content(beside)
        await fill(leader, ["ns/later"])
        other = await content(beside)
        restoring = asyncio.create_task(restored(beside, backup_id, overwrite=True))
        calls = 'etl_router_grpc_calls_total{method="BackupService/RestoreSnapshot"} 1'

        async def begun() -> bool:
            return restoring.done() or calls in (await beside.get("/metrics", METRICS))[1]

        await until(begun, cluster.logs)
        leader.kill()
        try:
            done: bool | None = (await restoring).success
        except grpc.aio.AioRpcError as error:
            assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            done = None
        await cluster.leader([node.node_id for node in cluster.nodes.values() if node is not leader])
        assert await content(beside) in ([expected] if done else [expected, other])
        assert (await restored(beside, backup_id, overwrite=True)).success
        assert await content(beside) == expected


async def test_what_is_wrong_is_said_with_a_status(tmp_path: Path) -> None:
    async with running(tmp_path, 1, flags=["--data-workers=0"]) as cluster:
        node = await cluster.leader()
        await fill(node, ["ns/a"])
        await made(node, "one")
        codes = grpc.StatusCode
        assert await code_of(made(node, "one")) is codes.ALREADY_EXISTS
        assert await code_of(made(node, "../one")) is codes.INVALID_ARGUMENT
        assert await code_of(fetched(node, "two")) is codes.NOT_FOUND
        assert await code_of(fetched(node, "one", pb.COMPRESSION_ZSTD)) is codes.INVALID_ARGUMENT
        assert await code_of(restored(node, "two")) is codes.NOT_FOUND
        raw = await fetched(node, "one")
        assert await code_of(uploaded(node, raw, end=False)) is codes.INVALID_ARGUMENT
        assert await code_of(uploaded(node, raw[:-1])) is codes.INVALID_ARGUMENT
        damaged = raw.replace(b"ns/a", b"ns/b")
        assert await code_of(uploaded(node, damaged)) is codes.INVALID_ARGUMENT
        wrong = [pb.DataChunk(data=raw[:10]), pb.DataChunk(data=raw[10:], offset=9, is_last=True)]
        assert (
            await code_of(service(node).UploadSnapshot(iter(wrong), timeout=HANGS)) is codes.INVALID_ARGUMENT
        )
        # Nothing of it was kept, and what was is checked again.
        listed = await service(node).ListSnapshots(pb.ListSnapshotsRequest(), timeout=HANGS)
        assert [one.snapshot_id for one in listed.snapshots] == ["one"]
        (file,) = (tmp_path / "data" / "backups-1").iterdir()
        file.write_bytes(damaged)
        for validate_only in (True, False):
            refused = await restored(node, "one", validate_only=validate_only, overwrite=True)
            assert not refused.success
            assert "damaged" in refused.message
        for _ in range(2):
            delete = pb.DeleteSnapshotRequest(snapshot_id="one")
            assert (await service(node).DeleteSnapshot(delete, timeout=HANGS)).success
        assert list((tmp_path / "data" / "backups-1").iterdir()) == []


async def test_published_routers_do_not_serve_it(tmp_path: Path) -> None:
    async with running(tmp_path, 1, flags=["--upstream-faithful"]) as cluster:
        node = cluster.node(1)
        await until(lambda: "serves gRPC" in node.logs(), node.logs)

        async def refused() -> bool:
            # Until a worker listens, nobody answers.
            return await code_of(made(node)) is grpc.StatusCode.UNIMPLEMENTED

        await until(refused, node.logs)
