"""The name proxy with real sockets, its names from a real API server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from etl_operator.sandbox.proxy import NameProxy
from etl_operator.sandbox.resolving import Target
from informers.client import Client
from informers.objects import Object, ObjectKey, Resource
from tests.hanging import HANGS
from tests.sandbox.http.serving import client_of, comes_true, eventually, serving

SERVICE = Resource("", "v1", "services", "Service")
SLICE = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
POD = Resource("", "v1", "pods", "Pod")
POD_ADDRESS = "127.213.7.1"
API_SERVER = Target("127.0.0.1", 1)
anywhere = pytest.mark.parametrize("world", ["anywhere"], indirect=True)
NAME = "db-0.db.default.svc.cluster.local"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Answer:
    """A proxy's answer, and the connection it came on."""

    status: int
    reason: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class World:
    """A cluster with one headless Service, a proxy of its names, and connections to close at the end."""

    def __init__(self, client: Client, url: str, stack: contextlib.AsyncExitStack) -> None:
        self.client = client
        self._address = urlsplit(url)
        self._stack = stack

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        self._stack.callback(writer.close)
        return reader, writer

    async def ask(self, request: bytes) -> Answer:
        reader, writer = await self.connect()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        _, status, reason = head.partition(b"\r\n")[0].decode().split(" ", 2)
        return Answer(int(status), reason, reader, writer)

    async def tunnel(self, host: str, port: int) -> Answer:
        return await self.ask(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())

    async def serve(self, address: str, handler: Serve) -> int:
        """Serve on a free port; returns it."""
        handlers: set[asyncio.Task[None]] = set()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            handlers.add(task)
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await handler(reader, writer)
            writer.transport.abort()

        server = await asyncio.start_server(handle, address, 0)

        async def stop() -> None:
            server.close()
            for task in handlers:
                task.cancel()
            await asyncio.gather(*handlers, return_exceptions=True)
            await server.wait_closed()

        self._stack.push_async_callback(stop)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def pods(self, *ready: bool) -> None:
        """Give the Service this many pods, all at one address."""
        for index, one in enumerate(ready):
            pod = pod_of(index)
            await self.client.apply(POD, pod, field_manager="test", force=True)
            condition = {"type": "Ready", "status": "True" if one else "False"}
            status = {"phase": "Running", "podIP": POD_ADDRESS, "conditions": [condition]}
            await self.client.patch(POD, ObjectKey.of(pod), {"status": status}, subresource="status")
        for pod in (await self.client.list(POD, namespace="default")).items[len(ready) :]:
            await self.client.delete(POD, ObjectKey.of(pod), grace_period=0)

    async def resolves(self, port: int) -> Answer:
        """A tunnel to the pod, as soon as the proxy knows of it."""

        async def look() -> Answer | None:
            answer = await self.tunnel(NAME, port)
            return answer if answer.status == 200 else None

        return await eventually(look, what="the proxy resolves the pod")


def pod_of(index: int) -> Object:
    meta = {"name": f"db-{index}", "namespace": "default", "labels": {"app": "db"}}
    spec = {
        "hostname": f"db-{index}",
        "subdomain": "db",
        "containers": [{"name": "main", "image": "any"}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


@pytest.fixture
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving())
        client = await stack.enter_async_context(client_of(server, tmp_path))
        await client.create(
            SERVICE,
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "db", "namespace": "default"},
                "spec": {"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 50051}]},
            },
        )
        proxy = NameProxy(client, also=[API_SERVER], anywhere=getattr(request, "param", "") == "anywhere")
        url = await proxy.start()
        stack.push_async_callback(proxy.stop)
        yield World(client, url, stack)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(1 << 16):
        writer.write(piece)
        await writer.drain()
    writer.write(b"<end>")
    writer.write_eof()


async def test_a_pods_name_leads_to_the_pod_and_half_closing_is_passed_on(world: World) -> None:
    port = await world.serve(POD_ADDRESS, echo)
    await world.pods(True)
    tunnel = await world.resolves(port)
    tunnel.writer.write(b"hello")
    assert await tunnel.reader.readexactly(5) == b"hello"
    tunnel.writer.write_eof()
    assert await tunnel.reader.read() == b"<end>"


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("db-7.db.default.svc.cluster.local", "Service default/db has no pod db-7"),
        ("db-1.db.default.svc", "pod db-1 of Service default/db is not ready"),
        ("none.default.svc", "Service default/none not found"),
    ],
)
async def test_names_behind_which_nothing_is_are_refused_at_once_with_the_reason(
    world: World, host: str, said: str
) -> None:
    port = await world.serve(POD_ADDRESS, echo)
    await world.pods(True, False)
    await world.resolves(port)
    answer = await world.tunnel(host, 1)
    assert (answer.status, answer.reason) == (502, said)
    assert (await answer.reader.read()).decode() == f"{said}\n"


@anywhere
async def test_other_hosts_are_connected_to_directly_where_that_is_wanted(world: World) -> None:
    port = await world.serve("127.0.0.1", echo)
    for host in ("127.0.0.1", "localhost"):
        tunnel = await world.tunnel(host, port)
        assert tunnel.status == 200
        tunnel.writer.write(b"x")
        assert await tunnel.reader.readexactly(1) == b"x"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "169.254.169.254", "[::1]", "2130706433", POD_ADDRESS]
)
async def test_other_hosts_are_not_reached(world: World, host: str) -> None:
    port = await world.serve("127.0.0.1", echo)
    answer = await world.tunnel(host, port)
    assert answer.status == 403
    assert "--proxy-anywhere" in answer.reason


async def test_pods_and_the_api_server_are_reached_by_address(world: World) -> None:
    port = await world.serve(POD_ADDRESS, echo)
    await world.pods(True)
    await world.resolves(port)
    assert (await world.tunnel(POD_ADDRESS, port)).status == 200
    # Nobody listens there, but it may be asked.
    assert (await world.tunnel(*API_SERVER)).status == 502


async def test_a_pod_on_the_hosts_network_is_reached_at_its_own_ports_only(world: World) -> None:
    port, other = await world.serve("127.0.0.1", echo), await world.serve("127.0.0.1", echo)
    pod = pod_of(0)
    pod["spec"] |= {"hostNetwork": True}
    ports = [{"containerPort": port, "hostPort": port}]
    pod["spec"]["containers"] = [{"name": "main", "image": "any", "ports": ports}]
    await world.client.apply(POD, pod, field_manager="test", force=True)
    status = {"phase": "Running", "podIP": "127.0.0.1"}
    await world.client.patch(POD, ObjectKey.of(pod), {"status": status}, subresource="status")

    async def look() -> bool:
        return (await world.tunnel("127.0.0.1", port)).status == 200

    await eventually(look, what="the pod's own port is reached")
    assert (await world.tunnel("127.0.0.1", other)).status == 403


async def test_nobody_listening_is_said(world: World) -> None:
    port = await world.serve(POD_ADDRESS, echo)
    await world.pods(True)
    await world.resolves(port)
    answer = await world.tunnel(NAME, 1)
    assert answer.status == 502
    assert f"cannot connect to {POD_ADDRESS}:1" in answer.reason


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET http://db.default.svc/ HTTP/1.1\r\n\r\n", 405),
        (b"CONNECT db.default.svc HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT db.default.svc:70000 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT db.default.svc:x HTTP/1.1\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"CONNECT a:1 HTTP/1.1\r\nX: " + b"x" * 200_000, 431),
    ],
)
async def test_what_is_no_connect_request_is_refused(world: World, request_head: bytes, status: int) -> None:
    assert (await world.ask(request_head)).status == status


@anywhere
async def test_a_pod_that_is_gone_takes_its_tunnels_along(world: World) -> None:
    port = await world.serve(POD_ADDRESS, echo)
    other = await world.serve("127.0.0.1", echo)
    await world.pods(True)
    tunnel, outside = await world.resolves(port), await world.tunnel("127.0.0.1", other)
    await world.pods(False)
    tunnel.writer.write(b"still there")
    assert await tunnel.reader.readexactly(11) == b"still there"
    await world.pods()
    async with asyncio.timeout(HANGS):
        with contextlib.suppress(ConnectionError):
            assert await tunnel.reader.read() == b""
    outside.writer.write(b"untouched")
    assert await outside.reader.readexactly(9) == b"untouched"


async def test_a_slow_receiver_slows_the_sender_and_fills_no_memory(world: World) -> None:
    go_on = asyncio.Event()
    received = 0

    async def slow(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal received
        await go_on.wait()
        while piece := await reader.read(1 << 20):
            received += len(piece)

    port = await world.serve(POD_ADDRESS, slow)
    await world.pods(True)
    tunnel = await world.resolves(port)
    total = 64 << 20
    piece = b"x" * (1 << 20)
    sent = 0

    async def send() -> None:
        nonlocal sent
        while sent < total:
            tunnel.writer.write(piece)
            await tunnel.writer.drain()
            sent += len(piece)
        tunnel.writer.write_eof()

    sending = asyncio.create_task(send())
    before = -1
    while sent != before:
        # As long as something moves, it is not held back yet.
        before = sent
        await asyncio.sleep(0.3)
    assert sent < total
    go_on.set()
    async with asyncio.timeout(HANGS):
        await sending
    await comes_true(lambda: received == total, what="everything has arrived")


async def test_it_stops_with_tunnels_open(world: World) -> None:
    port = await world.serve(POD_ADDRESS, echo)
    await world.pods(True)
    tunnel = await world.resolves(port)
    # The fixture's end stops the proxy; a tunnel or an unfinished request must not hold it up.
    await world.connect()
    assert tunnel.status == 200


async def test_a_service_without_selector_has_the_endpoints_that_somebody_wrote(world: World) -> None:
    port = await world.serve(POD_ADDRESS, echo)
    meta = {"name": "outside", "namespace": "default"}
    ports = [{"name": "grpc", "port": 7}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": ports}}
    await world.client.create(SERVICE, service)
    written = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**meta, "labels": {"kubernetes.io/service-name": "outside"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [POD_ADDRESS]}],
        "ports": [{"name": "grpc", "port": port}],
    }
    await world.client.create(SLICE, written)

    async def look(status: int) -> bool:
        return (await world.tunnel("outside.default.svc", 7)).status == status

    # Whoever may write endpoints must not reach what is no pod through them.
    await eventually(lambda: look(403), what="the written endpoint is known and refused")
    await world.pods(True)
    await eventually(lambda: look(200), what="the written endpoint is a pod's and is reached")


@pytest.mark.parametrize(
    ("host", "namespace", "status", "reason"),
    [
        ("db", "default", 502, "Service default/db has no ready endpoint"),
        ("db.default", "other", 502, "Service default/db has no ready endpoint"),
        ("db", "other", 403, "db:50051 is not a pod of this cluster"),
        ("db", "", 403, "db:50051 is not a pod of this cluster"),
    ],
)
async def test_short_names_are_looked_up_in_the_namespace_of_the_one_who_asks(
    world: World, host: str, namespace: str, status: int, reason: str
) -> None:
    user = base64.b64encode(f"{namespace}:".encode()).decode()
    asked = f"CONNECT {host}:50051 HTTP/1.1\r\nProxy-Authorization: Basic {user}\r\n\r\n"
    answer = await world.ask(asked.encode())
    assert answer.status == status
    assert reason in answer.reason


async def test_an_authorization_that_cannot_be_read_names_no_namespace(world: World) -> None:
    asked = b"CONNECT db:50051 HTTP/1.1\r\nProxy-Authorization: Basic %%%\r\n\r\n"
    assert (await world.ask(asked)).status == 403
