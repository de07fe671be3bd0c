"""The connection to NATS: credentials, TLS, and what is asked of the servers."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from nats.js.errors import NotFoundError

from etl_operator.node.buffer import streams
from etl_operator.node.buffer.place import Place
from etl_operator.node.buffer.server import Server, Trouble
from etl_operator.node.settings import Nats
from tests.node.buffer.servers import NatsCluster, close, needs_server, serving
from tests.processes import until

pytestmark = needs_server


@asynccontextmanager
async def connection(settings: Nats) -> AsyncIterator[Server]:
    """A connection that is kept up."""
    server = Server(settings)
    running = asyncio.create_task(server.run())
    try:
        yield server
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_the_messages_of_all_streams_are_counted(tmp_path: Path) -> None:
    async with serving(tmp_path) as cluster, connection(cluster.settings()) as server:
        await server.connected()
        settings = cluster.settings()
        await server.ensure(streams.letters(settings), [], create=True)
        for name in ("ns/a", "ns/b"):
            wanted = streams.records(settings, name)
            assert not await server.ensure(wanted, [], create=False)
            assert await server.ensure(wanted, [], create=True)
            assert await server.publish(
                wanted.name or "", f"etl-router.records.{name.replace('/', '_')}.0", b"x", {}
            )
        found = await server.all_messages("etl-router.records.>")
        assert found == {"etl-router_records_ns_a": 1, "etl-router_records_ns_b": 1}


async def test_who_no_longer_waits_for_a_message_keeps_none_from_others(tmp_path: Path) -> None:
    async with serving(tmp_path) as cluster:
        settings = cluster.settings(ack_wait_seconds=3600.0)
        async with connection(settings) as gone, connection(settings) as other:
            await gone.connected()
            await other.connected()
            former = Place(gone, settings, "ns/a")
            waiting = asyncio.create_task(former.next(0, create=True))

            async def asked() -> bool:
                async with cluster.client() as client:
                    js = client.jetstream()
                    try:
                        return bool((await js.consumer_info(former.stream, "lane-0")).num_waiting)
                    except NotFoundError:
                        return False

            await until(asked, cluster.logs)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await former.store(0, b"x", {}, 1)
            message = await Place(other, settings, "ns/a").next(0, create=True)
            assert message is not None and message.data == b"x"


async def test_more_replicas_than_servers_are_an_explained_trouble(tmp_path: Path) -> None:
    async with serving(tmp_path) as cluster, connection(cluster.settings(replicas=3)) as server:
        await server.connected()
        with pytest.raises(Trouble, match="replicas > 1 not supported in non-clustered mode"):
            await server.ensure(streams.records(cluster.settings(replicas=3), "ns/a"), [], create=True)


@pytest.mark.parametrize(
    ("options", "files"),
    [
        ("authorization { user: me, password: secret }", {"username": "me\n", "password": "secret\n"}),
        ("authorization { token: secret }", {"token": "secret"}),
    ],
)
async def test_credentials_are_those_of_the_directory(
    tmp_path: Path, options: str, files: dict[str, str]
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    for name in files:
        (secret / name).write_text("wrong")
    cluster = NatsCluster(tmp_path, 1, options)
    cluster.servers[0].start()
    try:
        async with connection(cluster.settings(credentials_dir=str(secret))) as server:
            await until(lambda: "Authorization Violation" in server.trouble, cluster.logs)
            # As the kubelet does it when the Secret changes.
            for name, content in files.items():
                (secret / name).write_text(content)
            await server.connected()
            assert server.trouble == ""
    finally:
        await close(cluster.servers)


def _certificates(directory: Path, address: str) -> None:
    """A CA, and a certificate for the address that serves as the client's, too."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    for file in ("ca.crt", "tls.crt"):
        (directory / file).write_bytes(certificate.public_bytes(pem))
    plain = serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    (directory / "tls.key").write_bytes(private)


async def test_tls_verifies_the_server_and_shows_a_certificate(tmp_path: Path) -> None:
    secret, empty = tmp_path / "secret", tmp_path / "empty"
    secret.mkdir()
    empty.mkdir()
    cluster = NatsCluster(tmp_path, 1)
    _certificates(secret, cluster.servers[0].ip)
    files = {name: f'"{secret / name}"' for name in ("tls.crt", "tls.key", "ca.crt")}
    cluster.options = (
        f"tls {{ cert_file: {files['tls.crt']}, key_file: {files['tls.key']}, "
        f"ca_file: {files['ca.crt']}, verify: true }}"
    )
    cluster.servers[0].start()
    urls = (cluster.servers[0].url.replace("nats://", "tls://"),)
    try:
        async with connection(cluster.settings(urls=urls, credentials_dir=str(empty))) as server:
            await until(lambda: "CERTIFICATE_VERIFY_FAILED" in server.trouble, cluster.logs)
        async with connection(cluster.settings(urls=urls, credentials_dir=str(secret))) as server:
            await server.connected()
    finally:
        await close(cluster.servers)


async def test_a_missing_directory_is_named_and_credentials_of_a_url_are_not() -> None:
    settings = Nats(urls=("nats://me:secret@127.0.0.1:1",), credentials_dir="/nowhere")
    async with connection(settings) as server:
        await until(lambda: "/nowhere" in server.trouble)
        assert "secret" not in server.trouble and "127.0.0.1:1" in server.trouble
