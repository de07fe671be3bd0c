"""``etl-operator backup`` and ``restore``, with real routers, files and an S3-compatible server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import msgspec
import pytest
from click.testing import CliRunner

from etl_operator.cli.backup import manifest, router
from etl_operator.cli.backup.commands import backup
from etl_operator.cli.backup.copying import Target, save
from etl_operator.cli.backup.manifest import BackupError, File, Manifest
from etl_operator.cli.main import main
from etl_operator.router.pb import backup_pb2, backup_pb2_grpc
from etl_operator.sandbox.manifests import load_manifests
from etl_operator.tls.credentials import ChannelTls
from informers.apiserver.admission.pod_standards import findings
from tests.certificates import Authority
from tests.hanging import HANGS
from tests.install.manifests import CONFIG, only, problems
from tests.install.s3 import S3Server
from tests.node.cluster import RouterProcess, running
from tests.node.test_backup import content, fill
from tests.processes import GRPC, until


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str


async def etl_operator(*words: str, env: Mapping[str, str] | None = None) -> Done:
    """Run the command."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "etl_operator.cli",
        *words,
        env={**os.environ, **(env or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(HANGS):
        out, err = await process.communicate()
    assert process.returncode is not None
    assert "Traceback" not in err.decode()
    return Done(process.returncode, out.decode(), err.decode())


def at(node: RouterProcess) -> list[str]:
    return ["--router", f"{node.ip}:{GRPC}"]


def common_tools_read(directory: Path) -> None:
    """Check a backup without this project."""
    subprocess.run(["sha256sum", "--check", "--status", manifest.CHECKSUM], cwd=directory, check=True)
    subprocess.run(["gzip", "--test", "--suffix", ".00000", "state.gz.00000"], cwd=directory, check=True)


@asynccontextmanager
async def two(tmp_path: Path) -> AsyncIterator[tuple[RouterProcess, RouterProcess]]:
    """A cluster with some state, and an empty one."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    async with running(tmp_path / "old", 1) as old, running(tmp_path / "new", 1) as new:
        node = await old.leader()
        await fill(node, [f"ns/p{number}" for number in range(20)])
        yield node, await new.leader()


async def test_files(tmp_path: Path) -> None:
    async with two(tmp_path) as (old, new):
        place = tmp_path / "backups" / "deep"
        saved = await etl_operator("backup", "ns/prod", str(place), *at(old))
        assert saved.code == 0, saved.err
        (directory,) = place.iterdir()
        assert saved.out.strip() == directory.as_uri()
        assert directory.name.startswith("ns.prod-20")
        assert sorted(file.name for file in directory.iterdir()) == [
            "manifest.json",
            "manifest.json.sha256",
            "state.gz.00000",
        ]
        common_tools_read(directory)
        read = msgspec.json.decode((directory / "manifest.json").read_bytes(), type=Manifest)
        assert (read.cluster, len(read.files)) == ("ns/prod", 1)

        checked = await etl_operator("restore", "ns/prod", saved.out.strip(), *at(new), "--dry-run")
        assert checked.code == 0, checked.err
        assert "valid: 20 pipelines" in checked.err
        assert await content(new) != await content(old)
        done = await etl_operator("restore", "ns/prod", str(directory), *at(new))
        assert done.code == 0, done.err
        assert "restored: 20 pipelines" in done.err
        assert await content(new) == await content(old)
        # Nothing is left on the members but what this test made by itself.
        assert len(list((tmp_path / "old" / "data" / "backups-1").iterdir())) == 2

        again = await etl_operator("restore", "ns/prod", str(directory), *at(new))
        assert again.code == 1
        assert "the cluster is not empty: it has 20 pipelines and checkpoints" in again.err
        assert "--overwrite" in again.err
        over = await etl_operator("restore", "ns/prod", str(directory), *at(new), "--overwrite")
        assert over.code == 0, over.err


async def test_an_object_store(tmp_path: Path) -> None:
    async with two(tmp_path) as (old, new), S3Server().listening() as server:
        url = "s3://bucket/some/where"
        # A server that is overloaded for a moment is asked again.
        server.failures = 2
        saved = await etl_operator("backup", "ns/prod", url, *at(old), env=server.environment)
        assert saved.code == 0, saved.err
        place = saved.out.strip()
        assert place.startswith(f"{url}/ns.prod-20")
        written = [request for request in server.requests if request.startswith("PUT")]
        assert written[-1].endswith("/manifest.json.sha256")
        assert all(key.startswith("some/where/ns.prod-") for key in server.objects)
        done = await etl_operator("restore", "ns/prod", place, *at(new), env=server.environment)
        assert done.code == 0, done.err
        assert await content(new) == await content(old)

        # Errors name the place and what to do.
        parent = await etl_operator("restore", "ns/prod", url, *at(new), env=server.environment)
        assert parent.code == 1
        assert f"there is no backup in {url}" in parent.err
        assert place.rpartition("/")[2] in parent.err
        wrong = {**server.environment, "AWS_SECRET_ACCESS_KEY": "wrong"}
        denied = await etl_operator("backup", "ns/prod", url, *at(old), env=wrong)
        assert denied.code == 1
        assert f"in {place.rpartition('-')[0]}" in denied.err
        assert "403" in denied.err or "SignatureDoesNotMatch" in denied.err
        nowhere = await etl_operator("backup", "prod", "s3://other/x", *at(old), env=server.environment)
        assert nowhere.code == 1
        assert "NoSuchBucket" in nowhere.err


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("state", "the checksum of state.gz.00000 is wrong"),
        ("short", "state.gz.00000 has"),
        ("manifest", "the checksum of manifest.json is wrong"),
        ("huge state", f"state.gz.00000 in {{place}} has {2**31} bytes; the maximum is 8388608"),
        ("huge manifest", f"manifest.json in {{place}} has {2**31} bytes; the maximum is 8388608"),
        ("no state", "there is no state.gz.00000"),
        ("no checksum", "is incomplete: there is no manifest.json.sha256"),
    ],
)
async def test_a_damaged_backup_changes_nothing(tmp_path: Path, damage: str, reason: str) -> None:
    async with running(tmp_path, 1) as cluster:
        node = await cluster.leader()
        await fill(node, ["ns/a"])
        saved = await etl_operator("backup", "ns/prod", str(tmp_path / "to"), *at(node))
        assert saved.code == 0, saved.err
        await fill(node, ["ns/b"])
        before = await content(node)
        (directory,) = (tmp_path / "to").iterdir()
        data = directory / "state.gz.00000"
        match damage:
            case "state":
                changed = bytearray(data.read_bytes())
                changed[20] ^= 1
                data.write_bytes(changed)
            case "short":
                data.write_bytes(data.read_bytes()[:-1])
            case "manifest":
                path = directory / "manifest.json"
                path.write_bytes(path.read_bytes().replace(b"ns/prod", b"ns/test"))
            case "huge state":
                os.truncate(data, 2**31)
            case "huge manifest":
                os.truncate(directory / "manifest.json", 2**31)
            case "no state":
                data.unlink()
            case "no checksum":
                (directory / "manifest.json.sha256").unlink()
        done = await etl_operator("restore", "ns/prod", str(directory), *at(node), "--overwrite")
        assert done.code == 1
        assert reason.format(place=directory.as_uri()) in done.err
        assert await content(node) == before


async def test_a_router_that_does_not_answer_or_serve_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, 1, flags=["--upstream-faithful"]) as cluster:
        node = cluster.node(1)

        async def ready() -> bool:
            return (await node.get("/ready"))[0] == 200

        await until(ready, node.logs)
        done = await etl_operator("backup", "prod", str(tmp_path / "to"), *at(node))
        assert done.code == 1
        assert f"router {node.ip}:{GRPC} does not serve BackupService" in done.err
        node.kill()
        monkeypatch.setattr(router, "RETRY_SECONDS", 0.0)
        with pytest.raises(BackupError, match=f"router {node.ip}:{GRPC}: CreateSnapshot: UNAVAILABLE"):
            await save(Target("ns/prod", f"{node.ip}:{GRPC}", HANGS), str(tmp_path / "to"), print)
        assert not list((tmp_path / "to").rglob("manifest.json*"))


class LosingItsAnswer(backup_pb2_grpc.BackupServiceServicer):
    """A member whose first answer is lost, after it has made the backup."""

    def __init__(self) -> None:
        self.made: list[str] = []

    async def CreateSnapshot(self, request: backup_pb2.CreateSnapshotRequest, context: Any) -> Any:
        if request.snapshot_id in self.made:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, f"snapshot_id: {request.snapshot_id} exists")
        self.made.append(request.snapshot_id)
        if len(self.made) == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was lost")
        return backup_pb2.CreateSnapshotResponse(snapshot_id=request.snapshot_id)


async def test_a_lost_answer_does_not_fail_the_backup() -> None:
    server, member = grpc.aio.server(), LosingItsAnswer()
    backup_pb2_grpc.add_BackupServiceServicer_to_server(member, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with router.Router(f"127.0.0.1:{port}", HANGS) as called:
            made = await called.create()
        assert made.snapshot_id == member.made[1] != member.made[0]
        assert all(one.startswith(router.OWN) for one in member.made)
    finally:
        await server.stop(None)


async def test_a_cluster_with_tls(tmp_path: Path) -> None:
    authority = Authority()
    files = {"cert": "tls.crt", "key": "tls.key", "ca": "ca.crt"}
    async with running(tmp_path, 1) as cluster:
        cluster.node(1).kill()
        directory = authority.issue(cluster.node(1).ip).write(tmp_path / "tls")
        cluster.flags = [f"--tls-{what}={directory / file}" for what, file in files.items()]
        cluster.start([1])
        node = cluster.node(1)
        node.tls = ChannelTls(authority.certificate)
        await cluster.leader()
        await fill(node, ["ns/a"])
        trusting = ["--tls-ca", str(directory / "ca.crt")]
        saved = await etl_operator("backup", "ns/prod", str(tmp_path / "to"), *at(node), *trusting)
        assert saved.code == 0, saved.err
        missing = await etl_operator("backup", "prod", str(tmp_path), *at(node), "--tls-ca", "/no/where")
        assert (missing.code, "/no/where" in missing.err) == (1, True)


def test_a_newer_format_is_refused() -> None:
    made = Manifest(
        format=manifest.FORMAT + 1, cluster="a/b", created="", commit_index=1, term=1, state_size=0, files=[]
    )
    with pytest.raises(BackupError, match="use a newer etl-operator"):
        manifest.decode(*manifest.encode(made))
    older = msgspec.structs.replace(made, format=manifest.FORMAT)
    assert manifest.decode(*manifest.encode(older)) == older


async def test_a_large_state_is_cut_into_files_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "PART_BYTES", 1000)

    async def stream() -> AsyncIterator[bytes]:
        for number in range(50):
            yield bytes([number]) * 333

    cut = [part async for part in manifest.parts(stream())]
    assert [name for name, _ in cut] == [f"state.gz.{number:05}" for number in range(17)]
    assert {len(data) for _, data in cut[:-1]} == {1000}
    assert b"".join(data for _, data in cut) == b"".join([bytes([number]) * 333 for number in range(50)])
    for name, data in cut:
        File(name, len(data), manifest.digest(data)).check(data)


def test_the_cron_job_runs_the_command_without_any_right() -> None:
    objects = load_manifests(CONFIG / "backup")
    assert sorted(obj["kind"] for obj in objects) == ["CronJob", "ServiceAccount"]
    account, job = only(objects, "ServiceAccount"), only(objects, "CronJob")
    assert account["automountServiceAccountToken"] is False
    assert problems(account) == []
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == (
        account["metadata"]["name"],
        False,
    )
    assert findings("restricted", {}, pod) == []
    assert problems({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod}) == []
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    # The command line is one, for the cluster of the samples.
    command, *words = container["args"]
    assert command == "backup"
    parsed = backup.make_context("backup", words)
    sample = only(load_manifests(CONFIG / "samples"), "EtlRouterCluster")
    assert parsed.params["cluster"] == f"{job['metadata']['namespace']}/{sample['metadata']['name']}"
    assert parsed.params["router"] is None


@pytest.mark.parametrize("cluster", ["a/b/c", "/b", "a/"])
def test_a_wrong_command_line_ends_with_code_2(cluster: str) -> None:
    result = CliRunner().invoke(main, ["backup", cluster, "/x"])
    assert result.exit_code == 2
    assert "NAMESPACE/NAME" in result.output
