"""A process of its own that wants a lease and, while it leads, writes all the time. Run by a test.

Arguments: kubeconfig, identity, and the address of a router if there is one. It writes its identity and a
serial number into the ConfigMap ``log``, and its identity into the router's pipeline ``log``, through fenced
clients, every 20 ms, whatever happens.
"""

from __future__ import annotations

import asyncio
import random
import sys
from typing import Any

from etl_operator.router.client import RouterClients, RouterNode
from etl_operator.router.errors import RouterError
from etl_operator.router.pb.router_pb2 import PipelineConfig
from informers.client import Client, HttpTransport, load_kubeconfig
from informers.clock import SystemClock
from informers.errors import RuntimeFault
from informers.leader import LeaderElector, LeaseLost
from informers.objects import Resource

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS = 4.0, 2.0, 0.5


async def campaign(kubeconfig: str, identity: str, router: str = "") -> None:
    """Lead, write, lose, and again."""
    transport: Any = HttpTransport(load_kubeconfig(kubeconfig))
    elector = LeaderElector(
        Client(transport),
        "default",
        "contended",
        identity,
        clock=SystemClock(),
        lease_duration=LEASE_SECONDS,
        renew_deadline=RENEW_SECONDS,
        retry_period=RETRY_SECONDS,
        rng=random.Random(identity),
    )
    writers = [asyncio.ensure_future(write(Client(transport, fence=elector.fence), identity))]
    if router:
        node = RouterClients(fence=elector.fence).node(router)
        writers.append(asyncio.ensure_future(write_to_router(node, identity)))
    try:
        while True:
            await elector.acquire()
            try:
                await elector.hold()
            except LeaseLost:
                continue
    finally:
        for writer in writers:
            writer.cancel()


async def write(client: Client, identity: str) -> None:
    """Try to write, also while somebody else leads: nothing but the fence may keep it from that."""
    serial = 0
    while True:
        await asyncio.sleep(0.02)
        serial += 1
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"namespace": "default", "name": "log"},
            "data": {"writer": identity, "serial": str(serial)},
        }
        try:
            await client.apply(CONFIG_MAP, body, field_manager="contender", force=True)
        except RuntimeFault:
            continue


async def write_to_router(node: RouterNode, identity: str) -> None:
    """The same to a router."""
    while True:
        await asyncio.sleep(0.02)
        try:
            await node.update_pipeline("log", PipelineConfig(id="log", description=identity))
        except (RuntimeFault, RouterError):
            continue


if __name__ == "__main__":
    asyncio.run(campaign(*sys.argv[1:]))
