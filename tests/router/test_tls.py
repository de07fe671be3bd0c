"""Routers with TLS: which certificates a call uses, and when it waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest

from etl_operator.router.client import RouterClients
from etl_operator.router.errors import RouterError, Unreachable
from etl_operator.router.registration import Beat
from etl_operator.tls.credentials import ChannelTls
from tests.certificates import DAY, Authority, Issued
from tests.router.conftest import Start
from tests.router.test_client import USERS

OURS = Authority("ours")
HOST = "127.0.0.1"


@asynccontextmanager
async def served(issued: Issued, *, mutual: bool = False) -> AsyncIterator[str]:
    """A gRPC server with TLS that knows no method: its address."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    credentials = grpc.ssl_server_credentials(
        [(issued.key, issued.certificate)], issued.authority if mutual else None, mutual
    )
    port = server.add_secure_port(f"{HOST}:0", credentials)
    await server.start()
    try:
        yield f"{HOST}:{port}"
    finally:
        await server.stop(None)


async def why(clients: RouterClients, address: str) -> str:
    """Why a call fails."""
    with pytest.raises(RouterError) as raised:
        await clients.node(address).get_pipeline("etl/p")
    return str(raised.value)


async def test_calls_use_the_certificates_and_errors_say_what_is_wrong(clients: RouterClients) -> None:
    issued = OURS.issue(HOST)
    async with served(issued, mutual=True) as address:
        assert "connection lost" in await why(clients, address)
        clients.secure(address, ChannelTls(OURS.certificate, *issued.pair))
        assert "UNIMPLEMENTED" in await why(clients, address)
        clients.secure(address, ChannelTls(Authority("theirs").certificate, *issued.pair))
        assert "its certificate is not signed by the CA" in await why(clients, address)
    async with served(OURS.issue("elsewhere.example")) as address:
        clients.secure(address, ChannelTls(OURS.certificate))
        assert "its certificate is for other names" in await why(clients, address)
    async with served(OURS.issue(HOST, begins=-9 * DAY, lasts=DAY)) as address:
        clients.secure(address, ChannelTls(OURS.certificate))
        assert "its certificate has expired" in await why(clients, address)


async def test_a_router_without_tls_is_told_apart(clients: RouterClients, start: Start) -> None:
    address = (await start()).address
    clients.secure(address, ChannelTls(OURS.certificate))
    assert "the TLS handshake failed" in await why(clients, address)
    clients.secure(address, None)
    assert await clients.node(address).get_pipeline("etl/p") is None


async def test_what_is_under_way_continues_when_certificates_are_replaced(
    clients: RouterClients, start: Start
) -> None:
    router = await start()
    node = clients.node(router.address)
    await node.register(USERS)
    beats = node.heartbeats()
    assert await beats.beat([Beat("etl/users", "")]) == [True]
    clients.secure(router.address, ChannelTls(OURS.certificate))
    # A new call has the new certificates; the stream goes on over the connection that it has.
    assert "the TLS handshake failed" in await why(clients, router.address)
    assert await beats.beat([Beat("etl/users", "")]) == [True]
    beats.close()
    clients.secure(router.address, None)
    assert await clients.node(router.address).get_pipeline("etl/p") is None
    assert len(clients.channels) == 1


async def test_a_call_waits_for_certificates_that_are_being_read(start: Start) -> None:
    router = await start()
    clients = RouterClients()
    clients.await_certificates(lambda address: address == router.address)
    try:
        calling = asyncio.create_task(clients.node(router.address).get_pipeline("etl/p"))
        await asyncio.sleep(0)
        assert router.calls == []
        clients.secure(router.address, None)
        assert await calling is None
    finally:
        await clients.close()


async def test_a_call_does_not_wait_longer_than_its_deadline(start: Start) -> None:
    router = await start()
    clients = RouterClients(deadline=0.05)
    clients.await_certificates(lambda address: True)
    try:
        with pytest.raises(Unreachable, match="its certificates have not been read yet"):
            await clients.node(router.address).get_pipeline("etl/p")
    finally:
        await clients.close()
