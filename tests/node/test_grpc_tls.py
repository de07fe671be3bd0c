"""The gRPC port of a node process with TLS: who may call, rotation, and both ways at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc.aio
import pytest

from etl_operator.router.pb import router_pb2, router_pb2_grpc
from etl_operator.tls.credentials import ChannelTls
from tests.certificates import Authority, Issued
from tests.hanging import HANGS
from tests.node.cluster import RouterCluster, RouterProcess, pipeline, running
from tests.processes import GRPC, until

AUTHORITY = Authority()
REFUSED = None


def flags(directory: Path, *more: str) -> list[str]:
    return [*(f"--tls-{what}={directory / file}" for what, file in FILES.items()), *more]


FILES = {"cert": "tls.crt", "key": "tls.key", "ca": "ca.crt"}


def channel(node: RouterProcess, tls: ChannelTls | None) -> grpc.aio.Channel:
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    target = f"{node.ip}:{GRPC}"
    if tls is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, tls.credentials(), options=options)


async def status(through: grpc.aio.Channel) -> int | None:
    """The id of the node that answers; None: there was no connection."""
    stub = router_pb2_grpc.RouterAdminStub(through)  # type: ignore[no-untyped-call]
    try:
        answer = await stub.GetClusterStatus(router_pb2.GetClusterStatusRequest(), timeout=HANGS)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        return REFUSED
    return int(answer.node_id)


async def asked(node: RouterProcess, tls: ChannelTls | None) -> int | None:
    """The same, over a connection of its own."""
    async with channel(node, tls) as through:
        return await status(through)


async def ready(cluster: RouterCluster) -> RouterProcess:
    node = cluster.node(1)

    async def answers() -> bool:
        return (await node.get("/ready"))[0] == 200

    await until(answers, cluster.logs)
    return node


def trusting(issued: Issued) -> ChannelTls:
    return ChannelTls(issued.authority)


def presenting(issued: Issued) -> ChannelTls:
    return ChannelTls(issued.authority, issued.certificate, issued.key)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("auth", "plaintext"), [("none", "deny"), ("require", "deny"), ("none", "allow"), ("require", "allow")]
)
async def test_who_may_call(tmp_path: Path, workers: int, auth: str, plaintext: str) -> None:
    authority, stranger = AUTHORITY, Authority("stranger")
    cluster = RouterCluster(tmp_path)
    issued = authority.issue(f"{cluster.network}.1")
    cluster.flags = flags(
        issued.write(tmp_path / "tls"),
        f"--data-workers={workers}",
        f"--tls-client-auth={auth}",
        f"--tls-plaintext={plaintext}",
    )
    try:
        cluster.start([1])
        node = await ready(cluster)
        anybody = 1 if auth == "none" else REFUSED
        client = authority.issue("client")
        assert await asked(node, presenting(client)) == 1
        assert await asked(node, trusting(issued)) == anybody
        theirs = stranger.issue("client")
        assert await asked(node, ChannelTls(issued.authority, *theirs.pair)) == anybody
        assert await asked(node, trusting(theirs)) is REFUSED
        assert await asked(node, None) == (1 if plaintext == "allow" else REFUSED)
        said = [line for line in cluster.logs().splitlines() if "without TLS" in line]
        assert len(said) == (1 if plaintext == "allow" else 0)
    finally:
        await cluster.node(1).close()


async def test_rotation_is_seen_by_new_connections_and_old_ones_continue(tmp_path: Path) -> None:
    cluster = RouterCluster(tmp_path)
    host = f"{cluster.network}.1"
    old, new = Authority("old"), Authority("new")
    first, second = old.issue(host), new.issue(host)
    first.write(tmp_path / "tls")
    cluster.flags = flags(tmp_path / "tls", "--tls-client-auth=require")
    try:
        cluster.start([1])
        node = await ready(cluster)
        async with channel(node, presenting(first)) as before:
            assert await status(before) == 1
            stub = router_pb2_grpc.RouterAdminStub(before)  # type: ignore[no-untyped-call]
            numbers = iter(range(10_000))
            stop = asyncio.Event()

            async def write() -> int:
                written = 0
                while not stop.is_set():
                    request = router_pb2.CreatePipelineRequest(config=pipeline(f"ns/{next(numbers)}"))
                    assert (await stub.CreatePipeline(request, timeout=HANGS)).success
                    written += 1
                return written

            writing = asyncio.create_task(write())
            second.write(tmp_path / "tls")
            assert await asked(node, presenting(second)) == 1
            # Who trusts only the old authority, or has a certificate of it, does not come in any more.
            assert await asked(node, presenting(first)) is REFUSED
            assert await asked(node, ChannelTls(second.authority, *first.pair)) is REFUSED
            stop.set()
            assert await writing > 0
            assert await status(before) == 1
    finally:
        await cluster.node(1).close()


async def test_a_cluster_with_tls_everywhere_elects_writes_and_survives_its_leader(tmp_path: Path) -> None:
    cluster = RouterCluster(tmp_path)
    for node_id in (1, 2, 3):
        host = f"{cluster.network}.{node_id}"
        directory = AUTHORITY.issue(host).write(tmp_path / f"tls-{node_id}")
        raft = [f"--raft-tls-{what}={directory / file}" for what, file in FILES.items()]
        cluster.node_flags = {**cluster.node_flags, node_id: flags(directory, *raft)}
        cluster.node(node_id).tls = ChannelTls(AUTHORITY.certificate)
    try:
        cluster.start([1, 2, 3])
        leader = await cluster.leader()
        request = router_pb2.CreatePipelineRequest(config=pipeline("ns/a"))
        assert (await leader.admin.CreatePipeline(request, timeout=HANGS)).success
        leader.kill()
        others = {1, 2, 3} - {leader.node_id}

        async def found() -> bool:
            answers = [await cluster.node(node_id).status() for node_id in others]
            return {answer.leader_id if answer else 0 for answer in answers} in ({one} for one in others)

        await until(found, cluster.logs)
        assert "without TLS" not in cluster.logs()
    finally:
        for node in cluster.nodes.values():
            await node.close()


async def test_a_node_without_tls_says_so_once(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as cluster:
        await cluster.leader()
        said = [line for line in cluster.logs().splitlines() if "without TLS" in line]
        assert len(said) == 1
        assert f"restrict access to port {GRPC} (gRPC)" in said[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tls-cert=x"], "--tls-cert and --tls-key must be given together"),
        (["--tls-ca=x"], "--tls-ca needs --tls-cert and --tls-key"),
        (["--tls-cert=x", "--tls-key=y", "--tls-client-auth=require"], "needs --tls-ca"),
        (["--tls-cert=x", "--tls-key=y", "--data-workers=0"], "x: No such file or directory"),
        (["--tls-cert=x", "--tls-key=y"], "x: No such file or directory"),
        (["--raft-tls-cert=x", "--raft-tls-key=y", "--raft-tls-ca=z"], "x: No such file or directory"),
    ],
)
async def test_what_cannot_be_used_is_said(tmp_path: Path, arguments: list[str], words: str) -> None:
    cluster = RouterCluster(tmp_path, flags=arguments)
    try:
        cluster.start([1])
        assert await cluster.node(1).exit_code() == 1
        assert words in cluster.logs()
    finally:
        await cluster.node(1).close()
