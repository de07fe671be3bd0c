"""Backups of clusters that the operator runs: taken under load, restored elsewhere, taken over."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import pytest

from e2e.running import eventually
from e2e.scene import PVC, STATEFUL_SET, Scene, condition, router
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE
from etl_operator.node.control import archive, state
from etl_operator.router.pb import checkpoint_pb2, router_pb2, router_pb2_grpc
from tests.hanging import HANGS
from tests.install.test_backup import Done, etl_operator
from tests.node.cluster import pipeline
from tests.node.test_backup import checkpoints, content

pytestmark = pytest.mark.asyncio(loop_scope="function")


@dataclass(frozen=True)
class Member:
    """A router pod, called directly."""

    channel: grpc.aio.Channel


@asynccontextmanager
async def leading(scene: Scene, cluster: str) -> AsyncIterator[Member]:
    """The leader."""
    options = [("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(await scene.leader(cluster), options=options) as channel:
        yield Member(channel)


async def run(scene: Scene, command: str, cluster: str, url: str, *options: str) -> Done:
    """Back a cluster up, or restore it, by way of its leader."""
    where = await scene.leader(cluster)
    done = await etl_operator(command, f"{scene.namespace}/{cluster}", url, "--router", where, *options)
    assert done.code == 0, done.err
    return done


def in_files(directory: Path) -> bytes:
    """The state in the only backup in a directory."""
    parts = sorted(directory.glob("*/state.gz.*"))
    file = io.BytesIO(gzip.decompress(b"".join(part.read_bytes() for part in parts)))
    return file.read(archive.read_head(file).size)


class Writer:
    """Creates pipelines one after the other, and commits an offset after each."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self.acknowledged = 0

    async def write(self, until: asyncio.Event) -> None:
        admin = router_pb2_grpc.RouterAdminStub(self._member.channel)  # type: ignore[no-untyped-call]
        while not until.is_set():
            number = self.acknowledged + 1
            create = router_pb2.CreatePipelineRequest(config=pipeline(f"load/p-{number:06}"))
            assert (await admin.CreatePipeline(create, timeout=HANGS)).success
            commit = checkpoint_pb2.CommitGroupOffsetRequest(group_id="load", source_id="s", offset=number)
            assert (await checkpoints(self._member).CommitGroupOffset(commit, timeout=HANGS)).success
            self.acknowledged = number


async def test_a_backup_under_load_is_the_state_of_one_moment_elsewhere_too(
    scene: Scene, tmp_path: Path
) -> None:
    await scene.cluster("old", 3)
    await scene.cluster("new")
    for name in ("old", "new"):
        await scene.ready(CLUSTER, name)
    async with leading(scene, "old") as old, leading(scene, "new") as new:
        writer, stop = Writer(old), asyncio.Event()
        writing = asyncio.create_task(writer.write(stop))

        async def some() -> bool:
            return writer.acknowledged > 50 or writing.done()

        await eventually(some, what="the writer writes")
        before = writer.acknowledged
        saved = await run(scene, "backup", "old", str(tmp_path))
        after = writer.acknowledged
        assert not writing.done()
        held = in_files(tmp_path)
        decoded = state.decode_content(held)
        # No gap, everything acknowledged before, and the offset belongs to the last pipeline.
        ids = [one.pipeline_id for one in decoded.pipelines]
        assert ids == [f"load/p-{number:06}" for number in range(1, len(ids) + 1)]
        assert before <= len(ids) <= after + 1
        (row,) = decoded.checkpoints.groups
        assert row.value in (len(ids) - 1, len(ids))
        await run(scene, "restore", "new", saved.out.strip())
        stop.set()
        await writing
        assert await content(new) == held


async def test_the_operator_takes_over_what_was_restored(scene: Scene, tmp_path: Path) -> None:
    async def everything() -> None:
        await scene.cluster("one", storage={"size": "1Gi"}, deletionPolicy="Delete")
        for resource, name in ((SOURCE, "in"), (SINK, "out")):
            await scene.service(resource, name)
        for name in ("kept", "also"):
            await scene.apply(PIPELINE, name, {"source": "in", "sink": "out"})
            await scene.ready(PIPELINE, name)

    await everything()
    async with leading(scene, "one") as old:
        commit = checkpoint_pb2.CommitGroupOffsetRequest(
            group_id=f"{scene.namespace}/kept", source_id="s", partition=3, offset=41
        )
        assert (await checkpoints(old).CommitGroupOffset(commit, timeout=HANGS)).success
    saved = await run(scene, "backup", "one", str(tmp_path))
    former = (await scene.get(PIPELINE, "kept"))["metadata"]["uid"]

    # All is lost: the objects and the volumes.
    for resource, name in ((PIPELINE, "kept"), (PIPELINE, "also"), (SOURCE, "in"), (SINK, "out")):
        await scene.delete(resource, name)
        await scene.gone(resource, name)
    await scene.delete(CLUSTER, "one")
    await scene.gone(CLUSTER, "one")
    await scene.gone(STATEFUL_SET, "one")

    async def no_volumes() -> bool:
        return not await scene.all(PVC)

    await eventually(no_volumes, what="the volumes are gone")
    await everything()
    await run(scene, "restore", "one", saved.out.strip(), "--overwrite")

    async with router(await scene.leader("one")) as node, leading(scene, "one") as member:

        async def owned() -> bool:
            found = {config.id: config for config in await node.list_pipelines(include_disabled=True)}
            uids = {
                f"{scene.namespace}/{name}": (await scene.get(PIPELINE, name))["metadata"]["uid"]
                for name in ("kept", "also")
            }
            owners = {name: config.metadata["etl.router/owner-uid"] for name, config in found.items()}
            return owners == uids

        await eventually(owned, what="the operator owns the restored pipelines, and no others")
        offsets = await checkpoints(member).GetGroupOffsets(
            checkpoint_pb2.GetGroupOffsetsRequest(group_id=f"{scene.namespace}/kept"), timeout=HANGS
        )
        assert dict(offsets.source_offsets["s"].offsets) == {3: 41}
        again = await node.get_pipeline(f"{scene.namespace}/kept")
        assert again is not None
        assert again.status.enabled
        # Created in the former cluster, updated in this one.
        assert again.status.version == 2
    assert (await scene.get(PIPELINE, "kept"))["metadata"]["uid"] != former
    for name in ("kept", "also"):
        assert condition(await scene.ready(PIPELINE, name))["status"] == "True"
