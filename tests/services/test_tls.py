"""The gRPC port with TLS: for everybody who trusts it, or for whom an authority has signed."""

from __future__ import annotations

from pathlib import Path

import grpc
import grpc.aio
import pytest

from etl_operator.router.pb import transform_pb2_grpc
from tests.informers.manager.pairs import pair, write_pair
from tests.processes import GRPC
from tests.services.batches import process, record
from tests.services.processes import ServiceProcess, service


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


def write_authority(directory: Path, certificate: bytes) -> None:
    (directory / "ca.crt").write_bytes(certificate)
