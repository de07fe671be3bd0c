"""The gRPC port with TLS: for everybody who trusts it, or for whom an authority has signed."""

from __future__ import annotations

from pathlib import Path

import grpc
import grpc.aio
import pytest

from etl_operator.router.pb import transform_pb2_grpc
from tests.certificates import Authority
from tests.informers.manager.pairs import pair, write_pair
from tests.processes import GRPC
from tests.services.batches import process, record
from tests.services.processes import ServiceProcess, service, started
from tests.services.router import FakeRouter


async def asked(running: ServiceProcess, credentials: grpc.ChannelCredentials | None) -> int | None:
    """Results of a call; None: the connection was refused."""
    address = f"{running.ip}:{GRPC}"
    options = [("grpc.ssl_target_name_override", "127.0.0.1"), ("grpc.enable_http_proxy", 0)]
    if credentials is None:
        channel = grpc.aio.insecure_channel(address, options=options)
    else:
        channel = grpc.aio.secure_channel(address, credentials, options=options)
    async with channel:
        stub = transform_pb2_grpc.TransformServiceStub(channel)  # type: ignore[no-untyped-call]
        try:
            answer = await stub.ProcessBatch(process([record(1, 1)]))
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            return None
        return len(answer.results)


@pytest.mark.parametrize("mutual", [False, True])
async def test_who_may_call(tmp_path: Path, mutual: bool) -> None:
    trusted = write_pair(tmp_path)
    ours, key = pair()
    stranger = pair()
    write_authority(tmp_path, ours)
    arguments = [
        *("transform", "filter", "--where=true"),
        f"--tls-cert={tmp_path}/tls.crt",
        f"--tls-key={tmp_path}/tls.key",
        *([f"--tls-client-ca={tmp_path}/ca.crt"] if mutual else []),
    ]
    async with service(tmp_path, *arguments) as running:
        assert running.get("/readyz")[0] == 200
        assert await asked(running, None) is None
        assert await asked(running, grpc.ssl_channel_credentials(stranger[0])) is None
        assert await asked(running, grpc.ssl_channel_credentials(trusted, key, ours)) == 1
        others = 1 if not mutual else None
        assert await asked(running, grpc.ssl_channel_credentials(trusted)) == others
        assert await asked(running, grpc.ssl_channel_credentials(trusted, stranger[1], stranger[0])) == others


async def test_new_connections_use_a_rotated_certificate(tmp_path: Path) -> None:
    first, second = Authority("old").issue("127.0.0.1"), Authority("new").issue("127.0.0.1")
    first.write(tmp_path)
    files = (f"--tls-cert={tmp_path}/tls.crt", f"--tls-key={tmp_path}/tls.key")
    async with service(tmp_path, "transform", "filter", "--where=true", *files) as running:
        assert await asked(running, grpc.ssl_channel_credentials(first.authority)) == 1
        second.write(tmp_path)
        assert await asked(running, grpc.ssl_channel_credentials(second.authority)) == 1
        assert await asked(running, grpc.ssl_channel_credentials(first.authority)) is None


async def test_a_source_pushes_to_a_router_that_requires_certificates(tmp_path: Path) -> None:
    authority = Authority()
    node = FakeRouter()
    issued = authority.issue(node.ip)
    pair = [(issued.key, issued.certificate)]
    node.credentials = grpc.ssl_server_credentials(pair, issued.authority, require_client_auth=True)
    client = authority.issue("source").write(tmp_path / "client")
    files = {"ca": "ca.crt", "cert": "tls.crt", "key": "tls.key"}
    options = [f"--router-tls-{what}={client / file}" for what, file in files.items()]
    await node.start()
    try:
        generate = ("source", "generate", "--source-id=ns/events", "--count=10")
        async with started(tmp_path, *generate, f"--router={node.address}", *options) as process:
            assert await process.exit_code() == 0, process.logs()
        assert len(node.records) == 10
    finally:
        await node.stop()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--router-tls-cert=x"], 2, "--router-tls-cert and --router-tls-key belong together"),
        (["--router-tls-ca=/no/such"], 1, "cannot use the TLS files for the routers: /no/such: No such file"),
    ],
)
async def test_what_cannot_be_used_for_routers_is_said(
    tmp_path: Path, options: list[str], code: int, words: str
) -> None:
    generate = ("source", "generate", "--source-id=ns/events", "--router=127.0.0.1:1")
    async with started(tmp_path, *generate, *options) as process:
        assert await process.exit_code() == code
        assert words in process.logs()


def write_authority(directory: Path, certificate: bytes) -> None:
    (directory / "ca.crt").write_bytes(certificate)
