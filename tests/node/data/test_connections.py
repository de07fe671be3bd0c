"""Connections to services: which certificates they use, and when they are made again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from etl_operator.node.data.connections import LOOK_EVERY, Connections, Place
from etl_operator.node.data.view import Service
from etl_operator.router.pb import common_pb2, registry_pb2
from etl_operator.tls.files import TlsError
from tests.certificates import DAY, Authority, Issued
from tests.hanging import HANGS
from tests.node.cluster import running
from tests.node.data.made import line
from tests.node.data.processes import accepted, run
from tests.node.data.services import FakeSink, listening
from tests.processes import until

AUTHORITY = Authority()
REFUSED = None


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def serving(issued: Issued, *, mutual: bool) -> AsyncIterator[int]:
    """A server that answers health checks: its port."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    pair = [(issued.key, issued.certificate)]
    credentials = grpc.ssl_server_credentials(pair, issued.authority if mutual else None, mutual)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def answered(connections: Connections, place: Place) -> bool | None:
    """Whether a call is answered; None: there was no connection."""
    stub = health_pb2_grpc.HealthStub(connections.to(place))
    try:
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=HANGS)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE, error
        return REFUSED
    return True


@asynccontextmanager
async def connections(directory: Path, clock: Clock | None = None) -> AsyncIterator[Connections]:
    made = Connections(str(directory), 2**20, 0.1, clock or Clock())
    try:
        yield made
    finally:
        await made.close()


def place(port: int, ca: str = "", client: str = "", *, unverified: bool = False) -> Place:
    return Place("127.0.0.1", port, True, ca, client, unverified)


def test_a_place_is_what_the_registration_says() -> None:
    labels = {
        "etl.router/tls.ca-secret": "ca",
        "etl.router/tls.client-secret": "me",
        "etl.router/tls.insecure-skip-verify": "true",
    }
    service = Service("ns/s", 3, "s", "h", 1, labels=labels, use_tls=True)
    assert Place.of(service) == Place("h", 1, True, "ca", "me", True)
    assert Place.of(Service("ns/s", 3, "s", "h", 1, labels=labels)) == Place("h", 1)


async def test_the_secrets_that_are_named_are_used(tmp_path: Path) -> None:
    good = AUTHORITY.issue("127.0.0.1")
    good.write(tmp_path / "good")
    Authority("other").issue("127.0.0.1").write(tmp_path / "other")
    async with connections(tmp_path) as made:
        async with serving(good, mutual=True) as port:
            assert await answered(made, place(port, "good", "good"))
            assert await answered(made, place(port, "good")) is REFUSED
            assert await answered(made, place(port, "good", "other")) is REFUSED
            assert await answered(made, place(port, "other", "good")) is REFUSED
        async with serving(AUTHORITY.issue("192.0.2.1"), mutual=False) as port:
            assert await answered(made, place(port, "good")) is REFUSED


@pytest.mark.parametrize("mutual", [False, True])
async def test_whoever_is_not_verified_may_have_any_certificate(tmp_path: Path, mutual: bool) -> None:
    wrong = AUTHORITY.issue("elsewhere.example", begins=-9 * DAY, lasts=DAY)
    AUTHORITY.issue("client").write(tmp_path / "me")
    async with connections(tmp_path) as made, serving(wrong, mutual=mutual) as port:
        assert await answered(made, place(port, client="me", unverified=True))
        assert await answered(made, place(port, "me", "me")) is REFUSED


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ("none", "ca.crt of Secret none: No such file"),
        ("empty", "ca.crt of Secret empty has no certificate"),
        ("../../etc", "Secret ../../etc is not mounted in this router"),
        (".", "Secret . is not mounted in this router"),
    ],
)
async def test_a_secret_that_cannot_be_used_is_named(tmp_path: Path, secret: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "ca.crt").write_text("nothing")
    async with connections(tmp_path) as made:
        with pytest.raises(TlsError) as raised:
            made.to(place(1, secret))
    assert words in str(raised.value)
    with pytest.raises(TlsError, match="is not mounted in this router"):
        Connections("", 2**20, 0.1).to(place(1, "some"))


async def test_a_rotation_is_taken_up_after_a_while_and_half_of_one_is_not(tmp_path: Path) -> None:
    old, new = Authority("old"), Authority("new")
    first, second = old.issue("127.0.0.1"), new.issue("127.0.0.1")
    first.write(tmp_path / "s")
    clock = Clock()
    async with connections(tmp_path, clock) as made:
        async with serving(first, mutual=True) as port:
            before = made.to(place(port, "s", "s"))
            assert await answered(made, place(port, "s", "s"))
            Issued(second.certificate, first.key, first.authority).write(tmp_path / "s")
            clock.now += LOOK_EVERY
            assert made.to(place(port, "s", "s")) is before
            second.write(tmp_path / "s")
            clock.now += LOOK_EVERY / 2
            assert made.to(place(port, "s", "s")) is before
        async with serving(second, mutual=True) as port:
            clock.now += LOOK_EVERY
            assert await answered(made, place(port, "s", "s"))


async def test_a_node_calls_a_service_with_its_secrets_and_says_which_is_missing(tmp_path: Path) -> None:
    issued = AUTHORITY.issue("127.0.0.1")
    sink = FakeSink()
    sink.credentials = grpc.ssl_server_credentials([(issued.key, issued.certificate)], issued.authority, True)
    flags = [f"--service-tls-dir={tmp_path / 'secrets'}"]
    async with listening(sink), running(tmp_path, 1, flags=flags) as cluster:
        node = await cluster.leader()
        request = registry_pb2.RegisterRequest(
            identity=common_pb2.ServiceIdentity(
                service_id="ns/sink", service_type=common_pb2.SERVICE_TYPE_SINK, name=sink.name
            ),
            endpoint=common_pb2.Endpoint(host="127.0.0.1", port=sink.port, use_tls=True),
            metadata=registry_pb2.ServiceMetadata(
                labels={"etl.router/tls.ca-secret": "ca", "etl.router/tls.client-secret": "me"}
            ),
        )
        assert (await node.registry.Register(request, timeout=HANGS)).success
        await run(node, line())
        pushing = asyncio.create_task(accepted(node, [1]))

        missing = "service ns/sink: ca.crt of Secret ca: No such file"
        await until(lambda: missing in node.logs(), node.logs)
        issued.write(tmp_path / "secrets" / "ca")
        AUTHORITY.issue("router").write(tmp_path / "secrets" / "me")
        await pushing
        assert sink.sequences == [1]
